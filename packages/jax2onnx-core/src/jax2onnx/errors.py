"""Every error that jax2onnx raises, in one place.

::

    Jax2OnnxError
    ├── InputSpecError (ValueError)           an argument of to_onnx, save_onnx or check has a wrong form
    ├── PluginError
    │   └── PluginConflictError               two plugins registered the same key
    ├── ConversionError                       the program cannot be converted; it names the user's source line
    │   ├── TraceError                        JAX could not trace the callable
    │   │   └── DimensionError                a comparison of symbolic dimensions could not be decided
    │   ├── UnsupportedPrimitiveError         no lowering is registered
    │   ├── UnsupportedCaseError              a lowering exists, but does not support these parameters or dtypes
    │   ├── OpsetError                        the requested opset is too old (or unknown)
    │   ├── InvalidModelError                 what a rule emitted is not valid ONNX: a bug of that rule
    │   ├── OutOfMemoryError (MemoryError)    there is not enough memory for the conversion
    │   └── NoKernelError                     the target runtime has no kernel and nothing equivalent can be emitted
    ├── NoReferenceError                      JAX was to compute an ``onnx_op`` that has no reference
    ├── SaveError (OSError)                   the model could not be written
    ├── CheckError (AssertionError)           the exported model disagrees with JAX
    └── PictureError                          the picture of a model could not be drawn
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from jax2onnx._printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_REPORTED = 20
_CODE = re.compile(r" \[J2O\d{3}\]")
"""A code at the end of a message."""


class Jax2OnnxError(Exception):
    """Base of every error raised by jax2onnx and its plugins; what it says can be printed on a terminal as it is.

    Attributes:
        code: the code with which the message ends; docs/errors.md explains each.
    """

    code = "J2O001"

    @property
    def message(self) -> str:
        """What the error says, without its code and those of errors that it quotes."""
        return _CODE.sub("", printable(super().__str__()))

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class InputSpecError(Jax2OnnxError, ValueError):
    """An argument of ``to_onnx``, ``save_onnx`` or ``check`` has a form that is not accepted."""

    code = "J2O101"


class PluginError(Jax2OnnxError):
    """A plugin could not be used."""

    code = "J2O201"


class PluginConflictError(PluginError):
    """Two plugins registered the same key, and neither passed ``override=True``.

    Args:
        what: what both registered, e.g. ``the lowering of 'add'``.
        first: the plugin that registered it first.
        second: the plugin that registered it again.
    """

    code = "J2O202"

    def __init__(self, what: str, first: str, second: str) -> None:
        self.what = what
        self.first = first
        self.second = second
        super().__init__(
            f"{what} is registered by both {first} and {second}; uninstall or disable one of them "
            "(JAX2ONNX_DISABLE_PLUGINS=name), or register with override=True"
        )


class ConversionError(Jax2OnnxError):
    """The traced program cannot be converted.

    Args:
        what: what went wrong, in one sentence.
        where: the user's own source line, if known.
        plugin: name and version of the plugin whose rule was running, if any.
        remedy: what the user can do about it.

    Attributes:
        others: what else cannot be converted in the same program.
    """

    code = "J2O301"

    def __init__(
        self, what: str, *, where: str | None = None, plugin: str | None = None, remedy: str | None = None
    ) -> None:
        self.what = what
        self.where = where
        self.plugin = plugin
        self.remedy = remedy
        self.others: tuple[ConversionError, ...] = ()
        super().__init__(what)

    @staticmethod
    def together(errors: Iterable[ConversionError]) -> ConversionError:
        """Return the first of some errors, with the others that say something else in its ``others``."""
        distinct = {_text(error): error for error in errors}
        first, *others = distinct.values()
        first.others = tuple(others)
        return first

    @property
    def message(self) -> str:
        """What the error says, without its code: of this place and the others."""
        if not self.others:
            return _CODE.sub("", printable(_text(self)))
        count = len(self.others) + 1
        texts = [f"{count} places of the program cannot be converted"]
        for number, error in enumerate((self, *self.others[:_MOST_REPORTED]), start=1):
            texts.append(f"{number}. {error.code}: {_text(error)}")
        if count > _MOST_REPORTED + 1:
            texts.append(f"and {count - _MOST_REPORTED - 1} more; `jax2onnx list-plugins --missing` lists all")
        return _CODE.sub("", printable("\n".join(texts)))


def described_error(error: BaseException, *, whole: bool = False) -> str:
    """Return the class and the first line, or all lines, of any exception, one whose text cannot be read too."""
    try:
        message = str(error).strip()
        message = message if whole else message.split("\n", 1)[0]
    except (Exception, SystemExit) as problem:  # noqa: BLE001 - a class of anybody's, whose __str__ may raise anything
        message = f"(its text cannot be read: {type(problem).__name__})"
    return f"{type(error).__name__}: {message}".rstrip(": ")


def _text(error: ConversionError) -> str:
    lines = [error.what]
    if error.where:
        lines.append(f"  at: {error.where}")
    if error.plugin:
        lines.append(f"  plugin: {error.plugin}")
    if error.remedy:
        lines.append(f"  remedy: {error.remedy}")
    return "\n".join(lines)


class TraceError(ConversionError):
    """JAX could not trace the callable."""

    code = "J2O311"


class DimensionError(TraceError):
    """A comparison of symbolic dimensions could not be decided."""

    code = "J2O312"


class UnsupportedPrimitiveError(ConversionError):
    """No lowering is registered for a primitive.

    Args:
        what: what went wrong, in one sentence.
        where: the user's own source line, if known.
        plugin: name and version of the plugin whose rule was running, if any.
        remedy: what the user can do about it.
        primitive: the primitive's name.
        distribution: the distribution to install for it; empty if none is known.
    """

    code = "J2O321"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        plugin: str | None = None,
        remedy: str | None = None,
        primitive: str = "",
        distribution: str = "",
    ) -> None:
        super().__init__(what, where=where, plugin=plugin, remedy=remedy)
        self.primitive = primitive
        self.distribution = distribution


class UnsupportedCaseError(ConversionError):
    """A lowering exists, but it does not support these parameters or dtypes."""

    code = "J2O322"


class OpsetError(ConversionError):
    """The requested opset cannot express the program."""

    code = "J2O323"


class NoKernelError(ConversionError):
    """The target runtime has no kernel for a node, and no equivalent nodes are known."""

    code = "J2O324"


class InvalidModelError(ConversionError):
    """The model that was made is not valid ONNX: the rule that emitted a node has a bug.

    Args:
        what: what is not valid.
        where: the user's own source line of the node, if known.
        plugin: name and version of the plugin that emitted the node, if any.
        remedy: what the user can do about it; by default, what they can do about a bug in a rule.
    """

    code = "J2O331"

    def __init__(
        self, what: str, *, where: str | None = None, plugin: str | None = None, remedy: str | None = None
    ) -> None:
        remedy = remedy or (
            "report it: this is a bug in the rule; until it is mended, pass lowerings={primitive: rule} instead of it"
        )
        super().__init__(what, where=where, plugin=plugin, remedy=remedy)


class NoReferenceError(Jax2OnnxError, NotImplementedError):
    """JAX was to compute an operator of the user's, and no ``reference`` says how."""

    code = "J2O502"


class OutOfMemoryError(ConversionError, MemoryError):
    """There is not enough memory for the conversion, or the process may not have more.

    Args:
        what: what could not be had, if somebody says so.
        where: the user's own source line, if known.
    """

    code = "J2O332"

    def __init__(self, what: str, *, where: str | None = None) -> None:
        remedy = (
            "free memory, or raise the memory limit of the process (ulimit -v); "
            "save_onnx takes less memory than to_onnx, which returns a second copy of the weights"
        )
        super().__init__(f"there is not enough memory: {what}".rstrip(": "), where=where, remedy=remedy)


class SaveError(Jax2OnnxError, OSError):
    """The model could not be written. No partial file is left, and no existing file is changed."""

    code = "J2O401"


class CheckError(Jax2OnnxError, AssertionError):
    """The exported model disagrees with JAX."""

    code = "J2O501"


class PictureError(Jax2OnnxError):
    """The picture of a model could not be drawn."""

    code = "J2O601"


class MissingPluginWarning(UserWarning):
    """The program uses objects of a framework, and no plugin that opens them is in use.

    Args:
        message: what it means, and the remedy.
        framework: the framework's package.
        distribution: the distribution to install; empty if it is installed and not in use.
    """

    code = "J2O203"

    def __init__(self, message: str, *, framework: str, distribution: str = "") -> None:
        super().__init__(f"{message} [{self.code}]")
        self.framework = framework
        self.distribution = distribution

"""Accepted: which arguments a call may have and which values they may have, and what was probably meant."""

from __future__ import annotations

import difflib
import enum
import functools
import inspect
import numbers
import os
import reprlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn, ParamSpec, TypeAlias, TypeVar

from jax2onnx._printable import storable
from jax2onnx.errors import InputSpecError, described_error

__all__ = [
    "NEEDED",
    "Accept",
    "accept_value",
    "any_of",
    "call",
    "domain_version",
    "flag",
    "lacking",
    "list_of",
    "mapping",
    "model_name",
    "natural_number",
    "nearest",
    "none",
    "number",
    "one_of",
    "path",
    "readable",
    "refuse_mask",
    "shown",
    "stored_text",
    "text",
    "version_number",
    "whole_number",
]

Accept: TypeAlias = Callable[[str, Any], None]
"""Takes the name of an argument and its value; raises InputSpecError for a value that is not accepted."""

_P = ParamSpec("_P")
_R = TypeVar("_R")

_MEANING = {
    "fn": "fn is the callable, such as a function or a module",
    "inputs": "inputs has one spec per argument of fn, such as [('B', 30)], and is [] for a callable without arguments",
    "model": "model is what to_onnx returned, or the path that save_onnx wrote",
    "path": "path is the file to write, such as 'model.onnx'",
    "op_type": "op_type is the name of the operator, such as 'Gelu'",
}
"""Required argument -> what it is."""

_CUTOFF = 0.6

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def nearest(name: Any, known: Collection[str], what: str = "known are") -> str:
    """Return what was probably meant by a name, or all the names that there are."""
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=_CUTOFF)
    lower = {other.lower(): other for other in known}
    close = close or difflib.get_close_matches(str(name).lower(), lower, n=1, cutoff=_CUTOFF)
    if close:
        return f"did you mean {lower.get(close[0], close[0])!r}?"
    listed = ", ".join(sorted(known))
    return f"{what} {listed}" if listed else "there are none"


def shown(value: Any) -> str:
    """Return a value in a few words, as Python writes it."""
    limited = reprlib.Repr()
    limited.maxstring = limited.maxother = 60
    try:
        written = limited.repr(value)
    except (Exception, SystemExit):  # noqa: BLE001 - of an object of the user's; a large one may take more memory, or digits, than there are
        written = f"<{type(value).__name__} instance>"
    return " ".join(written.split())


def flag(option: str, value: Any) -> None:
    """Accept True and False."""
    if not isinstance(value, bool):
        is_word = isinstance(value, str) and value.lower() in {"true", "false"}
        hint = f"write {option}={str(value).capitalize()}" if is_word else f"write {option}=True or {option}=False"
        _refuse(option, "True or False", value, hint)


def one_of(choices: Sequence[str]) -> Accept:
    """Return what accepts a word out of a few."""

    def accept(option: str, value: Any) -> None:
        if value not in choices:
            listed = " or ".join(map(repr, choices))
            _refuse(option, listed, value, nearest(value, choices, "write one of"))

    return accept


def text(option: str, value: Any) -> None:
    """Accept a string that is not empty."""
    if not isinstance(value, str) or not value:
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        example = str(value) if is_number else "name"
        _refuse(option, "a string that is not empty", value, f"write {example!r} for example")


def model_name(option: str, value: Any) -> None:
    """Accept a name for a model: text without control characters."""
    text(option, value)
    if value != storable(value):
        _refuse(option, "text without control characters, in UTF-8", value, "leave these characters out")


def stored_text(option: str, value: Any) -> None:
    """Accept text for people, which a model stores: any string that is text in UTF-8."""
    if not isinstance(value, str):
        _refuse(option, "a string", value, f"write {str(value)!r} for example")
    if value != value.encode("utf-8", "replace").decode():
        _refuse(option, "text in UTF-8", value, "leave out what is no character")


def whole_number(option: str, value: Any) -> None:
    """Accept an int."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        is_digits = isinstance(value, str) and value.strip().lstrip("-").isdecimal()
        _refuse(option, "an int", value, f"write {option}={int(value)}" if is_digits else "write a whole number")


def natural_number(option: str, value: Any) -> None:
    """Accept an int that is not negative."""
    whole_number(option, value)
    if value < 0:
        _refuse(option, "an int that is not negative", value, f"write {option}={-value} for example")


def domain_version(option: str, value: Any) -> None:
    """Accept a version of a domain of operators: an int from 1 that fits into 32 bits, as ONNX's checker reads it."""
    whole_number(option, value)
    if not 1 <= value < 2**31:
        _refuse(option, "an int from 1 to 2**31 - 1", value, f"write {option}=1 for example")


def version_number(option: str, value: Any) -> None:
    """Accept an int from 0 that fits into 64 bits."""
    natural_number(option, value)
    if value >= 2**63:
        _refuse(option, "an int below 2**63", value, "write a smaller number")


def number(option: str, value: Any) -> None:
    """Accept a finite number that is not negative."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= sys.float_info.max:
        _refuse(option, "a finite number that is not negative", value, f"write for example {option}=1e-3")


def call(option: str, value: Any) -> None:
    """Accept what can be called."""
    if not callable(value):
        _refuse(option, "a callable", value, "pass a function")


def path(option: str, value: Any) -> None:
    """Accept the name of a file."""
    name: Any = None
    if isinstance(value, str | os.PathLike):
        try:
            name = os.fspath(value)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - of an object of the user's, which may raise anything
            _refuse(option, "the name of a file", value, f"its __fspath__ raises {described_error(error)}; write text")
    if not name:
        example = "report.html" if option == "report" else "model.onnx"
        _refuse(option, "the name of a file", value, f"write for example {example!r}")
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        _refuse(option, "a name that files may have", value, "leave out what is no character")
    if b"\0" in encoded:
        _refuse(option, "a name that files may have", value, "leave out the NUL character")


def none(option: str, value: Any) -> None:
    """Accept None."""
    if value is not None:
        _refuse(option, "None", value, f"leave {option} out")


def list_of(accept: Accept, example: str, *, ordered: bool = False) -> Accept:
    """Return what accepts a list of values that ``accept`` accepts; no set, if the order matters."""
    kinds = Sequence if ordered else Sequence | set | frozenset

    def accept_all(option: str, value: Any) -> None:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, kinds):
            is_item = _accepts(accept, value)
            _refuse(option, "a list", value, f"write {option}=[{value!r}]" if is_item else f"write {option}={example}")
        for index, item in enumerate(value):
            accept(f"{option}[{index}]", item)

    return accept_all


def mapping(accept: Accept, example: str) -> Accept:
    """Return what accepts a mapping from names to values that ``accept`` accepts."""

    def accept_all(option: str, value: Any) -> None:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            _refuse(option, "a mapping from names", value, f"write {option}={example}")
        for key, item in value.items():
            accept(f"{option}[{key!r}]", item)

    return accept_all


def any_of(*accepts: Accept) -> Accept:
    """Return what accepts a value that one of several accepts; the last one's message is the one that is shown."""

    def accept(option: str, value: Any) -> None:
        if not any(_accepts(one, value) for one in accepts):
            accepts[-1](option, value)

    return accept


def _accepts(accept: Accept, value: Any) -> bool:
    try:
        accept("", value)
    except InputSpecError:
        return False
    return True


def accept_value(accept: Accept, option: str, value: Any) -> None:
    """Raise InputSpecError for a value that is not accepted, or that raises an error where it is looked at."""
    try:
        accept(option, value)
    except InputSpecError:
        raise
    except (Exception, SystemExit) as error:  # of an object of the user's, whose methods may raise anything
        told = f"{option}: its value fails where it is looked at: {described_error(error)}"
        raise InputSpecError(f"{told}; pass a plain Python value") from error


def refuse_mask(what: str, array: Any) -> None:
    """Raise InputSpecError for an array of numpy with a mask, which ``np.asarray`` leaves out without a word."""
    if any(kind.__name__ == "MaskedArray" for kind in type(array).__mro__):
        raise InputSpecError(f"{what} has a mask, which JAX has not; write its filled(0), and the mask as another")


def _refuse(option: str, expected: str, value: Any, hint: str) -> NoReturn:
    raise InputSpecError(f"{option}: expected {expected}, got {shown(value)}; {hint}")


class _Default(enum.Enum):
    """Defaults of arguments that are none."""

    NEEDED = "..."

    def __repr__(self) -> str:
        return str(self.value)


NEEDED = _Default.NEEDED
"""The default of an argument without which only one form of a call does."""


def readable(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function that raises InputSpecError where Python would raise TypeError for a call of it."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InputSpecError(_explained(function.__name__, signature, args, kwargs, error)) from None
        return function(*args, **kwargs)

    return called


def _explained(
    name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any], error: TypeError
) -> str:
    """Return what is wrong with the arguments of a call, and how to write it."""
    parameters = signature.parameters.values()
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    required = [p.name for p in positional if p.default is inspect.Parameter.empty or p.default is NEEDED]
    options = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    kinds = {p.kind for p in parameters}
    written = f"write {name}({', '.join(required or [p.name for p in positional])}, ...)"
    if len(args) > len(positional) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        surplus = len(args) - len(positional)
        count = "one positional argument" if surplus == 1 else f"{surplus} positional arguments"
        example = f"{options[0]}=..." if options and "opset" not in options else "opset=21"
        return f"{name}: {count} too many; {written}, with options by name, such as {example}"
    unknown = [option for option in kwargs if option not in signature.parameters]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        return f"{name}: there is no option {unknown[0]!r}; {nearest(unknown[0], options)}"
    given = [p.name for p in positional[: len(args)]]
    twice = [argument for argument in given if argument in kwargs]
    if twice:
        return f"{name}: {twice[0]} is given by position and by name; {written}"
    missing = [argument for argument in required[len(args) :] if argument not in kwargs]
    if not missing:
        return f"{name}: {error}; {written}"
    return lacking(name, required, missing)


def lacking(name: str, required: Sequence[str], missing: Sequence[str]) -> str:
    """Return that required arguments of a call are missing, and how to write it."""
    told = "; ".join(_MEANING[argument] for argument in missing)
    verb = "is" if len(missing) == 1 else "are"
    return f"{name}: {' and '.join(missing)} {verb} missing; write {name}({', '.join(required)}, ...): {told}"

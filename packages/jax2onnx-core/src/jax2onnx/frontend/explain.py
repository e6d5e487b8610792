"""Explain: every exception of a trace becomes an error of ours that names inputs, the user's line and a remedy."""

from __future__ import annotations

import contextlib
import inspect
import operator
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jax2onnx._compat import InconclusiveDimensionOperation, is_library, is_tracing, users_own
from jax2onnx.errors import (
    ConversionError,
    DimensionError,
    InputSpecError,
    Jax2OnnxError,
    TraceError,
    described_error,
)
from jax2onnx.frontend.specs import Inputs, InputSpec, described
from jax2onnx.frontend.trials import Trials
from jax2onnx.plugin.culprit import culprit
from jax2onnx.plugin.naming import callable_name

if TYPE_CHECKING:
    from jax2onnx.plugin.opening import Opened

__all__ = ["explained", "internal", "named_error", "plugins_named", "refuse_nested", "user_line"]

_LINK = re.compile(r" \(https?:[^)]*\)")
_LEAF = re.compile(r"leaves\[(\d+)\]")
_PLUGIN = re.compile(r"[/\\]jax2onnx(_(?!examples)\w+)?[/\\]")
"""What the files of core and of plugins have in their paths; examples are programs of users."""
_FALLBACK = (
    "JAX raises it too: call the function with arrays of these shapes and dtypes, or jax.eval_shape(fn, ...), to see it"
)

_ABSTRACT = "ShapeDtypeStruct"
_OF_ABSTRACT = (
    "the callable reaches an array that has no value; make its parameters arguments that it holds, "
    "functools.partial(fn, params), or bind them to a module, module.bind(params)"
)


@contextlib.contextmanager
def explained(fn: Any, opened: Opened, inputs: Inputs) -> Iterator[None]:
    """Raise every exception of tracing a callable as an error of ours.

    Args:
        fn: what the user exports.
        opened: its pure function.
        inputs: its inputs.
    """
    explanation = _Explanation(fn, opened, inputs)
    try:
        yield
    except DimensionError:
        raise
    except TraceError as error:
        explanation.complete(error)
        raise
    except Jax2OnnxError:
        raise
    except (Exception, SystemExit) as error:  # the border to the user's code: whatever it raises is explained
        raise explanation.of(error) from error


@contextlib.contextmanager
def internal() -> Iterator[None]:
    """Raise an exception that is none of ours, and about which the user can do nothing, as an error of ours."""
    try:
        yield
    except (Jax2OnnxError, Warning):  # a warning that the user's filters make an error
        raise
    except RecursionError as error:
        raise too_deep(error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a border: nothing leaves without an explanation
        plugin = culprit(error)
        if plugin is None and not isinstance(error, Exception | SystemExit):
            raise  # the user's own end of a task, which their framework waits for
        if plugin is None and _is_raised_by_user(error):
            raise ConversionError(
                f"an object of yours fails where it is looked at: {named_error(error)}",
                where=user_line(error),
                remedy="mend this line, or pass another object",
            ) from error
        author = "the plugin" if plugin else "jax2onnx or of a plugin"
        raise ConversionError(
            f"{'a plugin' if plugin else 'an internal step'} failed: {named_error(error)}",
            where=user_line(error),
            plugin=plugin,
            remedy=f"report it: this is a bug of {author}; the traceback of the cause is chained",
        ) from error


@contextlib.contextmanager
def plugins_named() -> Iterator[None]:
    """Raise what a plugin's own code raises where plugins are asked as an error that names it."""
    try:
        yield
    except (Jax2OnnxError, Warning, RecursionError, InconclusiveDimensionOperation):
        raise
    except Exception as error:
        if culprit(error) is None:
            raise
        with internal():
            raise


def refuse_nested() -> None:
    """Raise TraceError if JAX traces a function just now: arrays have no values then."""
    if is_tracing():
        raise TraceError(
            "a model cannot be made or compared while JAX traces a function (for jax.jit, grad, vmap or an export)",
            where=_running_line(),
            remedy="call it outside of the function that is traced",
        )


def too_deep(error: RecursionError) -> TraceError:
    """Return the error of a program whose functions and loops are nested too deeply for Python's stack."""
    try:
        where = user_line(error)
    except RecursionError:  # JAX's counter of the depth stays as it was where it takes an endless pytree apart
        where = None
    return TraceError(
        f"the program calls itself without end, or is nested too deeply: {named_error(error)}",
        where=where,
        remedy="let the recursion end, write repeated layers as one lax.scan, or raise sys.setrecursionlimit",
    )


def named_error(error: BaseException) -> str:
    """Return the class and the first line of an error."""
    return _LINK.sub("", described_error(error))


def _is_raised_by_user(error: BaseException) -> bool:
    """Return whether the line that raised an error is one of the user's own code."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return users_own(last, operator.attrgetter("filename")) is not None


def user_line(error: BaseException) -> str | None:
    """Return the innermost line of the user's own code on the way to an error."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _PLUGIN.search(frame.filename)]
    frames.reverse()
    frame = users_own(frames, operator.attrgetter("filename"))
    return frame and f"{frame.filename}:{frame.lineno} ({frame.name}): {frame.line}"


@dataclass(frozen=True, slots=True)
class _Explanation:
    """Explains the errors of one trace."""

    fn: Any
    opened: Opened
    inputs: Inputs

    def of(self, error: BaseException) -> Jax2OnnxError:
        """Return an error of ours for one that the callable, or JAX for it, has raised."""
        mismatch = self._mismatch() if isinstance(error, TypeError) else None
        if mismatch is not None:
            return mismatch
        if isinstance(error, RecursionError):
            return too_deep(error)
        told = named_error(error)
        remedy = _OF_ABSTRACT if _ABSTRACT in told else self._trials().working_change(told)
        return TraceError(
            f"the callable cannot be traced with {self.inputs.described()}: {told}",
            where=user_line(error) or _definition(self._callable),
            remedy=remedy or _FALLBACK,
        )

    def complete(self, error: TraceError) -> None:
        """Add to an error of ours which inputs it is about, and a further remedy if there is one."""
        cause = error.__cause__ or error
        error.where = error.where or user_line(cause) or _definition(self._callable)
        concerned = self._concerned(str(cause))
        if concerned:
            listed = ", ".join(f"{spec.name} ({described(spec.aval)})" for spec in concerned)
            error.what = f"{error.what.rstrip('. ')}; it depends on the input {listed}"
        parameters = self._parameters()
        for spec in concerned:
            if spec.name in parameters and not spec.aval.shape:
                error.remedy = f"{error.remedy}; static={{{spec.name!r}: ...}} binds the input to a Python value"
                break
        mode = self._trials().working_mode()
        if mode is not None:
            error.remedy = f"{mode} to export inference, or {error.remedy}"
        error.args = (error.what,)

    @property
    def _callable(self) -> Any:
        return self.opened.signature or self.fn

    def _parameters(self) -> dict[str, inspect.Parameter]:
        try:
            return dict(inspect.signature(self._callable).parameters)
        except (TypeError, ValueError):
            return {}

    def _trials(self) -> Trials:
        return Trials(self.opened, self.inputs, self._parameters())

    def _mismatch(self) -> InputSpecError | None:
        """Return the error of a call that the callable's signature does not allow."""
        try:
            signature = inspect.signature(self._callable)
        except (TypeError, ValueError):
            return None
        args, kwargs = self.inputs.arguments()
        try:
            signature.bind(*args, **kwargs)
        except TypeError as problem:
            name = callable_name(self._callable)
            where = _definition(self._callable)
            at = f" ({where})" if where else ""
            return InputSpecError(
                f"inputs: {problem}, but given is {self.inputs.described()}; "
                f"{_call_remedy(signature, len(args), kwargs, name)}{at}"
            )
        return None

    def _concerned(self, message: str) -> list[InputSpec]:
        """Return the inputs that JAX names in a message."""
        specs = self.inputs.specs
        indices = sorted({int(index) for index in _LEAF.findall(message)})
        return [specs[index] for index in indices if index < len(specs)]


def _definition(fn: Any) -> str | None:
    """Return where a callable of the user is defined, or for that of a library where the user exports it."""
    inner = inspect.unwrap(fn.func if isinstance(fn, partial) else fn)
    if not hasattr(inner, "__code__"):
        inner = type(inner).__dict__.get("__call__", inner)
    code = getattr(inspect.unwrap(getattr(inner, "__func__", inner)), "__code__", None)
    if code is not None and not is_library(code.co_filename):
        return f"{code.co_filename}:{code.co_firstlineno} ({code.co_name})"
    return _running_line()


def _running_line() -> str | None:
    """Return the user's line that is running."""
    stack = traceback.extract_stack()
    stack.reverse()
    frame = users_own(stack, operator.attrgetter("filename"))
    return frame and f"{frame.filename}:{frame.lineno} ({frame.name}): {frame.line}"


def _call_remedy(signature: inspect.Signature, count: int, kwargs: Any, name: str) -> str:
    """Return what to do about a call that has too few or too many arguments."""
    parameters = signature.parameters
    if not parameters:
        return f"{name} takes no arguments: pass inputs=[], or, if it makes the callable, pass what {name}() returns"
    missing = []
    for place, (parameter_name, parameter) in enumerate(parameters.items()):
        is_required = parameter.default is parameter.empty and parameter.kind not in {
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        }
        is_given = parameter_name in kwargs or (place < count and parameter.kind is not parameter.KEYWORD_ONLY)
        if is_required and not is_given:
            missing.append(parameter_name)
    taken = f"{name}{signature} takes {', '.join(parameters)}"
    if missing:
        first = missing[0]
        is_keyword = parameters[first].kind is inspect.Parameter.KEYWORD_ONLY
        how = (
            f"give one by input_params={{{first!r}: ...}}" if is_keyword else f"add a spec for {' and '.join(missing)}"
        )
        return f"{taken}: {how}, or a Python value by static={{{first!r}: ...}}"
    return f"{taken}: leave out the specs of the others"

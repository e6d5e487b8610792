"""Trace: from a callable and input specs to one jaxpr, with the model's parameters as named inputs."""

from __future__ import annotations

import functools
import re
import reprlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from jax2onnx._compat import TRACING_ERRORS, InconclusiveDimensionOperation, open_jaxpr
from jax2onnx.errors import DimensionError, InputSpecError, TraceError
from jax2onnx.registry import Opened, Opening

if TYPE_CHECKING:
    from jax2onnx.specs import Inputs


@dataclass(frozen=True, slots=True)
class Traced:
    """A traced callable.

    Attributes:
        jaxpr: closed jaxpr; its inputs are the parameters, the flattened inputs and the state, its outputs the
            flattened outputs and the new state.
        params: parameter name -> array, in the order of the jaxpr's inputs.
        state: name -> initial array, in the order of the jaxpr's inputs and outputs.
        updated: names of the state that the callable changes.
        output_paths: for each flattened output, its path in the returned pytree (empty for a lone array).
    """

    jaxpr: Any
    params: Mapping[str, Any]
    state: Mapping[str, Any]
    updated: frozenset[str]
    output_paths: tuple[str, ...]


def open_callable(fn: Any, hook: Any, opening: Opening) -> Opened:
    """Return the pure function and the named parameters of a callable.

    Args:
        fn: a function or a framework object.
        hook: the plugins' hook relay.
        opening: how the user asked for it.

    Raises:
        InputSpecError: ``fn`` is not callable and no plugin opens it.
    """
    opened = hook.jax2onnx_open(target=fn, opening=opening)
    if opened is not None:
        return opened  # type: ignore[no-any-return]
    if not callable(fn):
        msg = f"fn: {reprlib.repr(fn)} is neither callable nor an object that a loaded plugin opens"
        raise InputSpecError(msg)

    if isinstance(fn, functools.partial):
        return _open_partial(fn)

    @functools.wraps(fn, updated=())
    def pure(_params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return Opened(function=pure, params={}, name=getattr(fn, "__name__", type(fn).__name__))


def _open_partial(fn: functools.partial[Any]) -> Opened:
    """Make parameters of the arrays in containers (as of a model's weights) that a partial holds."""
    flat, tree = jax.tree_util.tree_flatten_with_path((fn.args, fn.keywords))
    held = [i for i, (path, leaf) in enumerate(flat) if len(path) > 2 and _is_parameter(leaf)]
    steps = [flat[i][0] for i in held]
    names = [jax.tree_util.keystr(path[2:], simple=True, separator=".") for path in steps]
    if len(set(names)) < len(names):
        names = [jax.tree_util.keystr(path[1:], simple=True, separator=".") for path in steps]
    places = dict(zip(held, names, strict=True))

    def pure(params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        leaves = [params[places[i]] if i in places else leaf for i, (_, leaf) in enumerate(flat)]
        own_args, own_kwargs = jax.tree_util.tree_unflatten(tree, leaves)
        return fn.func(*own_args, *args, **{**own_kwargs, **kwargs})

    params = {name: flat[i][1] for i, name in places.items()}
    return Opened(function=pure, params=params, name=getattr(fn.func, "__name__", type(fn.func).__name__))


def _is_parameter(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not jax.numpy.issubdtype(leaf.dtype, jax.dtypes.extended)


def trace(opened: Opened, inputs: Inputs) -> Traced:
    """Trace a pure function once, at the abstract values of its parameters and inputs.

    Raises:
        TraceError: JAX could not trace the function.
        DimensionError: a comparison of symbolic dims could not be decided.
    """
    names = [n for n in opened.params if n not in opened.state]
    held = {**{n: opened.params[n] for n in names}, **opened.state}
    avals = [jax.typeof(a) for a in held.values()]
    abstract = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
    abstract[len(names) : len(names)] = [s.aval for s in inputs.specs]

    def flat(*leaves: Any) -> Any:
        given = leaves[len(names) : len(names) + len(inputs.specs)]
        own = (*leaves[: len(names)], *leaves[len(names) + len(inputs.specs) :])
        result = inputs.call(functools.partial(opened.function, dict(zip(held, own, strict=True))), given)
        if not opened.state:
            return result, []
        result, state = result
        return result, [state[n] for n in opened.state]

    try:
        jaxpr, shape = jax.make_jaxpr(flat, return_shape=True)(*abstract)
    except InconclusiveDimensionOperation as error:
        raise DimensionError(
            f"JAX cannot decide a comparison of symbolic dimensions: {_first_line(error)}",
            where=_user_line(error),
            remedy=_decide(error),
        ) from error
    except TRACING_ERRORS as error:
        raise TraceError(
            f"JAX cannot trace the callable: {_first_line(error)}", where=_user_line(error), remedy=_remedy(error)
        ) from error
    paths = jax.tree_util.tree_flatten_with_path(shape[0])[0]
    return Traced(
        jaxpr,
        {n: opened.params[n] for n in names},
        opened.state,
        _updated(jaxpr, list(opened.state)),
        tuple(jax.tree_util.keystr(p, simple=True, separator=".") for p, _ in paths),
    )


def _updated(jaxpr: Any, names: list[str]) -> frozenset[str]:
    """Names of the state whose output is not just its input."""
    if not names:
        return frozenset()
    inner, _ = open_jaxpr(jaxpr)
    pairs = zip(names, inner.invars[-len(names) :], inner.outvars[-len(names) :], strict=True)
    return frozenset(name for name, before, after in pairs if before is not after)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


_COMPARISON = re.compile(r"'(?P<left>[^']*)' (?P<operator>[<>]=?|==) '(?P<right>[^']*)'")
_REMAINDER = re.compile(r"mod\((?P<left>[^,]+), (?:- )?(?P<right>\d+)\)")


def _decide(error: InconclusiveDimensionOperation) -> str:
    """Name the constraints that would decide the comparison, in the grammar of ``jax.export`` (>=, <=, ==)."""
    message = str(error)
    if match := _COMPARISON.search(message):
        left, right = match["left"], match["right"]
        more, less = (1, 0) if match["operator"] in {">", "<="} else (0, 1)
        greater = f"constraints=['{left} >= {_plus(right, more)}']"
        smaller = f"constraints=['{left} <= {_plus(right, -less)}']"
        equal = f"constraints=['{left} == {right}'], " if match["operator"] == "==" else ""
        return f"pass {equal}{greater} or {smaller}, whichever always holds, or give the dimension as an int"
    if match := _REMAINDER.search(message):
        left, right = match["left"], match["right"]
        multiple = f"or write the dimension as '{right}*n' in the spec, or give it as an int"
        return f"pass constraints=['mod({left}, {right}) == 0'] if that always holds, {multiple}"
    if "requires a constant" in message:
        return "compute with the dimension as it is (jnp.arange(x.shape[0]) works), or give it as an int"
    return "pass constraints=[...] that decide it, or give the dimension as an int"


def _plus(expression: str, step: int) -> str:
    if step == 0:
        return expression
    if expression.lstrip("-").isdecimal():
        return str(int(expression) + step)
    return f"{expression} {'+' if step > 0 else '-'} {abs(step)}"


def _remedy(error: BaseException) -> str:
    if isinstance(error, jax.errors.NonConcreteBooleanIndexError) or "nonzero" in str(error) or "`size`" in str(error):
        return "the result's shape depends on data; use jnp.where(mask, x, fill), or pass size= where it is taken"
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return "a traced value met numpy; use the jax.numpy function instead"
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return "a Python if/while/and/or needs a concrete value; use jnp.where, jax.lax.cond or jax.lax.while_loop"
    if isinstance(error, jax.errors.UnexpectedTracerError):
        return "a traced value was stored outside the function (a module that changes its state?); return it instead"
    return "make the value static (functools.partial, or a closure over a Python value), or compute it with jax.numpy"


def _user_line(error: BaseException) -> str | None:
    """The innermost frame of the error that is neither JAX's nor a framework's nor ours."""
    own = Path(__file__).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        library = {"jax", "jaxlib", "flax", "equinox", "haiku", "keras"} & set(path.parts)
        if frame.filename.startswith("<") or ("site-packages" in path.parts and library) or own in path.parents:
            continue
        if "contextlib.py" in frame.filename or "functools.py" in frame.filename:
            continue
        return f"{frame.filename}:{frame.lineno} ({frame.name}): {frame.line}"
    return None

"""The one module that touches ``jax._src`` or depends on which jax is installed."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import operator
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax._src import config as _config
from jax._src import core as _core
from jax._src import source_info_util as _source_info
from jax._src.export import shape_poly as _shape_poly
from jax._src.interpreters import mlir as _mlir
from jax._src.interpreters import partial_eval as _partial_eval
from jax._src.lax import lax as _lax
from jax._src.lax import special as _special
from jax._src.state import discharge as _discharge
from jax._src.state import types as _state

from jax2onnx.errors import described_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Literal = _core.Literal
DropVar = _core.DropVar
ShapedArray = _core.ShapedArray
InconclusiveDimensionOperation = _core.InconclusiveDimensionOperation
canonicalize_slice = _core.canonicalize_slice
max_dim = _core.max_dim
min_dim = _core.min_dim
evaluate = _core.eval_jaxpr
without_trace = _core.eval_context
StagingTrace: Any = _partial_eval.DynamicJaxprTrace
StagingTracer: Any = _partial_eval.DynamicJaxprTracer
DimExpr = _shape_poly._DimExpr  # noqa: SLF001 - jax offers no public type for a symbolic dimension
TRACING_ERRORS: tuple[type[Exception], ...] = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.UnexpectedTracerError,
    NotImplementedError,
)


def jit_static_names(fn: Any) -> frozenset[str]:
    """Return the names of the parameters that ``jax.jit`` of a callable declares static."""
    inner = fn.func if isinstance(fn, functools.partial) else fn
    info = getattr(inner, "_jit_info", None)
    names = set(getattr(info, "static_argnames", ()))
    numbers = getattr(info, "static_argnums", ())
    if numbers:
        parameters = list(inspect.signature(inner).parameters)
        names.update(parameters[number] for number in numbers if number < len(parameters))
    return frozenset(names)


_TRACEABLE: Mapping[str, Any] = {
    "eager_constant_folding": False,
    "jax_custom_jvp3": False,
    "jax_custom_vjp3": False,
    "jax_disable_jit": False,
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
    "jax_no_tracing": False,
    "jax_remat3": False,
    "jax_scan3": False,
    "jax_use_simplified_jaxpr_constants": False,
}
"""Settings under which every program has a jaxpr: one of JAX's usual form, that writes to nothing outside itself.

None of them changes what the program computes.
"""

_UNCHECKED: Mapping[str, Any] = {
    **_TRACEABLE,
    "jax_allow_f16_reductions": True,
    "jax_check_static_indices": False,
    "jax_check_tracer_leaks": False,
    "jax_debug_infs": False,
    "jax_debug_key_reuse": False,
    "jax_debug_nans": False,
    "jax_enable_checks": False,
    "jax_legacy_prng_key": "allow",
    "jax_no_execution": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_transfer_guard_device_to_device": "allow",
    "jax_transfer_guard_device_to_host": "allow",
    "jax_transfer_guard_host_to_device": "allow",
}
"""Settings under which JAX refuses nothing; they change neither what it traces nor what it computes."""

_NEUTRAL: Mapping[str, Any] = {
    **_UNCHECKED,
    "jax_default_device": None,
    "jax_default_matmul_precision": None,
    "jax_default_prng_impl": "threefry2x32",
    "jax_enable_custom_prng": False,
    "jax_explicit_x64_dtypes": "warn",
    "jax_softmax_custom_jvp": False,
    "jax_use_direct_linearize": True,
}
"""Settings under which JAX traces what it does by default.

What decides on the numbers of the user's program is not among them: 64-bit types, and how random bits are drawn.
"""


_64_BIT = frozenset({"complex128", "float64", "int64", "uint64"})


def traceable() -> contextlib.AbstractContextManager[None]:
    """Return a context in which the user's own program is traced: all their settings hold that change its numbers."""
    return _settings(_TRACEABLE)


def unchecked() -> contextlib.AbstractContextManager[None]:
    """Return a context in which JAX traces and computes what the user's settings say, and refuses nothing.

    It is for what must be as the user's own program is, but is not the user's: the function of a fusion, and the
    evaluation on inputs that were drawn.
    """
    return _settings(_UNCHECKED)


def neutral(avals: Iterable[Any] = ()) -> contextlib.AbstractContextManager[None]:
    """Return a context in which the user's settings do not change what our own functions trace and compute.

    Where one of ``avals`` has a 64-bit dtype, 64-bit types are switched on: the user's program may do so for a part.
    """
    needs_64_bits = not jax.config.jax_enable_x64 and any(map(_is_64_bit, avals))
    return _settings({**_NEUTRAL, "jax_enable_x64": True} if needs_64_bits else _NEUTRAL)


def _is_64_bit(aval: Any) -> bool:
    dtype = getattr(aval, "dtype", None)
    return isinstance(dtype, np.dtype) and dtype.name in _64_BIT


@contextlib.contextmanager
def _settings(wanted: Mapping[str, Any]) -> Iterator[None]:
    """Use settings of JAX meanwhile; those that the installed jax does not have are left out."""
    holders: Mapping[str, Any] = jax.config._value_holders  # noqa: SLF001 - what holds in this thread, whatever set it
    with contextlib.ExitStack() as stack:
        for name, value in wanted.items():
            holder = holders.get(name)
            if holder is not None and not _holds(holder.value, value):
                stack.enter_context(holder(value))
        yield


def _holds(current: Any, wanted: Any) -> bool:
    """Return whether a setting has a value; where it is an enumeration, ``wanted`` is the name of the value."""
    if current is None and wanted == "allow":
        return True
    name = getattr(current, "name", None)
    if isinstance(name, str) and isinstance(wanted, str):
        return name.lower() == wanted
    return bool(current == wanted)


def unsharded(aval: Any) -> Any:
    """Return the aval of an array of the same shape, dtype and weakness of type, on no device in particular."""
    return ShapedArray(aval.shape, aval.dtype, weak_type=getattr(aval, "weak_type", False))


def weak(array: jax.Array) -> jax.Array:
    """Return an array whose type is weak, as a Python scalar's is; only JAX itself can make one of many values."""
    made: jax.Array = _lax._convert_element_type(array, weak_type=True)  # noqa: SLF001
    return made


def bind(primitive: Any, operands: Sequence[Any], params: Mapping[str, Any]) -> list[Any]:
    """Return the results that JAX computes at once of a primitive's operands."""
    found = primitive.get_bind_params(dict(params))
    functions, kept = found if isinstance(found, tuple) else ((), found)
    results = primitive.bind(*functions, *operands, **kept)
    return list(results) if primitive.multiple_results else [results]


def open_jaxpr(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """Split a closed or open jaxpr of any supported jax into ``(jaxpr, consts)``."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def expand_run_state(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return a jaxpr, and its constants, that computes what a ``run_state`` equation does; None if it cannot be one."""
    return discharge(*open_jaxpr(eqn.params["jaxpr"])) if all(eqn.params["is_initialized"]) else None


def expand_hi_primitive(eqn: Any) -> tuple[Any, Sequence[Any]]:
    """Return the jaxpr, and its constants, into which JAX itself expands a ``call_hi_primitive`` equation."""
    return expand_by(eqn.primitive.to_lojax)(eqn)


class Untraceable(Exception):  # noqa: N818 - nobody may need the equation
    """The function by which an equation's results are computed raises an error when JAX traces it."""


def expand_by(function: Callable[..., Any]) -> Callable[[Any], tuple[Any, Sequence[Any]]]:
    """Return what finds the jaxpr, and its constants, by which a function computes an equation's results.

    The function takes the operands, and the params as keywords.
    """

    def find(eqn: Any) -> tuple[Any, Sequence[Any]]:
        avals = [unsharded(v.aval) for v in eqn.invars]
        try:
            jaxpr = jax.make_jaxpr(functools.partial(function, **eqn.params))(*avals)
        except InconclusiveDimensionOperation:
            raise
        except Exception as error:  # a library's own code; JAX runs it only for an equation that somebody needs
            raise Untraceable(f"its definition cannot be traced: {described_error(error)}") from error
        return open_jaxpr(jaxpr)

    return find


def expand_as_defined(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr, and its constants, by which a primitive's library defines it; None if it is defined otherwise.

    For primitives whose definition is known to be a function of the operands alone.
    """
    found = definition(eqn.primitive)
    return expand_by(found.function)(eqn) if found is not None else None


def discharge(jaxpr: Any, consts: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    """Turn a jaxpr that writes to refs into a pure one; refs among its inputs become inputs and further outputs."""
    discharge_state: Any = _discharge.discharge_state
    if "consts" in inspect.signature(discharge_state).parameters:
        pure, pure_consts = discharge_state(jaxpr, consts)
        return pure, pure_consts
    closed = _core.ClosedJaxpr(jaxpr, consts) if hasattr(_core, "ClosedJaxpr") else jaxpr
    return open_jaxpr(discharge_state(closed))


def at_source_of(eqn: Any) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which equations that JAX traces get the line and the scopes of another."""
    source = eqn.source_info
    scopes = _source_info.current_name_stack() + source.name_stack
    context: contextlib.AbstractContextManager[Any] = _source_info.user_context(source.traceback, name_stack=scopes)
    return context


def bind_equation(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """Return the results of an equation for other operands, in the settings that it was traced in.

    While JAX traces, the new equation has the line and the scopes of the old one.
    """
    with at_source_of(eqn), eqn.ctx.manager:
        return bind(eqn.primitive, operands, eqn.params)


_HASHABLE: Any = getattr(_lax, "HashableArray", ())
"""How the attributes of a composite hold arrays."""


def plain_attribute(value: Any) -> Any:
    """Return an attribute of a composite as the user gave it."""
    return value.val if isinstance(value, _HASHABLE) else value


def scan_counts(params: Mapping[str, Any]) -> tuple[int, int]:
    """Return the numbers of constants and of carried values of a ``scan`` equation."""
    if "ft_in" in params:
        consts, carry, _ = params["ft_in"].unpack()
        return len(consts), len(carry)
    return params["num_consts"], params["num_carry"]


def is_symbolic(dim: Any) -> bool:
    """Return whether a dimension is a symbolic expression."""
    return isinstance(dim, DimExpr)


def user_frame(source: Any) -> str | None:
    """Return ``file:line (function)`` of the user's own code for an equation's source info."""
    return _user_frame(source.traceback)


@functools.lru_cache(maxsize=1024)
def _user_frame(traceback: Any) -> str | None:
    frame = users_own(_source_info.user_frames(traceback), operator.attrgetter("file_name"))
    return frame and f"{frame.file_name}:{frame.start_line} ({frame.function_name})"


def are_of_one_call(eqn: Any, other: Any) -> bool:
    """Return whether two equations come from one call of a jitted function whose equations JAX wrote in its place.

    Such are those of ``jnp.multiply``, which JAX compiles as one; ``x.astype(...)`` before it is a call of its own.
    """
    frames = eqn.source_info.traceback
    return frames is not None and bool(frames == other.source_info.traceback)


def users_own(frames: Iterable[Any], file_name: Callable[[Any], str]) -> Any | None:
    """Return the first frame that is in the user's own code, or None.

    If all of that is installed, it is the first frame outside JAX, the standard library and this package.
    """
    fallback = None
    for frame in frames:
        name = file_name(frame)
        if is_users(name):
            return frame
        if not _is_ours(name) and _source_info.is_user_filename(name):
            fallback = fallback or frame
    return fallback


@functools.cache
def is_users(file_name: str) -> bool:
    """Return whether a file is one of the user's own, not of an installed package, of Python or of a cell of text."""
    return _source_info.is_user_filename(file_name) and not is_library(file_name) and not file_name.startswith("<")


@functools.cache
def is_library(file_name: str) -> bool:
    """Return whether a file belongs to an installed package or to this one."""
    installed = {"site-packages", "dist-packages"}
    return _is_ours(file_name) or not installed.isdisjoint(Path(file_name).parts)


@functools.cache
def _is_ours(file_name: str) -> bool:
    return Path(__file__).parent in Path(file_name).parents


def name_stack(source: Any) -> str:
    """Return the named scopes around an equation of such source info, outer ones first, with slashes in between.

    JAX itself names what ``einsum`` does by its subscripts; that is no scope of the user's.
    """
    scopes = [entry.name for entry in source.name_stack.stack if isinstance(entry, _source_info.Scope)]
    return "/".join(scope for scope in scopes if not _SUBSCRIPTS.fullmatch(scope))


def is_transposed(source: Any) -> bool:
    """Return whether an equation of such source info was made by transposing another one, as gradients are."""
    stack = () if source is None else source.name_stack.stack
    return any(isinstance(entry, _source_info.Transform) and entry.name == "transpose" for entry in stack)


def in_scope_of(source: Any, caller: Any) -> Any:
    """Return the source info of an equation in the scopes of a call; JAX lets those of a called jaxpr begin anew."""
    outer, inner = caller.name_stack.stack, source.name_stack.stack
    if not outer or inner[: len(outer)] == outer:
        return source
    return source.replace(name_stack=caller.name_stack + source.name_stack)


def without_scopes(source: Any) -> Any:
    """Return source info of the same line in no scope: those in a function's body are its own."""
    return source.replace(name_stack=_source_info.NameStack())


_SUBSCRIPTS = re.compile(r"[A-Za-z.,]*->[A-Za-z.]*")
"""The subscripts of ``einsum``."""


def trace_context() -> Any:
    """Return a hashable summary of every jax setting that tracing depends on."""
    return _config.trace_context()


def conformance_cases() -> Sequence[Any]:
    """Return the cases that JAX ships for its own lax primitives (``jax._src.internal_test_util.test_harnesses``)."""
    from jax._src.internal_test_util import test_harnesses  # noqa: PLC0415 - heavy

    return [h for h in test_harnesses.all_harnesses if h.filter("cpu")]


def special_function(name: str) -> Callable[..., Any]:
    """Return JAX's own definition, in plainer primitives, of a special function of float32 or float64 operands.

    Args:
        name: ``igamma``, ``igammac``, ``igamma_grad_a``, ``random_gamma_grad``, ``regularized_incomplete_beta``
            or ``bessel_i0e``.
    """
    function: Callable[..., Any] = getattr(_special, f"{name}_impl")
    if "dtype" not in inspect.signature(function).parameters:
        return function
    return lambda *operands: function(*operands, dtype=operands[0].dtype)


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, in plainer primitives, that defines a primitive.

    Attributes:
        function: it takes the primitive's operands, and its params as keywords.
        library: the package that it is from.
        is_traced_by_jit: whether JAX traces it in jitted programs; any other is only ever called with arrays.
    """

    function: Callable[..., Any]
    library: str
    is_traced_by_jit: bool


def definition(primitive: Any) -> Definition | None:
    """Return how a primitive is defined by plainer ones on a CPU; None if it is an operation of its own."""
    for lowerings in _jit_rules():
        function = _lowered_function(lowerings.get(primitive))
        if function is not None:
            return Definition(function, _library(function), is_traced_by_jit=True)
    function = vars(primitive).get("impl")
    innermost = _innermost(function)
    # ``apply_primitive`` compiles what the primitive lowers to.
    if function is None or innermost.__name__ == "apply_primitive":
        return None
    return Definition(function, _library(function), is_traced_by_jit=False)


def _jit_rules() -> Sequence[Mapping[Any, Any]]:
    """Return the rules by which JAX compiles primitives on a CPU, those that are preferred first."""
    return _mlir._platform_specific_lowerings["cpu"], _mlir._lowerings  # noqa: SLF001


def _lowered_function(entry: Any) -> Callable[..., Any] | None:
    """Return the function of which ``mlir.lower_fun`` made a rule; None if the rule is made otherwise."""
    rule = getattr(entry, "rule", entry)
    held = inspect.getclosurevars(rule).nonlocals if inspect.isfunction(rule) else {}
    function: Callable[..., Any] | None = held.get("fun")
    return function


def _library(function: Any) -> str:
    """Return the top-level package of the function that does the work of another."""
    module = getattr(_innermost(function), "__module__", None) or "an unknown package"
    return str(module).partition(".")[0]


def _innermost(function: Any) -> Any:
    """Return the function that partials, and wrappers around one function, call in the end."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
            continue
        cells = getattr(function, "__closure__", None) or ()
        wrapped = [cell.cell_contents for cell in cells if callable(cell.cell_contents)]
        if len(wrapped) != 1 or "<locals>" not in function.__qualname__:
            return function
        function = wrapped[0]


def interpreted_kernel(params: Mapping[str, Any]) -> Callable[..., Any] | None:
    """Return what a ``pallas_call`` of these params computes, as JAX interprets it; None where a device runs it."""
    others = dict(params)
    # Other values than True ask for the simulation of a device, which calls back to Python.
    if others.pop("interpret") is not True:
        return None
    from jax._src.pallas import hlo_interpreter  # noqa: PLC0415 - it takes a second

    return functools.partial(hlo_interpreter.pallas_call_hlo_interpret, **others)


class WrittenReference(Exception):  # noqa: N818 - it is explained where the user's names are known
    """A program writes to a reference that it closes over; the argument is the user's line, or None."""


_WRITES = (_state.WriteEffect, _state.AccumEffect)


def lowered_types(jaxpr: Any) -> Any:
    """Return a closed jaxpr in which values of types that libraries define are arrays, as JAX itself lowers them."""
    opened, _ = open_jaxpr(jaxpr)
    return _partial_eval.lower_jaxpr2(jaxpr) if getattr(opened, "is_high", False) and _has_high_types(opened) else jaxpr


def with_values_of_references(jaxpr: Any) -> Any:
    """Return a closed jaxpr in which the references that a program closes over are the arrays that they hold.

    Raises:
        WrittenReference: the program writes to one, which a later call would see.
    """
    opened, consts = open_jaxpr(jaxpr)
    are_references = [isinstance(variable.aval, _state.AbstractRef) for variable in opened.constvars]
    if not any(are_references):
        return jaxpr
    if _writes(opened):
        # It may be any of these, one that writes to a reference of the program's own too.
        writers = [eqn for eqn in opened.eqns if _writes(eqn)]
        raise WrittenReference(user_frame(writers[0].source_info) if len(writers) == 1 else None)
    pure, pure_consts = discharge(_partial_eval.convert_constvars_jaxpr(opened), ())
    values = [const[...] if is_reference else const for const, is_reference in zip(consts, are_references, strict=True)]

    def function(*operands: Any) -> Sequence[Any]:
        results = _core.eval_jaxpr(pure, pure_consts, *values, *operands)
        return results[: len(opened.outvars)]

    return jax.make_jaxpr(function)(*[variable.aval for variable in opened.invars])


def _writes(part: Any) -> bool:
    """Return whether an equation writes to a reference, or a jaxpr to one that it does not make itself."""
    return any(isinstance(effect, _WRITES) for effect in part.effects)


def _has_high_types(jaxpr: Any) -> bool:
    variables = [*jaxpr.constvars, *jaxpr.invars, *jaxpr.outvars]
    if any(variable.aval.is_high for variable in variables):
        return True
    for eqn in jaxpr.eqns:
        if any(variable.aval.is_high for variable in eqn.outvars):
            return True
        if any(_has_high_types(open_jaxpr(inner)[0]) for inner in inner_jaxprs(eqn)):
            return True
    return False


def inner_jaxprs(eqn: Any) -> Iterable[Any]:
    """Return the open jaxprs among the params of a jaxpr's equation."""
    return _core.jaxprs_in_params(eqn.params)


def key_implementation(dtype: Any) -> Any:
    """Return the implementation behind a dtype of random keys: functions of uint32 arrays of its ``key_shape``."""
    return dtype._impl  # noqa: SLF001 - jax offers no public way


def sample_gamma(keys: Any, shape: Any, *, log_space: bool) -> Any:
    """Sample as the primitive ``random_gamma`` does."""
    module = _first_module("jax._src.random.core", "jax._src.random")
    return module._gamma_impl(keys, shape, log_space=log_space, use_vmap=True)  # noqa: SLF001


def bit_hashes() -> Mapping[str, Callable[..., Any]]:
    """Return JAX's own definitions, in plainer primitives, of the hashes that random keys are put through."""
    module = _first_module("jax._src.random.threefry2x32", "jax._src.prng")
    hashes = {"threefry2x32": functools.partial(module._threefry2x32_lowering, use_rolled_loops=False)}  # noqa: SLF001
    for name in ("threefry4x32", "philox2x32", "philox4x32"):
        if has_module(f"jax._src.random.{name}"):
            hashes[name] = getattr(importlib.import_module(f"jax._src.random.{name}"), f"_{name}_lowering")
    return hashes


def _first_module(*names: str) -> Any:
    """Import the first of the modules that the installed jax has; jax moved them in 0.9."""
    return importlib.import_module(next(n for n in names if has_module(n)))


def has_module(name: str) -> bool:
    """Return whether a module can be imported, by its full name."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is a module, not a package
        return False


def where_zero(size: Any, dim: Any) -> Any:
    """Return a size at the sizes at which a symbolic dim is 0."""
    if not is_symbolic(size):
        return size
    symbol = dim._to_var()  # noqa: SLF001 - jax offers no public way
    if symbol is None:
        return 0 if size == dim else size
    others = {name: _shape_poly.symbolic_shape(name, scope=size.scope)[0] for name in size._get_vars()}  # noqa: SLF001
    return size._evaluate({**others, symbol: 0})  # noqa: SLF001


def non_negative(dim: Any) -> list[Any]:
    """Return the expressions that the constraints of a symbolic dim's scope say are not negative."""
    given = dim.scope._explicit_constraints  # noqa: SLF001 - jax offers no public way
    return [c.diff for c in given if c.cmp.name == "GEQ"]


def module_attribute(module_name: str, name: str) -> Any:
    """Return an attribute of one of JAX's modules."""
    return getattr(importlib.import_module(module_name), name)


def total_order(comparison: str) -> Callable[[Any, Any], Any]:
    """Return JAX's comparison of two arrays of one dtype in the order in which it sorts: ``le`` or ``lt``."""
    compare: Callable[[Any, Any], Any] = getattr(_lax, f"_sort_{comparison}_comparator")
    return compare


def is_tracing() -> bool:
    """Return whether JAX traces a function just now, for a transformation or an export."""
    return not _core.trace_state_clean()


def current_trace() -> Any:
    """Return the trace to which JAX gives the next primitive."""
    return _core.trace_ctx.trace


def staged_constant(trace: Any, atom: Any) -> Any:
    """Return the value of a literal or a constant of a trace that builds a jaxpr, else None."""
    if isinstance(atom, Literal):
        return atom.val
    held = trace.frame.constvar_to_val.get(atom)
    return getattr(held, "canonical", held)


def evaluate_equation(eqn: Any, operands: Sequence[Any]) -> Sequence[Any]:
    """Return the results of an equation for operands that have values."""
    params = eqn.primitive.get_bind_params(eqn.params)
    functions: Sequence[Any] = ()
    if isinstance(params, tuple):  # before jax 0.12
        functions, params = params
    with without_trace(), eqn.ctx.manager:
        results = eqn.primitive.bind(*functions, *operands, **params)
    return results if eqn.primitive.multiple_results else [results]

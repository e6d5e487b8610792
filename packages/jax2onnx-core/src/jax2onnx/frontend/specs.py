"""Input specs: from what a user writes to abstract values with names.

A spec is a shape tuple ``("B", 30)`` (float32), a string ``"int32[B,T]"``, a ``jax.ShapeDtypeStruct`` (string dims
allowed in its shape), a concrete array or scalar, or a pytree of these. A dimension is an int, a symbol or expression
(``"B"``, ``"2*T"``), a ``jax.export`` symbolic dimension, or ``None``/``...`` for an anonymous one.

A Python bool is no spec but a value that the callable gets as it is, as is what ``static`` gives, and what ``jax.jit``
of the callable declares static.
"""

from __future__ import annotations

import collections
import difflib
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from tokenize import TokenError
from typing import Any

import jax
import numpy as np
from jax import export

from jax2onnx._accepted import nearest, shown
from jax2onnx._compat import InconclusiveDimensionOperation, is_symbolic
from jax2onnx._printable import storable
from jax2onnx.errors import InputSpecError
from jax2onnx.frontend.dim_text import require_simple
from jax2onnx.frontend.remedies import first_line
from jax2onnx.frontend.static import Fixed, Static, released
from jax2onnx.plugin.naming import dotted, parameters_of, path_name, positional_names
from jax2onnx.plugin.trees import refuse_deep
from jax2onnx.program.lost import reason_without_value

__all__ = ["ACCEPTED", "SYMBOL", "InputSpec", "Inputs", "described", "parse_inputs", "read_spec"]

ACCEPTED = (
    "a shape tuple such as ('B', 30), a string such as 'int32[B,T]', a jax.ShapeDtypeStruct, an array, "
    "or a pytree of these"
)
_TYPED = re.compile(r"^\s*(?P<dtype>[a-z]\w*)\s*\[(?P<shape>[^\]]*)\]\s*$")
SYMBOL = re.compile(r"[A-Za-z_]\w*(?!\w*\s*\()")
_BOUND = re.compile(r"^\s*(?P<dim>.*\S)\s*(?P<operator>>=|<=|==)\s*(?P<number>\d+)\s*$")
_MOST_SMALL_NUMBERS = 17
_DIVISIBLE = re.compile(r"^\s*mod\((?P<dim>[^,]+),\s*(?P<by>\d+)\)\s*==\s*0\s*$")
_CONCRETE = (np.ndarray, np.generic, jax.Array, float, complex)
_NO_NUMBERS = "OSUVMm"
"""Kinds of numpy's dtypes that JAX does not have: objects, strings, records, dates."""
_LETTERS = {"i": "int", "s": "int", "u": "uint", "f": "float"}
_DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
)
_SHORT_DTYPES = {
    **{f"{short}{bits}": f"{long}{bits}" for short, long in _LETTERS.items() for bits in (2, 4, 8, 16, 32, 64)},
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
    "fp64": "float64",
    "half": "float16",
    "c64": "complex64",
    "c128": "complex128",
    "int": "int32",
    "real": "float32",
    "pred": "bool",
}
_REGISTERED = 2
"""How numpy marks a dtype that another library registers, such as bfloat16."""
_LONGEST_FLOAT = 8
_WIDEST = 16
"""Bytes of the widest number that JAX has, complex128."""
_LARGEST = 2**63 - 1
_SYMBOL_ERRORS = (ValueError, TypeError, NotImplementedError, ArithmeticError, RecursionError, TokenError)
"""What JAX raises for an expression or a constraint that it does not accept."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One flattened input.

    Attributes:
        name: its name in the model.
        aval: ``jax.ShapeDtypeStruct``; dims are ints or ``jax.export`` symbolic dims.
        value: the concrete array it was given as, if any.
        argument: the parameter of the callable that it is a part of.
        below: its path in the pytree that is the argument; empty if it is the argument itself.
    """

    name: str
    aval: jax.ShapeDtypeStruct
    value: Any = None
    argument: str = ""
    below: str = ""

    @property
    def is_switch(self) -> bool:
        """Whether it is a scalar bool."""
        return self.aval.dtype == np.bool_ and not self.aval.shape


@dataclass(frozen=True, slots=True)
class Inputs:
    """The flattened inputs, and the way back to the call's arguments.

    Attributes:
        specs: the flattened inputs.
        tree: the structure of the call's ``(args, kwargs)``; static values are in it.
        symbols: the names of the symbolic dims.
        warnings: messages to show the user.
        constraints: what holds between symbolic dims, as the user says it.
        scope: the scope of the symbolic dims.
    """

    specs: tuple[InputSpec, ...]
    tree: Any
    symbols: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    scope: Any = None

    @property
    def switches(self) -> tuple[int, ...]:
        """The indices of the inputs that are a scalar bool."""
        return tuple(index for index, spec in enumerate(self.specs) if spec.is_switch)

    def call(self, fn: Callable[..., Any], leaves: Sequence[Any]) -> Any:
        """Call ``fn`` with the flat ``leaves`` arranged as its positional and keyword arguments."""
        args, kwargs = released(jax.tree_util.tree_unflatten(self.tree, leaves))
        return fn(*args, **kwargs)

    def constrained(self, constraint: str) -> Inputs:
        """Return these inputs with a further constraint between their symbolic dims."""
        constraints = (*self.constraints, constraint)
        dims = _Dims(constraints)
        specs = []
        for spec in self.specs:
            shape = [dims.parse(str(dim) if is_symbolic(dim) else dim) for dim in spec.aval.shape]
            aval = jax.ShapeDtypeStruct(shape, spec.aval.dtype, weak_type=spec.aval.weak_type)
            specs.append(replace(spec, aval=aval))
        return replace(self, specs=tuple(specs), constraints=constraints, scope=dims.scope)

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and keyword arguments, with specs in the places of arrays."""
        args, kwargs = released(jax.tree_util.tree_unflatten(self.tree, self.specs))
        return args, kwargs

    def with_static(self, name: str, value: Any) -> Inputs:
        """Return the inputs of the same call with one more keyword argument, a static value."""
        args, kwargs = jax.tree_util.tree_unflatten(self.tree, self.specs)
        _, tree = jax.tree_util.tree_flatten((args, {**kwargs, name: Fixed(value)}))
        return replace(self, tree=tree)

    def described(self, most: int = 6) -> str:
        """Return the inputs as specs with names: ``x=float32[B,30], mask=bool[B]``."""
        parts = [f"{spec.name}={described(spec.aval)}" for spec in self.specs[:most]]
        if len(self.specs) > most:
            parts.append(f"and {len(self.specs) - most} more")
        return ", ".join(parts) or "no inputs"


def parse_inputs(
    fn: Callable[..., Any],
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    input_params: Mapping[str, Any] | None = None,
    input_names: Sequence[str] | None = None,
    constraints: Sequence[str] = (),
    static: Mapping[str, Any] | None = None,
    training: bool = False,
) -> Inputs:
    """Flatten and name the inputs of a call.

    Args:
        fn: the callable, for the names of its parameters.
        inputs: one spec per positional argument, or a mapping of keyword arguments.
        input_params: specs of further keyword arguments that stay inputs of the model.
        input_names: names for the flattened inputs, in order.
        constraints: what holds between symbolic dims, e.g. ``["T >= 4", "mod(T, 2) == 0"]``.
        static: values that the callable gets as they are, by the names of its parameters.
        training: what arguments that choose between training and inference are if nothing is given for them.

    Raises:
        InputSpecError: a spec, name or constraint is not of an accepted form.
    """
    _check_form(inputs)
    keywords = dict(input_params or {})
    positional: Sequence[Any] = ()
    if isinstance(inputs, Mapping):
        _check_keywords(fn, inputs, "inputs")
        keywords = {**inputs, **keywords}
    else:
        positional = inputs
    _check_keywords(fn, input_params or {}, "input_params")
    _check_keywords(fn, static or {}, "static")
    arranged = Static(fn, static or {}, training=training).arrange(positional, keywords)
    dims = _Dims(constraints)
    args = []
    labels = _argument_labels(fn, len(arranged.args))
    for label, spec in zip(labels, arranged.args, strict=True):
        args.append(_read_tree(spec, label, dims))
    kwargs = {label: _read_tree(spec, label, dims) for label, spec in arranged.kwargs.items()}
    dims.check_constraints()
    specs, tree = jax.tree_util.tree_flatten((tuple(args), kwargs))
    if input_names is not None:
        specs = _renamed(specs, input_names)
    _check_distinct(spec.name for spec in specs)
    return Inputs(tuple(specs), tree, tuple(dims.symbols), arranged.warnings, tuple(constraints), dims.scope)


def read_spec(spec: Any) -> tuple[Sequence[Any], Any]:
    """Return the dims, those that are strings as they are written, and the dtype of one spec, such as ``float32[N,4]``.

    Raises:
        InputSpecError: it is none.
    """
    if isinstance(spec, str):
        shape: Sequence[Any]
        shape, dtype = _parse_typed(spec)
        shape = [int(dim) if dim.isdigit() else dim for dim in shape]
    elif isinstance(spec, jax.ShapeDtypeStruct):
        shape, dtype = spec.shape, spec.dtype
    else:
        raise InputSpecError(f"{shown(spec)} is no spec; write 'float32[B,4]' or a jax.ShapeDtypeStruct")
    _check_width(dtype)
    return shape, dtype


def described(aval: Any) -> str:
    """Return the shape and dtype of an array as a spec: ``float32[B,30]``."""
    dims = ",".join(map(str, aval.shape))
    return f"{aval.dtype}[{dims}]"


def _check_form(inputs: Any) -> None:
    """Raise InputSpecError unless the inputs are a list or a mapping of specs."""
    if isinstance(inputs, str | bytes) or not isinstance(inputs, Sequence | Mapping):
        hint = f"; write [{inputs!r}]" if isinstance(inputs, str) and _TYPED.match(inputs) else ""
        raise InputSpecError(
            f"inputs: expected a list with one spec per argument, got {shown(inputs)}{hint}; a spec is {ACCEPTED}"
        )
    if isinstance(inputs, Mapping):
        for name in inputs:
            if not isinstance(name, str):
                raise InputSpecError(f"inputs: {shown(name)} is no name of an argument; write inputs={{'x': ...}}")
        return
    if _is_like_shape(inputs):
        shape = tuple(inputs)
        raise InputSpecError(
            f"inputs: {shown(inputs)} is one shape, not a list of specs; write [{shape!r}] for one input of this shape"
        )


def _is_like_shape(node: Any) -> bool:
    """Return whether a list or tuple is written like a shape: of dimensions only, and not of ``None`` only."""
    if type(node) not in {list, tuple}:
        return False
    is_telling = False
    for dim in node:
        if isinstance(dim, bool) or not _is_dim(dim):
            return False
        if isinstance(dim, str) and _is_like_typed(dim):
            return False
        is_telling |= dim is not None
    return is_telling


def _is_shape(node: Any) -> bool:
    return type(node) is tuple and all(map(_is_dim, node))


def _is_dim(dim: Any) -> bool:
    if _is_anonymous(dim) or is_symbolic(dim):
        return True
    if isinstance(dim, bool):
        return False
    return isinstance(dim, str | int | np.integer)


def _is_like_typed(text: str) -> bool:
    """Return whether a string is meant as ``float32[B,30]``, and not as a dimension."""
    name = re.split(r"[\[( ]", text.strip(), maxsplit=1)[0].lower()
    return "[" in text or name in _DTYPES or name in _SHORT_DTYPES


def _is_spec(node: Any) -> bool:
    """Return whether a node of a pytree is one spec, or is written so much like a shape that it was meant as one."""
    return _is_shape(node) or _is_like_shape(node) or _is_shape_of_numbers(node)


def _is_shape_of_numbers(node: Any) -> bool:
    """Return whether a tuple is a shape but for a dimension that is a float, a bool or negative."""
    if type(node) is not tuple or all(isinstance(dim, bool) for dim in node):
        return False
    return all(isinstance(dim, str | float | bool) or _is_dim(dim) for dim in node)


def _is_anonymous(dim: Any) -> bool:
    if isinstance(dim, str):
        return dim in {"...", "_", "?"}
    return dim is None or dim is ...


def _read_tree(spec: Any, label: str, dims: _Dims) -> Any:
    """Read the spec of one argument: return its pytree with an ``InputSpec`` for each leaf."""
    refuse_deep(f"inputs: {label}", spec)
    flat, tree = jax.tree_util.tree_flatten_with_path(spec, is_leaf=_is_spec)
    specs: list[Any] = []
    for path, leaf in flat:
        where = f"inputs: {label}{jax.tree_util.keystr(path)}"
        if isinstance(leaf, bool | Fixed):
            specs.append(leaf if isinstance(leaf, Fixed) else Fixed(leaf))
            continue
        try:
            aval, value = _read_leaf(leaf, dims)
        except InputSpecError as error:
            raise InputSpecError(f"{where}: {error.message}") from error.__cause__
        if isinstance(leaf, np.ndarray | np.generic) and leaf.dtype != aval.dtype:
            warnings.warn(
                f"{where}: the {leaf.dtype} array becomes {aval.dtype}, as in JAX with 64-bit types off; "
                "set jax_enable_x64, or convert the array to silence this",
                UserWarning,
                stacklevel=2,
            )
        argument, below = storable(label), path_name(path)
        specs.append(InputSpec(dotted(argument, below), aval, value, argument, below))
    return jax.tree_util.tree_unflatten(tree, specs)


def _read_leaf(spec: Any, dims: _Dims) -> tuple[jax.ShapeDtypeStruct, Any]:
    """Return the abstract value of a leaf, and the concrete array if it is one."""
    weak = False
    if _is_shape(spec):
        shape = spec
        dtype = np.float32
    elif isinstance(spec, str):
        shape, dtype = _parse_typed(spec)
    elif _is_like_shape(spec):
        raise InputSpecError(f"a shape is a tuple: write {tuple(spec)!r} instead of {spec!r}")
    elif isinstance(spec, jax.ShapeDtypeStruct):
        shape = spec.shape
        dtype = spec.dtype
        weak = spec.weak_type
    elif isinstance(spec, _CONCRETE):
        _check_numbers(getattr(spec, "dtype", np.dtype(type(spec))))
        lost = reason_without_value(spec)
        if lost:
            raise InputSpecError(f"the array {lost}; write its dtype and shape instead")
        array = jax.numpy.asarray(spec)
        weak = jax.typeof(array).weak_type
        return jax.ShapeDtypeStruct(array.shape, array.dtype, weak_type=weak), array
    elif (
        not isinstance(spec, type) and hasattr(spec, "shape") and hasattr(spec, "dtype")
    ):  # another library's description of an array
        shape = spec.shape
        dtype = _dtype(spec.dtype)
    else:
        raise InputSpecError(f"{shown(spec)} is not an input spec; {_instead(spec)}accepted is {ACCEPTED}")
    _check_width(dtype)
    parsed = tuple(map(dims.parse, shape))
    return jax.ShapeDtypeStruct(parsed, dtype, weak_type=weak), None


def _is_description(spec: Any) -> bool:
    """Return whether it is another library's description of an array."""
    return hasattr(spec, "shape") and hasattr(spec, "dtype") and not isinstance(spec, type)


def _instead(spec: Any) -> str:
    """Return what to write instead of something that is no spec, and may be meant as one."""
    if isinstance(spec, int):
        return (
            f"write ({spec},) for the shape of a vector of {spec}, 'int32[]' or np.int32({spec}) for an integer, or "
            f"static={{'name': {spec}}} for a value that the callable gets as it is; "
        )
    if isinstance(spec, tuple):
        return "a dimension is an int, a string or None; "
    if isinstance(spec, type):
        return "write its dtype and shape, for example 'float32[B,30]'; "
    if hasattr(spec, "shape") and hasattr(spec, "dtype"):
        return f"write the shape {tuple(spec.shape)!r}, or np.asarray of it; "
    return ""


def _parse_typed(spec: str) -> tuple[list[str], Any]:
    """Return the shape and the dtype of ``float32[B,30]``."""
    match = _TYPED.match(spec)
    if match is None:
        raise InputSpecError(f"{spec!r} is not of the form dtype[dims]; {_typed_instead(spec)}")
    name, dims = match.groups()
    dtype = _dtype(name)
    shape = dims.split(",") if dims.strip() else []
    return [dim.strip() for dim in shape], dtype


def _dtype(name: Any) -> Any:
    try:
        return jax.numpy.dtype(name)
    except TypeError as error:
        meant = _SHORT_DTYPES.get(str(name), name)
        hint = f"did you mean {meant!r}?" if meant != name else nearest(name, _DTYPES, "the dtypes are")
        raise InputSpecError(f"{name!r} is not a dtype; {hint}") from error


def _typed_instead(spec: str) -> str:
    """Return what to write instead of a string that is no spec."""
    name, _, rest = spec.replace("(", "[").replace(")", "]").partition("[")
    dims = rest.rstrip("] ").strip(", ")
    name = name.strip(" ,").lower()
    if name in _DTYPES:
        return f"write '{name}[{dims}]'"
    if "=" in spec:
        key, _, value = spec.partition("=")
        return f"give it by name: inputs={{{key.strip()!r}: {value.strip()!r}}}"
    if SYMBOL.fullmatch(spec):
        return f"write ({spec!r},) for a shape with this dimension, or for example 'float32[{spec}]'"
    return "write for example 'float32[B,30]'"


class _Dims:
    """Parses dimensions. All symbols of a model have one scope: that of the user's ``jax.export`` dims, or our own.

    Attributes:
        symbols: the names of the symbols so far, in order.
        _written: the names as the specs have them; an equality among the constraints may replace one by another.
    """

    def __init__(self, constraints: Sequence[str]) -> None:
        for constraint in constraints:
            require_simple(constraint)
        complete = [*constraints, *_with_negative_divisors(constraints), *_with_small_numbers(constraints)]
        try:
            self._scope = export.SymbolicScope(complete)
        except (*_SYMBOL_ERRORS, InconclusiveDimensionOperation) as error:
            raise InputSpecError(
                f"constraints: {list(constraints)!r} is not accepted: {first_line(error)}; "
                "write conditions such as 'T >= 4', 'T <= B' or 'mod(T, 2) == 0'"
            ) from error
        self._constraints = constraints
        self._written: set[str] = set()
        self._users_scope: Any = None
        self._is_constrained = bool(constraints)
        self._anonymous = 0
        self.symbols: dict[str, None] = {}

    @property
    def scope(self) -> Any:
        """The scope of the symbols."""
        return self._users_scope or self._scope

    def parse(self, dim: Any) -> Any:
        """Return a dimension as an int or a ``jax.export`` symbolic dimension."""
        if _is_anonymous(dim):
            dim = f"_d{self._anonymous}"
            self._anonymous += 1
        if is_symbolic(dim):
            self._adopt_scope(dim.scope)
            self._note(dim)
            return dim
        if isinstance(dim, str):
            return self._parse_expression(dim)
        if isinstance(dim, bool) or int(dim) < 0:
            hint = "; write None for a size that is not known" if dim == -1 else ""
            raise InputSpecError(f"a dimension is a non-negative int or a symbol, got {dim!r}{hint}")
        if int(dim) > _LARGEST:
            raise InputSpecError(f"a dimension of ONNX is an int64, got {shown(dim)}; write a symbol such as 'B'")
        return int(dim)

    def check_constraints(self) -> None:
        """Raise InputSpecError for a constraint about a symbol that no input has.

        An equality may introduce symbols: ``B == 2*n`` makes the dimension ``B`` twice a new one.
        """
        _refuse_empty_ranges(self._constraints)
        known = {*self._written, *self.symbols}
        named = {text: set(SYMBOL.findall(text)) for text in self._constraints}
        for _ in named:
            for text, names in named.items():
                if "==" in text and not known.isdisjoint(names):
                    known |= names
        for text, names in named.items():
            for name in sorted(names - known):
                hint = nearest(name, known, "their dimensions are")
                raise InputSpecError(f"constraints: {text!r} is about {name}, which no input has; {hint}")

    def _parse_expression(self, text: str) -> Any:
        if not text.strip():
            raise InputSpecError(
                "a dimension is empty; write a symbol such as 'B', or None for a size that is not known"
            )
        require_simple(text)
        try:
            (dim,) = export.symbolic_shape(text, scope=self.scope)
        except _SYMBOL_ERRORS as error:
            raise InputSpecError(
                f"the dimension {text!r} is not a symbol or an expression of symbols: {first_line(error)}; "
                "write for example 'B', '2*B' or 'B + 1'"
            ) from error
        self._written.update(SYMBOL.findall(text))
        if is_symbolic(dim):
            self._note(dim)
        else:
            return self.parse(int(dim))
        return dim

    def _adopt_scope(self, scope: Any) -> None:
        """Use the scope of the user's symbolic dims from here on."""
        if self._is_constrained:
            raise InputSpecError(
                "give constraints to jax.export.symbolic_shape where its dims are made, "
                "or string dims with constraints=, not both"
            )
        if self._users_scope is None:
            if self.symbols:
                raise InputSpecError("string dims come before jax.export dims; put the latter first, or use strings")
            self._users_scope = scope
        if self._users_scope is not scope:
            raise InputSpecError("symbolic dims of two different scopes; make them in one symbolic_shape scope")

    def _note(self, dim: Any) -> None:
        symbols = SYMBOL.findall(str(dim))
        self.symbols.update(dict.fromkeys(symbols))


def _refuse_empty_ranges(constraints: Sequence[str]) -> None:
    """Raise InputSpecError for bounds of a dimension that no size satisfies."""
    least: dict[str, int] = {}
    most: dict[str, int] = {}
    for constraint in constraints:
        match = _BOUND.match(constraint)
        if match is None:
            continue
        dim, operator, number = match.groups()
        if operator != "<=":
            least[dim] = max(int(number), least.get(dim, 0))
        if operator != ">=":
            most[dim] = min(int(number), most.get(dim, int(number)))
    for dim, low in least.items():
        if low > most.get(dim, low):
            raise InputSpecError(
                f"constraints: no size {dim} is at least {low} and at most {most[dim]}; leave out one of the bounds"
            )


def _with_negative_divisors(constraints: Sequence[str]) -> list[str]:
    """Return ``mod(T, -4) == 0`` for ``mod(T, 4) == 0``.

    A reshape to ``(-1, 4)`` asks JAX for the former: it divides by the product of the new shape, the -1 included.
    """
    mirrored = []
    for constraint in constraints:
        match = _DIVISIBLE.match(constraint)
        if match is not None:
            dim, divisor = match.groups()
            mirrored.append(f"mod({dim}, -{divisor}) == 0")
    return mirrored


def _with_small_numbers(constraints: Sequence[str]) -> list[str]:
    """Return ``mod(1, N) == 1`` and ``floordiv(1, N) == 0`` for ``N >= 2``, and so on for the numbers below a bound.

    JAX does not see it by itself: ``jnp.pad(x, 1, mode='wrap')`` asks for the remainder of the padding by the size.
    """
    found = []
    for constraint in constraints:
        match = _BOUND.match(constraint)
        if match is None or match["operator"] != ">=" or "(" in match["dim"]:
            continue
        for number in range(1, min(int(match["number"]), _MOST_SMALL_NUMBERS)):
            found += [f"mod({number}, {match['dim']}) == {number}", f"floordiv({number}, {match['dim']}) == 0"]
    return found


def _check_width(dtype: Any) -> None:
    if jax.numpy.issubdtype(dtype, jax.dtypes.extended):
        return
    wanted = jax.numpy.dtype(dtype)
    _check_numbers(wanted)
    if jax.dtypes.canonicalize_dtype(wanted) != wanted:
        raise InputSpecError(
            f"{wanted} needs 64-bit types, which this process has switched off; "
            "set jax.config.update('jax_enable_x64', True) or the environment variable JAX_ENABLE_X64=1, "
            "or ask for a 32-bit dtype"
        )


def _check_numbers(dtype: Any) -> None:
    """Raise InputSpecError for a dtype that JAX does not have."""
    if not isinstance(dtype, np.dtype):
        return
    is_registered = dtype.isbuiltin == _REGISTERED
    is_number = is_registered or dtype.kind not in _NO_NUMBERS
    is_long = dtype.kind == "f" and dtype.itemsize > _LONGEST_FLOAT
    if not is_number or is_long or dtype.itemsize > _WIDEST:
        raise InputSpecError(f"JAX has no arrays of {dtype}; convert it to numbers, for example to float32 or int32")


def _check_keywords(fn: Callable[..., Any], names: Iterable[str], option: str) -> None:
    """Raise InputSpecError unless the callable takes keyword arguments of these names."""
    parameters = parameters_of(fn)
    if parameters is None:
        return
    signature = inspect.Signature(parameters)
    try:
        signature.bind_partial(**dict.fromkeys(names))
    except TypeError as error:
        taken = [parameter.name for parameter in parameters]
        unknown = [name for name in names if name not in taken]
        hint = f"the callable takes {', '.join(taken) or 'nothing'}"
        if unknown and difflib.get_close_matches(unknown[0], taken, n=1):
            hint = f"{nearest(unknown[0], taken)} {hint}"
        raise InputSpecError(f"{option}: {error}; {hint}") from error


def _argument_labels(fn: Callable[..., Any], count: int) -> list[str]:
    """Return the names of the first ``count`` positional parameters, ``input_2`` and so on where there are fewer."""
    names = positional_names(fn)[:count]
    return names + [f"input_{i}" for i in range(len(names), count)]


def _renamed(specs: Sequence[InputSpec], names: Sequence[str]) -> list[InputSpec]:
    if len(names) != len(specs):
        listed = ", ".join(spec.name for spec in specs) or "none"
        raise InputSpecError(f"input_names: {len(names)} names for {len(specs)} inputs; the inputs are {listed}")
    return [replace(spec, name=name) for spec, name in zip(specs, names, strict=True)]


def _check_distinct(names: Iterable[str]) -> None:
    for name, count in collections.Counter(names).items():
        if count > 1:
            raise InputSpecError(f"input_names: two inputs are named {name!r}; pass input_names= with distinct names")

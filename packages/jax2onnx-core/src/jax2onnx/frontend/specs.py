"""Input specs: from what a user writes to abstract values with names.

A spec is a shape tuple ``("B", 30)`` (float32), a string ``"int32[B,T]"``, a ``jax.ShapeDtypeStruct`` (string dims
allowed in its shape), a concrete array or scalar, or a pytree of these. A dimension is an int, a symbol or expression
(``"B"``, ``"2*T"``), a ``jax.export`` symbolic dimension, or ``None``/``...`` for an anonymous one.
"""

from __future__ import annotations

import collections
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax import export

from jax2onnx._compat import InconclusiveDimensionOperation, is_symbolic
from jax2onnx.errors import InputSpecError
from jax2onnx.plugin.naming import dotted, parameters_of, path_name, positional_names

__all__ = ["ACCEPTED", "InputSpec", "Inputs", "parse_inputs"]

ACCEPTED = (
    "a shape tuple such as ('B', 30), a string such as 'int32[B,T]', a jax.ShapeDtypeStruct, an array, "
    "or a pytree of these"
)
_TYPED = re.compile(r"^\s*(?P<dtype>[a-z]\w*)\s*\[(?P<shape>[^\]]*)\]\s*$")
_SYMBOL = re.compile(r"[A-Za-z_]\w*(?!\w*\s*\()")
_DIVISIBLE = re.compile(r"^\s*mod\((?P<dim>[^,]+),\s*(?P<by>\d+)\)\s*==\s*0\s*$")
_CONCRETE = (np.ndarray, np.generic, jax.Array, bool, int, float, complex)
_SYMBOL_ERRORS = (ValueError, TypeError, NotImplementedError)
"""What JAX raises for an expression or a constraint that it does not accept."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One flattened input.

    Attributes:
        name: its name in the model.
        aval: ``jax.ShapeDtypeStruct``; dims are ints or ``jax.export`` symbolic dims.
        value: the concrete array it was given as, if any.
    """

    name: str
    aval: jax.ShapeDtypeStruct
    value: Any = None

    @property
    def is_switch(self) -> bool:
        """Whether it is a scalar bool."""
        return self.aval.dtype == np.bool_ and not self.aval.shape


@dataclass(frozen=True, slots=True)
class Inputs:
    """The flattened inputs, and the way back to the call's arguments."""

    specs: tuple[InputSpec, ...]
    tree: Any
    symbols: tuple[str, ...] = ()

    @property
    def switches(self) -> tuple[int, ...]:
        """The indices of the inputs that are a scalar bool."""
        return tuple(index for index, spec in enumerate(self.specs) if spec.is_switch)

    def call(self, fn: Callable[..., Any], leaves: Sequence[Any]) -> Any:
        """Call ``fn`` with the flat ``leaves`` arranged as its positional and keyword arguments."""
        args, kwargs = jax.tree_util.tree_unflatten(self.tree, leaves)
        return fn(*args, **kwargs)


def parse_inputs(
    fn: Callable[..., Any],
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    input_params: Mapping[str, Any] | None = None,
    input_names: Sequence[str] | None = None,
    constraints: Sequence[str] = (),
) -> Inputs:
    """Flatten and name the inputs of a call.

    Args:
        fn: the callable, for the names of its parameters.
        inputs: one spec per positional argument, or a mapping of keyword arguments.
        input_params: specs of further keyword arguments that stay inputs of the model.
        input_names: names for the flattened inputs, in order.
        constraints: what holds between symbolic dims, e.g. ``["T >= 4", "mod(T, 2) == 0"]``.

    Raises:
        InputSpecError: a spec, name or constraint is not of an accepted form.
    """
    if isinstance(inputs, str) or not isinstance(inputs, Sequence | Mapping):
        raise InputSpecError(
            f"inputs: expected a list with one spec per argument, got {inputs!r}; a spec is {ACCEPTED}"
        )
    positional = inputs
    keywords = dict(input_params or {})
    option = "input_params"
    if isinstance(inputs, Mapping):
        positional = ()
        keywords = {**inputs, **keywords}
        option = "inputs"
    _check_keywords(fn, keywords, option)
    dims = _Dims(constraints)
    args = []
    labels = _argument_labels(fn, len(positional))
    for label, spec in zip(labels, positional, strict=True):
        args.append(_read_tree(spec, label, dims))
    kwargs = {label: _read_tree(spec, label, dims) for label, spec in keywords.items()}
    specs, tree = jax.tree_util.tree_flatten((tuple(args), kwargs))
    if input_names is not None:
        specs = _renamed(specs, input_names)
    _check_distinct(spec.name for spec in specs)
    return Inputs(tuple(specs), tree, tuple(dims.symbols))


def _is_shape(node: Any) -> bool:
    return type(node) is tuple and all(map(_is_dim, node))


def _is_dim(dim: Any) -> bool:
    if _is_anonymous(dim) or is_symbolic(dim):
        return True
    return isinstance(dim, str | int | np.integer)


def _is_anonymous(dim: Any) -> bool:
    if isinstance(dim, str):
        return dim in {"...", "_", "?"}
    return dim is None or dim is ...


def _read_tree(spec: Any, label: str, dims: _Dims) -> Any:
    """Read the spec of one argument: return its pytree with an ``InputSpec`` for each leaf."""
    flat, tree = jax.tree_util.tree_flatten_with_path(spec, is_leaf=_is_shape)
    specs = []
    for path, leaf in flat:
        where = f"inputs: {label}{jax.tree_util.keystr(path)}"
        try:
            aval, value = _read_leaf(leaf, dims)
        except InputSpecError as error:
            raise InputSpecError(f"{where}: {error}") from error.__cause__
        if isinstance(leaf, np.ndarray | np.generic) and leaf.dtype != aval.dtype:
            warnings.warn(
                f"{where}: the {leaf.dtype} array becomes {aval.dtype}, as in JAX with 64-bit types off; "
                "set jax_enable_x64, or convert the array to silence this",
                UserWarning,
                stacklevel=2,
            )
        name = dotted(label, path_name(path))
        specs.append(InputSpec(name, aval, value))
    return jax.tree_util.tree_unflatten(tree, specs)


def _read_leaf(spec: Any, dims: _Dims) -> tuple[jax.ShapeDtypeStruct, Any]:
    """Return the abstract value of a leaf, and the concrete array if it is one."""
    weak = False
    if _is_shape(spec):
        shape = spec
        dtype = np.float32
    elif isinstance(spec, str):
        shape, dtype = _parse_typed(spec)
    elif isinstance(spec, jax.ShapeDtypeStruct):
        shape = spec.shape
        dtype = spec.dtype
        weak = spec.weak_type
    elif isinstance(spec, _CONCRETE):
        array = jax.numpy.asarray(spec)
        weak = jax.typeof(array).weak_type
        return jax.ShapeDtypeStruct(array.shape, array.dtype, weak_type=weak), array
    elif hasattr(spec, "shape") and hasattr(spec, "dtype"):  # another library's description of an array
        shape = spec.shape
        dtype = _dtype(spec.dtype)
    else:
        raise InputSpecError(f"{spec!r} is not an input spec; accepted is {ACCEPTED}")
    _check_width(dtype)
    parsed = tuple(map(dims.parse, shape))
    return jax.ShapeDtypeStruct(parsed, dtype, weak_type=weak), None


def _parse_typed(spec: str) -> tuple[list[str], Any]:
    """Return the shape and the dtype of ``float32[B,30]``."""
    match = _TYPED.match(spec)
    if match is None:
        raise InputSpecError(f"{spec!r} is not of the form dtype[dims], e.g. 'float32[B,30]'")
    name, dims = match.groups()
    dtype = _dtype(name)
    shape = dims.split(",") if dims.strip() else []
    return [dim.strip() for dim in shape], dtype


def _dtype(name: Any) -> Any:
    try:
        return jax.numpy.dtype(name)
    except TypeError as error:
        raise InputSpecError(f"{name!r} is not a dtype") from error


class _Dims:
    """Parses dimensions. All symbols of a model have one scope: that of the user's ``jax.export`` dims, or our own.

    Attributes:
        symbols: the names of the symbols so far, in order.
    """

    def __init__(self, constraints: Sequence[str]) -> None:
        if isinstance(constraints, str):
            raise InputSpecError(f"constraints: expected a list of strings, got {constraints!r}")
        complete = [*constraints, *_with_negative_divisors(constraints)]
        try:
            self._scope = export.SymbolicScope(complete)
        except (*_SYMBOL_ERRORS, InconclusiveDimensionOperation) as error:
            raise InputSpecError(f"constraints: {list(constraints)!r} is not accepted: {error}") from error
        self._users_scope: Any = None
        self._is_constrained = bool(constraints)
        self._anonymous = 0
        self.symbols: dict[str, None] = {}

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
            raise InputSpecError(f"a dimension is a non-negative int or a symbol, got {dim!r}")
        return int(dim)

    def _parse_expression(self, text: str) -> Any:
        scope = self._users_scope or self._scope
        try:
            (dim,) = export.symbolic_shape(text, scope=scope)
        except _SYMBOL_ERRORS as error:
            raise InputSpecError(
                f"the dimension {text!r} is not a symbol or an expression of symbols: {error}"
            ) from error
        if is_symbolic(dim):
            self._note(dim)
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
        symbols = _SYMBOL.findall(str(dim))
        self.symbols.update(dict.fromkeys(symbols))


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


def _check_width(dtype: Any) -> None:
    if jax.numpy.issubdtype(dtype, jax.dtypes.extended):
        return
    wanted = jax.numpy.dtype(dtype)
    if jax.dtypes.canonicalize_dtype(wanted) != wanted:
        raise InputSpecError(
            f"{wanted} needs 64-bit types, which this process has switched off; "
            "set jax.config.update('jax_enable_x64', True), or ask for a 32-bit dtype"
        )


def _check_keywords(fn: Callable[..., Any], names: Iterable[str], option: str) -> None:
    """Raise InputSpecError unless the callable takes keyword arguments of these names."""
    parameters = parameters_of(fn)
    if parameters is None:
        return
    signature = inspect.Signature(parameters)
    try:
        signature.bind_partial(**dict.fromkeys(names))
    except TypeError as error:
        taken = ", ".join(parameter.name for parameter in parameters)
        raise InputSpecError(f"{option}: {error}; the callable takes {taken or 'nothing'}") from error


def _argument_labels(fn: Callable[..., Any], count: int) -> list[str]:
    """Return the names of the first ``count`` positional parameters, ``input_2`` and so on where there are fewer."""
    names = positional_names(fn)[:count]
    return names + [f"input_{i}" for i in range(len(names), count)]


def _renamed(specs: Sequence[InputSpec], names: Sequence[str]) -> list[InputSpec]:
    if len(names) != len(specs):
        raise InputSpecError(f"input_names: {len(names)} names for {len(specs)} inputs")
    return [replace(spec, name=name) for spec, name in zip(specs, names, strict=True)]


def _check_distinct(names: Iterable[str]) -> None:
    for name, count in collections.Counter(names).items():
        if count > 1:
            raise InputSpecError(f"input_names: two inputs are named {name!r}; pass input_names= with distinct names")

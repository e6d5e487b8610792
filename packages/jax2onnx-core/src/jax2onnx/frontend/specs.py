"""Input specs: from what a user writes to abstract values with names.

A spec is a shape tuple ``("B", 30)`` (float32), a string ``"int32[B,T]"``, a ``jax.ShapeDtypeStruct`` (string dims
allowed in its shape), a concrete array or scalar, or a pytree of these. A dimension is an int, a symbol or expression
(``"B"``, ``"2*T"``), a ``jax.export`` symbolic dimension, or ``None``/``...`` for an anonymous one.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax import export

from jax2onnx._compat import InconclusiveDimensionOperation, is_symbolic
from jax2onnx.errors import InputSpecError

ACCEPTED = (
    "a shape tuple such as ('B', 30), a string such as 'int32[B,T]', a jax.ShapeDtypeStruct, an array, "
    "or a pytree of these"
)
_TYPED = re.compile(r"^\s*(?P<dtype>[a-z]\w*)\s*\[(?P<shape>[^\]]*)\]\s*$")


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


@dataclass(frozen=True, slots=True)
class Inputs:
    """The flattened inputs, and the way back to the call's arguments."""

    specs: tuple[InputSpec, ...]
    tree: Any
    symbols: tuple[str, ...] = field(default=())

    @property
    def switches(self) -> tuple[int, ...]:
        """Which inputs are a scalar bool."""
        return tuple(i for i, s in enumerate(self.specs) if s.aval.dtype == np.bool_ and not s.aval.shape)

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
        msg = f"inputs: expected a list with one spec per argument, got {inputs!r}; a spec is {ACCEPTED}"
        raise InputSpecError(msg)
    args: tuple[Any, ...] = () if isinstance(inputs, Mapping) else tuple(inputs)
    kwargs = dict(inputs) if isinstance(inputs, Mapping) else {}
    kwargs.update(input_params or {})
    _check_keywords(fn, kwargs, "inputs" if isinstance(inputs, Mapping) else "input_params")
    reader = _Reader(constraints)
    labels = _argument_names(fn, len(args))
    arg_tree = tuple(_reader_tree(reader, spec, label) for spec, label in zip(args, labels, strict=True))
    kwarg_tree = {k: _reader_tree(reader, spec, k) for k, spec in kwargs.items()}
    paths, tree = jax.tree_util.tree_flatten_with_path((arg_tree, kwarg_tree), is_leaf=_is_leaf)
    names = [_leaf_name(path, labels) for path, _ in paths]
    names = _distinct(names if input_names is None else list(input_names), len(paths))
    specs = tuple(InputSpec(n, leaf.aval, leaf.value) for n, (_, leaf) in zip(names, paths, strict=True))
    return Inputs(specs, tree, tuple(reader.symbols))


@dataclass(frozen=True, slots=True)
class _Leaf:
    aval: jax.ShapeDtypeStruct
    value: Any = None


def _is_leaf(node: Any) -> bool:
    return isinstance(node, _Leaf)


def _is_shape(node: Any) -> bool:
    return type(node) is tuple and all(_is_dim(d) for d in node)


def _is_dim(dim: Any) -> bool:
    return dim is None or dim is ... or is_symbolic(dim) or isinstance(dim, str | int | np.integer)


def _reader_tree(reader: _Reader, spec: Any, label: str) -> Any:
    leaves, tree = jax.tree_util.tree_flatten_with_path(spec, is_leaf=_is_shape)
    read = [reader.leaf(node, f"{label}{jax.tree_util.keystr(path)}") for path, node in leaves]
    return jax.tree_util.tree_unflatten(tree, read)


class _Reader:
    """Reads leaves; all symbols live in one scope."""

    def __init__(self, constraints: Sequence[str]) -> None:
        if isinstance(constraints, str):
            msg = f"constraints: expected a list of strings, got {constraints!r}"
            raise InputSpecError(msg)
        try:
            self._scope = export.SymbolicScope((*constraints, *_mirrored(constraints)))
        except (ValueError, TypeError, NotImplementedError, InconclusiveDimensionOperation) as error:
            msg = f"constraints: {list(constraints)!r} is not accepted: {error}"
            raise InputSpecError(msg) from error
        self._foreign: Any = None
        self._constrained = bool(constraints)
        self._anonymous = 0
        self.symbols: dict[str, None] = {}

    def leaf(self, spec: Any, where: str) -> _Leaf:
        """Read one leaf of the spec of argument ``where``."""
        if _is_shape(spec):
            return self._abstract(spec, np.float32, where)
        if isinstance(spec, str):
            match = _TYPED.match(spec)
            if match is None:
                msg = f"inputs: {where}: {spec!r} is not of the form dtype[dims], e.g. 'float32[B,30]'"
                raise InputSpecError(msg)
            dims = [d.strip() for d in match["shape"].split(",")] if match["shape"].strip() else []
            return self._abstract([int(d) if d.isdecimal() else d for d in dims], match["dtype"], where)
        if isinstance(spec, jax.ShapeDtypeStruct):
            return self._abstract(spec.shape, spec.dtype, where, weak=spec.weak_type)
        if isinstance(spec, np.ndarray | np.generic | jax.Array | bool | int | float | complex):
            return self._concrete(spec, where)
        msg = f"inputs: {where}: {spec!r} is not an input spec; accepted is {ACCEPTED}"
        raise InputSpecError(msg)

    def _abstract(self, shape: Sequence[Any], dtype: Any, where: str, *, weak: bool = False) -> _Leaf:
        if isinstance(dtype, str):
            try:
                dtype = jax.numpy.dtype(dtype)
            except TypeError as error:
                msg = f"inputs: {where}: {dtype!r} is not a dtype"
                raise InputSpecError(msg) from error
        if not jax.numpy.issubdtype(dtype, jax.dtypes.extended):
            wanted = jax.numpy.dtype(dtype)
            if jax.dtypes.canonicalize_dtype(wanted) != wanted:
                msg = (
                    f"inputs: {where}: {wanted} needs 64-bit types, which this process has switched off; "
                    "set jax.config.update('jax_enable_x64', True), or ask for a 32-bit dtype"
                )
                raise InputSpecError(msg)
        return _Leaf(jax.ShapeDtypeStruct(self._dims(shape, where), dtype, weak_type=weak))

    def _concrete(self, value: Any, where: str) -> _Leaf:
        if isinstance(value, np.ndarray | np.generic):
            dtype = jax.dtypes.canonicalize_dtype(value.dtype)
            if dtype != value.dtype:
                warnings.warn(
                    f"inputs: {where}: the {value.dtype} array becomes {dtype}, as in JAX with 64-bit types off; "
                    "set jax_enable_x64, or convert the array to silence this",
                    UserWarning,
                    stacklevel=2,
                )
        array = jax.numpy.asarray(value)
        return _Leaf(jax.ShapeDtypeStruct(array.shape, array.dtype, weak_type=jax.typeof(array).weak_type), array)

    def _dims(self, shape: Sequence[Any], where: str) -> tuple[Any, ...]:
        return tuple(self._dim(d, where) for d in shape)

    def _dim(self, dim: Any, where: str) -> Any:
        if dim is None or dim is ... or (isinstance(dim, str) and dim in {"...", "_", "?"}):
            dim = f"_d{self._anonymous}"
            self._anonymous += 1
        if is_symbolic(dim):
            return self._adopt(dim, where)
        if isinstance(dim, str):
            try:
                (parsed,) = export.symbolic_shape(dim, scope=self._foreign or self._scope)
            except (ValueError, TypeError, NotImplementedError) as error:
                msg = f"inputs: {where}: the dimension {dim!r} is not a symbol or an expression of symbols: {error}"
                raise InputSpecError(msg) from error
            if is_symbolic(parsed):
                self._note(parsed)
            return parsed
        if isinstance(dim, bool) or int(dim) < 0:
            msg = f"inputs: {where}: a dimension is a non-negative int or a symbol, got {dim!r}"
            raise InputSpecError(msg)
        return int(dim)

    def _adopt(self, dim: Any, where: str) -> Any:
        if self._constrained:
            msg = (
                f"inputs: {where}: give constraints to jax.export.symbolic_shape where its dims are made, "
                "or string dims with constraints=, not both"
            )
            raise InputSpecError(msg)
        if self._foreign is None:
            if self.symbols:
                msg = f"inputs: {where}: string dims come before jax.export dims; put the latter first, or use strings"
                raise InputSpecError(msg)
            self._foreign = dim.scope
        elif self._foreign is not dim.scope:
            msg = f"inputs: {where}: symbolic dims of two different scopes; make them in one symbolic_shape scope"
            raise InputSpecError(msg)
        self._note(dim)
        return dim

    def _note(self, dim: Any) -> None:
        self.symbols.update(dict.fromkeys(re.findall(r"[A-Za-z_]\w*(?!\w*\s*\()", str(dim))))


_DIVISIBLE = re.compile(r"^\s*mod\((?P<dim>[^,]+),\s*(?P<by>\d+)\)\s*==\s*0\s*$")


def _mirrored(constraints: Sequence[str]) -> list[str]:
    """Say of negative divisors too that they divide: JAX divides by one where a reshape infers a -1."""
    found = map(_DIVISIBLE.match, constraints)
    return [f"mod({m['dim']}, -{m['by']}) == 0" for m in found if m is not None]


def _check_keywords(fn: Callable[..., Any], names: Iterable[str], option: str) -> None:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    accepted = [p.name for p in parameters if p.kind in {p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD}]
    for name in names:
        if name not in accepted:
            msg = f"{option}: {name!r} is no parameter of the callable, which takes {', '.join(accepted) or 'none'}"
            raise InputSpecError(msg)


def _argument_names(fn: Callable[..., Any], count: int) -> list[str]:
    """Names of the first ``count`` positional parameters of ``fn``, made up where it has none."""
    try:
        signature = inspect.signature(fn).parameters.values()
        parameters = [p for p in signature if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters[:count]]
    return names + [f"input_{i}" for i in range(len(names), count)]


def _leaf_name(path: Any, labels: Sequence[str]) -> str:
    kind, index, *rest = path
    label = labels[index.idx] if kind.idx == 0 else str(index.key)
    tail = jax.tree_util.keystr(tuple(rest), simple=True, separator=".")
    return f"{label}.{tail}" if tail else label


def _distinct(names: list[str], count: int) -> list[str]:
    if len(names) != count:
        msg = f"input_names: {len(names)} names for {count} inputs"
        raise InputSpecError(msg)
    seen: set[str] = set()
    for name in names:
        if name in seen:
            msg = f"input_names: two inputs are named {name!r}; pass input_names= with distinct names"
            raise InputSpecError(msg)
        seen.add(name)
    return names

"""Read the body of a loop as sums of products of gates, states and linear functions, one equation after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from jax2onnx.plugin import Atom as ProgramAtom
from jax2onnx.plugin import Const, Eqn, is_static
from jax2onnx_lax.recurrent.layouts import LAYOUTS, joined, widened
from jax2onnx_lax.recurrent.terms import Linear, Source, Sum, UnlikeCellError, applied, constant, library_of, moved

__all__ = ["Read", "read_steps"]


@dataclass(frozen=True, slots=True)
class _Joined:
    """Values side by side."""

    parts: Sequence[Sum]
    axis: int
    shape: tuple[Any, ...]

    def whole(self) -> Sum:
        """Return them as one linear function."""
        linear = joined([part.as_linear() for part in self.parts], self.axis, self.shape)
        return Sum(self.shape, linear)


_Value: TypeAlias = "Sum | _Joined | None"


@dataclass(slots=True)
class Read:
    """What is known of the values of a body.

    Attributes:
        values: what is read of the values; nothing of one that no recurrent operator computes.
        made: the sources that are made in a step, by what they are made of.
    """

    values: dict[ProgramAtom, _Value] = field(default_factory=dict)
    made: dict[int, tuple[Sum, Source]] = field(default_factory=dict)

    def of(self, atom: ProgramAtom) -> Sum | None:
        """Return what is read of a value."""
        value = self._of(atom)
        try:
            return value.whole() if isinstance(value, _Joined) else value
        except UnlikeCellError:
            return None

    def _of(self, atom: ProgramAtom) -> _Value:
        if atom not in self.values and isinstance(atom, Const):
            array = np.asarray(atom.value) if atom.aval.dtype == np.float32 else None
            self.values[atom] = None if array is None else constant(array.astype(np.float32, copy=False))
        return self.values.get(atom)

    def read(self, eqn: Eqn) -> None:
        """Read an equation; of a whole function, those that it stands for."""
        if eqn.fused is not None:
            for inner in eqn.fused.interior_of(eqn.inputs):
                self.read(inner)
            return
        try:
            results = self._results(eqn)
        except UnlikeCellError:
            results = None
        if results is not None:
            self.values.update(zip(eqn.outputs, results, strict=True))

    def _results(self, eqn: Eqn) -> Sequence[_Value] | None:
        """Return what is read of an equation's results, None if that is nothing."""
        if eqn.primitive in LAYOUTS:
            value = self.of(eqn.inputs[0])
            return None if value is None else [_moved(value, layout) for layout in LAYOUTS[eqn.primitive](eqn)]
        operands = list(map(self._of, eqn.inputs))
        if any(v.aval.dtype != np.float32 for v in eqn.outputs) or any(value is None for value in operands):
            return None
        if eqn.primitive == "dot_general":
            return [self._dot(eqn, *operands)]
        sums = [value for value in map(self.of, eqn.inputs) if value is not None]
        if len(sums) < len(operands):
            return None
        if eqn.primitive == "concatenate":
            return [_concatenated(eqn, sums)]
        rule = _RULES.get(eqn.primitive)
        return None if rule is None else [rule(*sums)]

    def _dot(self, eqn: Eqn, lhs: Any, rhs: Any) -> Sum:
        """Return a product with a matrix of parameters."""
        (left, right), batch = eqn.params["dimension_numbers"]
        if any(batch):
            raise UnlikeCellError
        shape = tuple(eqn.outputs[0].aval.shape)
        first, second = (isinstance(side, Sum) and side.is_parameter for side in (lhs, rhs))
        if not first and not second:
            raise UnlikeCellError
        if second:
            return self._product(lhs, left, rhs, right, shape, swapped=False)
        return self._product(rhs, right, lhs, left, shape, swapped=True)

    def _product(
        self,
        data: Any,
        along: Sequence[int],
        matrix: Sum,
        rows: Sequence[int],
        shape: tuple[Any, ...],
        *,
        swapped: bool,
    ) -> Sum:
        weights = _whole(matrix)
        if isinstance(data, _Joined) and tuple(along) == (data.axis,):
            return _sum(
                self._product(part, along, constant(piece), rows, shape, swapped=swapped)
                for part, piece in _pieces(data, weights, rows[0])
            )
        if isinstance(data, _Joined):
            data = data.whole()
        source = data.bare or self._source(data)
        if source is not None and tuple(along) == (len(source.shape) - 1,):
            return _of_source(source, weights, rows[0], shape, swapped=swapped)
        return _of_linear(data.as_linear(), along, weights, rows, shape, swapped=swapped)

    def _source(self, data: Sum) -> Source | None:
        """Return a vector that is made in the step as a source; None if it is linear."""
        atoms = [atom for product in data.terms for atom in product]
        if all(atom.kind == "source" for atom in atoms) and all(len(product) == 1 for product in data.terms):
            return None
        return self.made.setdefault(id(data), (data, Source(data.shape, data)))[1]


def read_steps(eqns: Iterable[Eqn], given: Mapping[ProgramAtom, Sum]) -> Read:
    """Read equations, of whose operands some are given."""
    read = Read(dict(given))
    for eqn in eqns:
        read.read(eqn)
    return read


def _sum(values: Iterable[Sum]) -> Sum:
    total: Sum | None = None
    for value in values:
        total = value if total is None else total.plus(value)
    assert total is not None
    return total


def _moved(value: Sum, layout: Any) -> Sum:
    if value.shape == layout.shape and layout.key[0] in {"reshape", "slice"}:
        whole = layout.key[0] == "reshape" or _is_whole(layout, len(value.shape))
        if whole:
            return value
    return moved(value, layout.key, layout)


def _is_whole(layout: Any, rank: int) -> bool:
    """Return whether a slice that has the shape of its operand is that."""
    strides = layout.key[1 + 2 * rank :]
    return all(stride == 1 for stride in strides)


def _concatenated(eqn: Eqn, parts: Sequence[Sum]) -> _Value:
    axis, shape = eqn.params["dimension"], tuple(eqn.outputs[0].aval.shape)
    value = _Joined(parts, axis, shape)
    return value.whole() if all(part.is_parameter for part in parts) else value


def _whole(matrix: Sum) -> Any:
    """Return parameters with all of their elements."""
    assert matrix.linear is not None
    return widened(matrix.linear.rows[None], matrix.shape, range(len(matrix.shape)))[0]


def _pieces(data: _Joined, weights: Any, axis: int) -> Iterable[tuple[Sum, Any]]:
    """Yield values that are side by side with the part of a matrix that multiplies each."""
    start = 0
    for part in data.parts:
        size = part.shape[data.axis]
        if not is_static(size):
            raise UnlikeCellError
        index = [slice(None)] * weights.ndim
        index[axis] = slice(start, start + int(size))
        yield part, weights[tuple(index)]
        start += int(size)


def _of_source(source: Source, weights: Any, axis: int, shape: tuple[Any, ...], *, swapped: bool) -> Sum:
    library = library_of(weights)
    rows = library.moveaxis(weights, axis, 0)
    free, count = rows.shape[1:], len(source.batch)
    ones = [1] * count
    dims = (*free, *ones) if swapped else (*ones, *free)
    batch = tuple(range(len(free), len(free) + count)) if swapped else tuple(range(count))
    return Sum(shape, Linear(shape, batch, {source: rows.reshape(source.size, *dims)}, frozenset({source})))


def _of_linear(
    data: Linear, along: Sequence[int], weights: Any, axes: Sequence[int], shape: tuple[Any, ...], *, swapped: bool
) -> Sum:
    if not set(along).isdisjoint(data.batch or ()):
        raise UnlikeCellError
    kept = [axis for axis in range(len(data.shape)) if axis not in along]
    free = weights.ndim - len(axes)
    rows = {}
    for source, array in data.rows.items():
        library = library_of(array, weights)
        wide = widened(array, data.shape, along)
        product = library.tensordot(wide, weights, ([1 + axis for axis in along], list(axes)))
        if swapped:
            last = range(product.ndim - free, product.ndim)
            product = library.moveaxis(product, list(last), list(range(1, 1 + free)))
        rows[source] = product.astype("float32")
    if data.batch is None:
        return Sum(shape, Linear(shape, None, rows))
    before = free if swapped else 0
    batch = tuple(before + kept.index(axis) for axis in data.batch)
    return Sum(shape, Linear(shape, batch, rows, data.full))


def _quotient(one: Sum, other: Sum) -> Sum:
    """Return a quotient by a number."""
    number = other.number()
    if not number:
        raise UnlikeCellError
    return one.scaled(1 / number)


_RULES: dict[str, Callable[..., Sum]] = {
    "add": lambda one, other: one.plus(other),
    "add_any": lambda one, other: one.plus(other),
    "div": _quotient,
    "logistic": lambda x: applied("logistic", x),
    "mul": lambda one, other: one.times(other),
    "neg": lambda x: x.scaled(-1.0),
    "sub": lambda one, other: one.plus(other.scaled(-1.0)),
    "tanh": lambda x: applied("tanh", x),
}
"""Primitive -> what is read of its result, given what is of its operands."""

for _name in ("copy", "stop_gradient", "convert_element_type"):
    _RULES[_name] = lambda x: x

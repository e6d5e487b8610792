"""What a step of a loop computes of its inputs, as sums of products of gates, states and linear functions.

A linear function of a step multiplies vectors, one for each sequence, by matrices, and adds a bias. It is held as what
it makes of each unit vector, so that slices, reshapes and products with further matrices are done on parameters alone:

    z = x @ w + h @ u + b    rows {x: w, h: u, None: b}
    z[:, :4]                 rows {x: w[:, :4], h: u[:, :4], None: b[:4]}
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

__all__ = ["Atom", "Batch", "Linear", "Source", "Sum", "UnlikeCellError", "applied", "constant", "library_of", "moved"]

Shape: TypeAlias = tuple[Any, ...]
Batch: TypeAlias = "tuple[int, ...] | None"
"""The axes that tell sequences apart; None where a value is the same for all sequences."""

_WIDEST = 256
"""The largest matrix of ones and zeros by which a vector is multiplied that no step multiplies by a matrix."""

_NUMBERS = itertools.count()


class UnlikeCellError(Exception):
    """A step has what no recurrent operator computes."""


def library_of(*arrays: Any) -> Any:
    """Return numpy for arrays that are known, else ``jax.numpy``."""
    return np if all(isinstance(array, np.ndarray) for array in arrays) else jnp


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A vector for each sequence, along the last axis.

    Attributes:
        shape: its shape.
        made: what it is made of; None for an input of the step.
    """

    shape: Shape
    made: Sum | None = None

    @property
    def size(self) -> int:
        """How many elements a vector has."""
        return int(self.shape[-1])

    @property
    def batch(self) -> tuple[int, ...]:
        """The axes that tell sequences apart."""
        return tuple(range(len(self.shape) - 1))


@dataclass(slots=True, eq=False)
class Linear:
    """A linear function of sources, and a bias.

    Attributes:
        shape: the shape of its result.
        batch: which axes of that tell sequences apart; None for parameters.
        rows: for each source what becomes of its unit vectors, under None the bias: arrays of the result's dims after
            the first, of which those that repeat one number, such as those of sequences, are 1.
        full: the sources of which each element is multiplied by a parameter for each element of the result.
    """

    shape: Shape
    batch: Batch
    rows: Mapping[Source | None, Any]
    full: frozenset[Source] = frozenset()
    _atom: Atom | None = None

    @property
    def atom(self) -> Atom:
        """The function as a factor of products."""
        if self._atom is None:
            self._atom = Atom("linear", self)
        return self._atom

    def number(self) -> float | None:
        """Return the number of which all elements are, if they are known."""
        if self.batch is not None or not isinstance(self.rows.get(None), np.ndarray):
            return None
        bias = self.rows[None]
        return float(bias.flat[0]) if bias.size and bool(np.all(bias == bias.flat[0])) else None

    def scaled(self, factor: float) -> Linear:
        """Return a multiple."""
        rows = {source: array * array.dtype.type(factor) for source, array in self.rows.items()}
        return Linear(self.shape, self.batch, rows, self.full)

    def plus(self, other: Linear, shape: Shape) -> Linear:
        """Return the sum of two."""
        batch = _joint_batch(self, other)
        rows = {source: _of_rank(array, len(shape)) for source, array in self.rows.items()}
        for source, array in other.rows.items():
            added = _of_rank(array, len(shape))
            rows[source] = rows[source] + added if source in rows else added
        return Linear(shape, batch, rows, self.full | other.full)

    def times(self, other: Linear, shape: Shape) -> Linear:
        """Return the product with parameters."""
        if other.batch is not None:
            return other.times(self, shape)
        batch = _joint_batch(self, other)
        factor = _of_rank(other.rows[None], len(shape))
        rows = {source: _of_rank(array, len(shape)) * factor for source, array in self.rows.items()}
        return Linear(shape, batch, rows, self.full)


def _joint_batch(one: Linear, other: Linear) -> Batch:
    """Return the axes of sequences of two functions that are added or multiplied."""
    if one.batch is not None and other.batch is not None and one.batch != other.batch:
        raise UnlikeCellError
    batch = other.batch if one.batch is None else one.batch
    for linear in (one, other):
        if linear.batch is None and any(linear.rows[None].shape[1 + axis] != 1 for axis in _axes(batch, linear)):
            raise UnlikeCellError
    return batch


def _axes(batch: Batch, linear: Linear) -> Iterable[int]:
    return (batch or ()) if linear.shape else ()


def _of_rank(array: Any, rank: int) -> Any:
    """Return what becomes of unit vectors as an array that broadcasts with those of results of some rank."""
    return array if array.ndim == 1 + rank else array.reshape(array.shape[0], *[1] * rank)


@dataclass(frozen=True, slots=True, eq=False)
class Atom:
    """A factor: a ``source``, a ``linear`` function, or ``logistic`` or ``tanh`` of a sum."""

    kind: str
    operand: Any
    number: int = field(default_factory=lambda: next(_NUMBERS))
    moved: dict[Any, Sum] = field(default_factory=dict)

    @property
    def shape(self) -> Shape:
        """The shape of its value."""
        return tuple(self.operand.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """A linear function and products of atoms, each with a coefficient, added up."""

    shape: Shape
    linear: Linear | None = None
    terms: Mapping[tuple[Atom, ...], float] = field(default_factory=dict)

    @classmethod
    def of(cls, atom: Atom) -> Sum:
        """Return an atom as a sum."""
        return cls(atom.shape, None, {(atom,): 1.0})

    @property
    def bare(self) -> Source | None:
        """The source that it is; None if it is anything else."""
        if self.linear is not None or len(self.terms) != 1:
            return None
        ((atoms, factor),) = self.terms.items()
        return atoms[0].operand if factor == 1.0 and len(atoms) == 1 and atoms[0].kind == "source" else None

    @property
    def is_parameter(self) -> bool:
        """Whether it is the same for all sequences."""
        return not self.terms and self.linear is not None and self.linear.batch is None

    def number(self) -> float | None:
        """Return the number that all elements are, if they are known."""
        return self.linear.number() if self.linear is not None and not self.terms else None

    def of_shape(self, shape: Shape) -> Sum:
        """Return the sum, or where it is a number, one of some shape whose elements it is."""
        if self.shape == shape or self.linear is None:
            return self
        rows = {source: _of_rank(array, len(shape)) for source, array in self.linear.rows.items()}
        return Sum(shape, Linear(shape, self.linear.batch, rows, self.linear.full), self.terms)

    def scaled(self, factor: float) -> Sum:
        """Return a multiple."""
        linear = None if self.linear is None else self.linear.scaled(factor)
        return Sum(self.shape, linear, {atoms: factor * count for atoms, count in self.terms.items()})

    def plus(self, other: Sum) -> Sum:
        """Return the sum of two."""
        shape = self.shape or other.shape
        parts = [part for part in (self.linear, other.linear) if part is not None]
        linear = parts[0].plus(parts[1], shape) if len(parts) > 1 else next(iter(parts), None)
        terms = dict(self.terms)
        for atoms, factor in other.terms.items():
            terms[atoms] = terms.get(atoms, 0.0) + factor
        return Sum(shape, linear, {atoms: factor for atoms, factor in terms.items() if factor}).of_shape(shape)

    def times(self, other: Sum) -> Sum:
        """Return the product of two."""
        shape = self.shape or other.shape
        for one, factor in ((other, self.number()), (self, other.number())):
            if factor is not None:
                return one.scaled(factor).of_shape(shape)
        if self.is_parameter or other.is_parameter:
            one, parameter = (other, self) if self.is_parameter else (self, other)
            assert parameter.linear is not None
            return Sum(shape, one.as_linear().times(parameter.linear, shape))
        terms: dict[tuple[Atom, ...], float] = {}
        for (one_atoms, first), (other_atoms, second) in itertools.product(self._products(), other._products()):
            atoms = tuple(sorted((*one_atoms, *other_atoms), key=lambda atom: atom.number))
            terms[atoms] = terms.get(atoms, 0.0) + first * second
        return Sum(shape, None, terms)

    def _products(self) -> list[tuple[tuple[Atom, ...], float]]:
        """Return all as products of atoms; a number is the product of none."""
        products = list(self.terms.items())
        if self.linear is not None:
            number = self.linear.number()
            products.append(((self.linear.atom,), 1.0) if number is None else ((), number))
        return products

    def as_linear(self) -> Linear:
        """Return the linear function that it is.

        Raises:
            UnlikeCellError: it is none.
        """
        linear = self.linear
        for atoms, factor in self.terms.items():
            if len(atoms) != 1 or atoms[0].kind != "source":
                raise UnlikeCellError
            unit = _unit(atoms[0].operand).scaled(factor)
            linear = unit if linear is None else linear.plus(unit, self.shape)
        if linear is None:
            raise UnlikeCellError
        return linear


def _unit(source: Source) -> Linear:
    """Return the linear function that returns a source."""
    if source.size > _WIDEST:
        raise UnlikeCellError
    rows = np.eye(source.size, dtype=np.float32).reshape(source.size, *[1] * len(source.batch), source.size)
    return Linear(source.shape, source.batch, {source: rows})


def constant(array: Any) -> Sum:
    """Return parameters as a sum."""
    shape = tuple(array.shape)
    return Sum(shape, Linear(shape, None, {None: array[None]}))


def applied(kind: str, operand: Sum) -> Sum:
    """Return a function of a sum."""
    return Sum.of(Atom(kind, operand))


def moved(value: Sum, key: Any, move: Any) -> Sum:
    """Return a sum whose elements are moved, by moving those of the linear functions in it.

    Args:
        value: the sum.
        key: what tells this move from others.
        move: moves a linear function.
    """
    result: Sum | None = None
    if value.linear is not None:
        linear = move(value.linear)
        result = Sum(linear.shape, linear)
    for atoms, factor in value.terms.items():
        product: Sum | None = None
        for atom in atoms:
            one = _moved_atom(atom, key, move)
            product = one if product is None else product.times(one)
        if product is None:
            raise UnlikeCellError
        product = product.scaled(factor)
        result = product if result is None else result.plus(product)
    if result is None:
        raise UnlikeCellError
    return result


def _moved_atom(atom: Atom, key: Any, move: Any) -> Sum:
    if key not in atom.moved:
        if atom.kind == "source":
            linear = move(_unit(atom.operand))
            atom.moved[key] = Sum(linear.shape, linear)
        elif atom.kind == "linear":
            linear = move(atom.operand)
            atom.moved[key] = Sum(linear.shape, linear)
        else:
            atom.moved[key] = applied(atom.kind, moved(atom.operand, key, move))
    return atom.moved[key]

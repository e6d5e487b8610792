"""Sums of products: products of elements of the same two vectors, which are added one by one, are added at once.

The product of two quaternions is four such products, and so is each entry of a product of matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import FLOATS, is_used_once, new_node, replace, sizes_of, sole_producer, tensor_at
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.spans import spans
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["UNSIGNED", "multiply_at_once"]

UNSIGNED = "jax2onnx.unsigned"
"""The key in the ``meta`` of a node of which it does not matter whether a zero is -0: a sum of -0 alone may be 0."""

_FEWEST = 3
"""So many products are worth a reduction, which takes longer than an addition."""
_MOST = 4096
"""How many numbers are multiplied at most."""
_SPARED = 3
"""So many nodes fewer there are."""


@dataclass(frozen=True, slots=True)
class _View:
    """Elements of a vector, the last axis of a value.

    Attributes:
        source: the value.
        places: which of its elements, in their order.
        node: the node that takes them; None if they are all.
    """

    source: ir.Value
    places: tuple[int, ...]
    node: ir.Node | None


@dataclass(slots=True)
class _Term:
    """A product of elements of one or two values, and constants.

    Attributes:
        views: the elements, one factor each.
        factor: the constants, of which one that is no 1 or -1 is beside one factor only.
        nodes: the nodes that multiply, which nothing else needs.
    """

    views: list[_View] = field(default_factory=list)
    factor: Any = 1.0
    has_number: bool = False
    nodes: list[ir.Node] = field(default_factory=list)


@rewrites("Add", "Sub", beside=["Mul"])
def multiply_at_once(nodes: Sequence[ir.Node], home: Home) -> bool:
    """Rewrite ``x[0:1] * c + x[1:2] * d + x[2:3] * e``, with constants ``c[4]``, to one product and one sum.

    ::

        before: Add(Add(Mul(x[B, 3][:, 0:1], c[4]), Mul(x[:, 1:2], d)), Mul(x[:, 2:3], e))
        after:  ReduceSum(Mul(Unsqueeze(x, -1), [c, d, e]), -2)

    Elements of another vector may stand for the constants, each with a sign. They are added in the same order.

    Returns:
        Whether it was done.
    """
    changed = False
    for node in reversed(nodes):
        if _is_product(node.inputs[1]) and _may_be(node):
            changed |= _multiply(node, home)
    return changed


def _is_product(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    return node is not None and node.op_type == "Mul"


def _may_be(node: ir.Node) -> bool:
    """Return whether a sum is of three products, as far as it is seen at once."""
    value = node.inputs[0]
    before = None if value is None else value.producer()
    if before is None or before.op_type not in {"Add", "Sub"} or not is_used_once(value):
        return False
    if not all(map(_is_product, before.inputs[1:])):
        return False
    return UNSIGNED in node.meta and node.graph is not None and node.outputs[0].dtype in FLOATS


def _multiply(node: ir.Node, home: Home) -> bool:
    shape = sizes_of(node.outputs[0].shape)
    if not shape or _is_added(node):
        return False
    sums: list[ir.Node] = []
    terms = _terms(node, shape, sums, home)
    if terms is None or len(terms) < _FEWEST or math.prod(shape) * len(terms) > _MOST:
        return False
    sides = _sides(terms)
    if sides is None:
        return False
    plan = _Plan(node, terms, sides, home)
    claimed = {*sums, *(one for term in terms for one in term.nodes)}
    if len(claimed) + _count_taken(terms, claimed) < plan.cost() + _SPARED:
        return False
    replace(node, plan.emit())
    return True


def _is_added(node: ir.Node) -> bool:
    """Return whether a sum is a term, the first one, of another sum that may be computed at once."""
    result = node.outputs[0]
    if not is_used_once(result):
        return False
    ((user, place),) = result.uses()
    return standard(user) in {"Add", "Sub"} and place == 0 and user.graph is node.graph and UNSIGNED in user.meta


def _terms(node: ir.Node, shape: Sequence[int], sums: list[ir.Node], home: Home) -> list[_Term] | None:
    """Return the products that a row of sums adds, in their order, and append the sums; None if there are others."""
    found: list[_Term] = []
    while True:
        sums.append(node)
        last = _term(node, 1, home)
        if last is None or sizes_of(node.outputs[0].shape) != tuple(shape):
            return None
        if standard(node) == "Sub":
            last.factor = -last.factor
        found.append(last)
        before = sole_producer(node, 0, "Add", "Sub")
        if before is None:
            first = _term(node, 0, home)
            return None if first is None else [first, *found[::-1]]
        node = before


def _term(user: ir.Node, place: int, home: Home) -> _Term | None:
    """Return the product that an operand is, None if it is none of this kind."""
    product = sole_producer(user, place, "Mul")
    if product is None:
        return None
    term = _Term(nodes=[product])
    for inner in (0, 1):
        value = product.inputs[inner]
        if value is None or not _multiply_by(term, product, inner, home):
            return None
    is_one = len(term.views) == 1 and term.has_number
    is_two = len(term.views) == 2 and not term.has_number
    return term if is_one or is_two else None


def _multiply_by(term: _Term, product: ir.Node, place: int, home: Home) -> bool:
    """Multiply a term by an operand of a product, return whether that is possible."""
    value, tensor = product.inputs[place], tensor_at(product, place)
    assert value is not None
    if tensor is not None:
        if home.is_parameter(value) or tensor.size > _MOST:
            return False
        numbers = tensor.numpy()
        if not np.all(np.abs(numbers) == 1):
            if term.has_number:  # their product is rounded
                return False
            term.has_number = True
        term.factor = term.factor * numbers
        return True
    inner = sole_producer(product, place, "Mul")
    if inner is not None and len(term.nodes) == 1:
        term.nodes.append(inner)
        return all(inner.inputs[one] is not None and _multiply_by(term, inner, one, home) for one in (0, 1))
    view = _view(value)
    if view is None:
        return False
    term.views.append(view)
    return True


def _view(value: ir.Value) -> _View | None:
    """Return which elements of which value a value has along its last axis."""
    shape = sizes_of(value.shape)
    if not shape:
        return None
    node = value.producer()
    source = None if node is None or not node.inputs else node.inputs[0]
    places = None if node is None or source is None else _places(node, value, len(shape) - 1)
    if node is None or source is None or places is None:
        return _View(value, tuple(range(shape[-1])), None)
    return _View(source, places, node)


def _places(node: ir.Node, value: ir.Value, last: int) -> tuple[int, ...] | None:
    """Return which places of the last axis a node takes for one of its results, None if it is another node."""
    source = sizes_of(None if node.inputs[0] is None else node.inputs[0].shape)
    if source is None or len(source) != last + 1:
        return None
    if standard(node) == "Gather":
        tensor = tensor_at(node, 1)
        if tensor is None or tensor.shape.rank() != 1 or node.attributes.get_int("axis", 0) % len(source) != last:
            return None
        return tuple((tensor.numpy() % source[-1]).tolist())
    found = spans(node)
    span = None if found is None else found[node.outputs.index(value)]
    return None if span is None or span.axis != last else tuple(range(span.start, span.end))


def _sides(terms: Sequence[_Term]) -> list[list[_View]] | None:
    """Return the factors that are of one value each, in the order of the terms; None if they are of several."""
    count = len(terms[0].views)
    if any(len(term.views) != count for term in terms):
        return None
    first = terms[0].views[0].source
    for term in terms[1:]:
        if term.views[0].source is not first:
            term.views.reverse()
    sides = [[term.views[side] for term in terms] for side in range(count)]
    for side in sides:
        if len({view.source for view in side}) > 1 or len({len(view.places) for view in side}) > 1:
            return None
    return sides


def _count_taken(terms: Sequence[_Term], claimed: set[ir.Node]) -> int:
    """Return how many nodes that take elements nothing else needs; several that a ``Split`` takes are one."""
    views = [view for term in terms for view in term.views]
    nodes = {view.node for view in views if view.node is not None}
    return sum(all(user in claimed for value in node.outputs for user, _ in value.uses()) for node in nodes)


@dataclass(slots=True)
class _Plan:
    """How a sum of products is computed at once."""

    node: ir.Node
    terms: Sequence[_Term]
    sides: Sequence[Sequence[_View]]
    home: Home

    def cost(self) -> int:
        """Return how many nodes it takes."""
        factor = self._factor()
        return (
            2 + sum(not self._is_all(side) or 1 for side in self.sides) + (len(self.sides) == 2 and factor is not None)
        )

    def emit(self) -> ir.Value:
        """Return the sum, before the node that computes it."""
        factor = self._factor()
        factors = [self._taken(side) for side in self.sides]
        if factor is not None and len(factors) == 2:
            factors[1] = self._product(factors[1], self.home.constant(factor))
        elif len(factors) == 1:
            factors.append(self.home.constant(self._stacked()))
        product = self._product(*factors)
        result = self.node.outputs[0]
        total = new_node("ReduceSum", [product, self.home.ints([-2])], result.shape, self.node)
        total.attributes.add(ir.AttrInt64("keepdims", 0))
        self.node.prepend(total)
        total.outputs[0].name, result.name = result.name, total.outputs[0].name
        return total.outputs[0]

    def _is_all(self, side: Sequence[_View]) -> bool:
        """Return whether one element each is all of a vector."""
        source = sizes_of(side[0].source.shape)
        return source is not None and [view.places for view in side] == [(place,) for place in range(source[-1])]

    def _taken(self, side: Sequence[_View]) -> ir.Value:
        """Return the elements of a value, of shape ``[..., terms, elements]``."""
        source = side[0].source
        dims = list(source.shape or ())
        places = [view.places for view in side]
        shape = ir.Shape([*dims[:-1], len(places), len(places[0])])
        if self._is_all(side):
            node = new_node("Unsqueeze", [source, self.home.ints([-1])], shape, self.node)
        else:
            indices = self.home.constant(np.asarray(places, np.int64))
            node = new_node("Gather", [source, indices], shape, self.node)
            node.attributes.add(ir.AttrInt64("axis", len(dims) - 1))
        self.node.prepend(node)
        return node.outputs[0]

    def _factor(self) -> np.ndarray[Any, Any] | None:
        """Return the constants of the terms next to each other, None if all are 1."""
        stacked = self._stacked()
        return None if np.all(stacked == 1) else stacked

    def _stacked(self) -> np.ndarray[Any, Any]:
        dtype = self.node.outputs[0].dtype
        assert dtype is not None
        arrays = [np.atleast_1d(np.asarray(term.factor, dtype.numpy())) for term in self.terms]
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        return np.stack([np.broadcast_to(array, shape) for array in arrays], -2)

    def _product(self, one: ir.Value, other: ir.Value) -> ir.Value:
        shapes = [sizes_of(one.shape), sizes_of(other.shape)]
        shape = np.broadcast_shapes(*(sizes for sizes in shapes if sizes is not None))
        node = new_node("Mul", [one, other], ir.Shape(shape), self.node)
        self.node.prepend(node)
        return node.outputs[0]

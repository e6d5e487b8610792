"""Layout views: which transpose of which other value a value is, and the arithmetic of permutations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import permutation

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Perm", "View", "Views", "compose", "inverse", "permuted", "view_of"]

Perm: TypeAlias = tuple[int, ...]


def inverse(perm: Perm) -> Perm:
    """Return the permutation that undoes another: ``(0, 2, 3, 1)`` for ``(0, 3, 1, 2)``."""
    return tuple(map(perm.index, sorted(perm)))


def compose(outer: Perm, inner: Sequence[int]) -> Perm:
    """Return the permutation that is ``inner`` first, then ``outer``."""
    return tuple(map(inner.__getitem__, outer))


def permuted(shape: ir.Shape, perm: Perm) -> ir.Shape:
    """Return the shape of the ``perm`` transpose of an array."""
    return ir.Shape(shape[axis] for axis in perm)


class View(NamedTuple):
    """The ``perm`` transpose of ``base``."""

    base: ir.Value
    perm: Perm

    @property
    def is_base(self) -> bool:
        """Whether this is ``base`` itself."""
        return self.perm == tuple(range(len(self.perm)))

    @property
    def shape(self) -> ir.Shape | None:
        """The shape, if it is known."""
        if self.base.shape is None:
            return None
        return permuted(self.base.shape, self.perm)

    @property
    def is_free(self) -> bool:
        """Whether no transpose is needed at run time."""
        return self.is_base or self.base.const_value is not None


class Views(dict[ir.Value, View]):
    """What the values of a graph become when it is rewritten: views of values of the new graph.

    A value that is not a key stays as it is. A value that is computed in another layout is a view of itself: the key is
    the value of the old graph, the base is what its node computes in the new graph.
    """

    def resolve(self, view: View) -> View:
        """Return a view of a value of the old graph as a view of a value of the new graph."""
        known = self.get(view.base)
        if known is None:
            return view
        return View(known.base, compose(view.perm, known.perm))


def view_of(transpose: ir.Node) -> View:
    """Return what a transpose computes."""
    source = transpose.inputs[0]
    assert source is not None
    return View(source, permutation(transpose))

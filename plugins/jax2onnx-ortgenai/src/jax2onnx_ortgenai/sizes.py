"""Sizes: how many positions there are, as values of the graph, in the form in which the contrib operator takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx_ortgenai.graphs import NotFound, added, new_node

if TYPE_CHECKING:
    from jax2onnx_ortgenai.attention import Stored

__all__ = ["Sizes"]


@dataclass(slots=True)
class Sizes:
    """The sizes of one model, each computed once, before all other nodes.

    A model in the form of onnxruntime-genai has inputs ``attention_mask`` of (batch, positions) and ``input_ids`` of
    (batch, tokens). There the sizes are read off these, so that the cache may lie in longer buffers. In other models
    they are read off the cache.
    """

    graph: ir.Graph
    by_mask: bool = False
    _made: dict[object, ir.Value] = field(default_factory=dict)
    _latest: ir.Value | None = None

    @property
    def mask(self) -> ir.Value | None:
        """The input that says what is no padding."""
        return self._input("attention_mask")

    def lengths(self, keys: Stored) -> list[ir.Value]:
        """Return the last position of each row, and how many positions there are, as int32.

        Raises:
            NotFound: no input tells how many tokens there are.
        """
        self.by_mask = self._is_measured(keys)
        rows, total = self._rows(keys), self._total(keys)
        return [self._once(("last", rows, total), lambda: self._last(keys, rows, total)), total]

    def used(self) -> ir.Value:
        """Return the positions in the cache by the inputs of onnxruntime-genai, as int64 of shape [1]."""

        def make() -> ir.Value:
            sizes = [self._size(self._input(name), 1) for name in ("attention_mask", "input_ids")]
            return self._emitted("Sub", sizes, [], [1], ir.DataType.INT64)

        return self._once("used", make)

    def _is_measured(self, keys: Stored) -> bool:
        """Return whether the inputs of onnxruntime-genai have the sizes of all keys and of the new ones."""
        wanted = {"attention_mask": _dim(keys.present, 2), "input_ids": _dim(keys.new, 1)}
        return all(
            given is not None and given.shape is not None and given.shape.rank() == 2 and given.shape[1] == size
            for name, size in wanted.items()
            for given in [self._input(name)]
        )

    def _total(self, keys: Stored) -> ir.Value:
        def make() -> ir.Value:
            if self.by_mask:
                total = self._size(self.mask, 1)
            else:
                sizes = [self._size(keys.past, 2), self._tokens(_dim(keys.new, 1))]
                total = self._emitted("Add", sizes, [], [1], ir.DataType.INT64)
            axes = added(self.graph, np.asarray([0], np.int64), "grouped")
            scalar = self._emitted("Squeeze", [total, axes], [], [], ir.DataType.INT64)
            return self._emitted("Cast", [scalar], [ir.AttrInt64("to", ir.DataType.INT32)], [], ir.DataType.INT32)

        return self._once("total" if self.by_mask else ("total", _dim(keys.past, 2), _dim(keys.new, 1)), make)

    def _tokens(self, size: object) -> ir.Value:
        """Return how many tokens there are, read off an input of this size."""
        if isinstance(size, int):
            return added(self.graph, np.asarray([size], np.int64), "grouped")
        for given in self.graph.inputs:
            if given.shape is not None and size in list(given.shape):
                return self._size(given, list(given.shape).index(size))
        raise NotFound("no input has the tokens along an axis")

    def _rows(self, keys: Stored) -> ir.Value:
        return self._size(self._input("input_ids") if self.by_mask else keys.past, 0)

    def _last(self, keys: Stored, rows: ir.Value, total: ir.Value) -> ir.Value:
        one = added(self.graph, np.asarray(1, np.int32), "grouped")
        last = self._emitted("Sub", [total, one], [], [], ir.DataType.INT32)
        return self._emitted("Expand", [last, rows], [], [_dim(keys.past, 0)], ir.DataType.INT32)

    def _size(self, given: ir.Value | None, axis: int) -> ir.Value:
        """Return a size of an input, as int64 of shape [1]."""
        assert given is not None
        attributes = [ir.AttrInt64("start", axis), ir.AttrInt64("end", axis + 1)]
        return self._once(
            ("size", given, axis), lambda: self._emitted("Shape", [given], attributes, [1], ir.DataType.INT64)
        )

    def _input(self, name: str) -> ir.Value | None:
        return next((value for value in self.graph.inputs if value.name == name), None)

    def _once(self, key: object, make: Callable[[], ir.Value]) -> ir.Value:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _emitted(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        attributes: Sequence[ir.Attr],
        shape: Sequence[int | ir.SymbolicDim],
        dtype: ir.DataType,
    ) -> ir.Value:
        """Emit a node before all others, behind those emitted by this so far."""
        node = new_node(op_type, inputs, attributes, ir.Shape(shape), dtype)
        before = None if self._latest is None else self._latest.producer()
        if before is None:
            self.graph.node(0).prepend(node)
        else:
            before.append(node)
        self._latest = node.outputs[0]
        return self._latest


def _dim(value: ir.Value, axis: int) -> int | ir.SymbolicDim:
    if value.shape is None:
        raise NotFound("the sizes of keys are not known")
    return value.shape[axis]

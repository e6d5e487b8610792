"""Angles: tables of cosines and sines, where these are proven to depend on the position alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from jax2onnx_ortgenai.graphs import RESHAPES, NotFound, constant, inputs_of, made_by
from jax2onnx_ortgenai.masks import counts_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Angles", "Rotated", "rotated"]

_POINTWISE = {"Add", "Cast", "Clip", "Cos", "Div", "Mul", "Neg", "Pow", "Sin", "Squeeze", "Sub", "Unsqueeze"}
"""Operators by which each element of the result depends on one element of what is no constant."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """An array of heads side by side, and the cosines and sines that rotate it."""

    source: ir.Value
    cosines: ir.Value
    sines: ir.Value
    interleaved: int


def rotated(value: ir.Value) -> Rotated:
    """Return what an array of (batch, tokens, heads, depth) is the rotation of."""
    node = made_by(value, "RotaryEmbedding", *RESHAPES)
    if node.op_type in RESHAPES:
        node = made_by(node.inputs[0], "RotaryEmbedding")
    source, cosines, sines = inputs_of(node, 3)
    if source.shape is None or source.shape.rank() != 3 or len(node.inputs) > 3:
        raise NotFound("what is rotated has another form")
    if node.attributes.get_int("rotary_embedding_dim", 0):
        raise NotFound("a part of the features is rotated")
    return Rotated(source, cosines, sines, node.attributes.get_int("interleaved", 0))


@dataclass(slots=True)
class Angles:
    """The tables of one model, each computed once."""

    graph: ir.Graph
    length: int
    past: ir.Value
    _tables: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def tables(self, *arrays: Rotated) -> list[ir.Value]:
        """Return the tables of cosines and sines by which all arrays are rotated."""
        first = arrays[0]
        for other in arrays[1:]:
            if (other.cosines, other.sines, other.interleaved) != (first.cosines, first.sines, first.interleaved):
                raise NotFound("queries and keys are rotated by other angles")
        return [self._table(first.cosines), self._table(first.sines)]

    def _table(self, value: ir.Value) -> ir.Value:
        if value not in self._tables:
            array = self._computed(value)
            tensor = ir.Tensor(array)
            made = ir.Value(type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
            made.name = f"angles_{len(self._tables)}"
            self.graph.register_initializer(made)
            self._tables[value] = made
        return self._tables[value]

    def _computed(self, value: ir.Value) -> np.ndarray[Any, Any]:
        """Compute cosines or sines of all positions, as the model does."""
        nodes, positions = self._nodes(value)
        session = ort.InferenceSession(self._model(value, nodes, positions), providers=["CPUExecutionProvider"])
        given = np.arange(self.length, dtype=positions.dtype.numpy() if positions.dtype else np.int32)
        given = given.reshape([dim if isinstance(dim, int) else -1 for dim in positions.shape or ()])
        table = np.asarray(session.run(None, {"positions": given})[0])
        if table.ndim != 3 or table.shape[:2] != (1, self.length):
            raise NotFound("the angles have another form")
        return np.asarray(table[0])

    def _model(self, value: ir.Value, nodes: Sequence[ir.Node], positions: ir.Value) -> bytes:
        """Return the part of the model that computes a value from positions."""
        values: dict[ir.Value, ir.Value] = {}
        dims = [dim if isinstance(dim, int) else None for dim in positions.shape or ()]
        given = ir.Value(name="positions", type=positions.type, shape=ir.Shape(dims))
        values[positions] = given
        constants: list[ir.Value] = []
        copies = []
        for number, node in enumerate(nodes):
            for operand in node.inputs:
                if operand is not None and operand.const_value is not None and operand not in values:
                    held = ir.Tensor(operand.const_value.numpy())
                    copy = ir.Value(name=f"c{len(constants)}", type=operand.type, shape=operand.shape, const_value=held)
                    values[operand] = copy
                    constants.append(copy)
            result = ir.Value(name=f"v{number}", type=node.outputs[0].type)
            inputs = [None if operand is None else values[operand] for operand in node.inputs]
            copies.append(ir.Node("", node.op_type, inputs, list(node.attributes.values()), outputs=[result]))
            values[node.outputs[0]] = result
        imports = {"": self.graph.opset_imports[""]}
        graph = ir.Graph(
            [given], [values[value]], nodes=copies, initializers=constants, opset_imports=imports, name="angles"
        )
        return bytes(ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString())

    def _nodes(self, value: ir.Value) -> tuple[Sequence[ir.Node], ir.Value]:
        """Return the nodes that compute a value from the positions of the tokens, in order, and these positions.

        Raises:
            NotFound: one of them does not work position by position, or needs another input.
        """
        found: dict[ir.Node, None] = {}
        positions: set[ir.Value] = set()

        def visit(one: ir.Value | None) -> None:
            if one is None or constant(one) is not None:
                return
            if counts_tokens(one, self.past):
                positions.add(one)
                return
            node = one.producer()
            if node is None or node.domain or node.op_type not in _POINTWISE | {"Gather"}:
                raise NotFound("the angles are not computed position by position")
            if node.op_type == "Gather" and (
                constant(node.inputs[0]) is None or node.attributes.get_int("axis", 0) != 0
            ):
                raise NotFound("the angles are not read by position")
            for operand in node.inputs:
                visit(operand)
            found[node] = None

        visit(value)
        if len(positions) != 1:
            raise NotFound("the angles are not those of the tokens' positions")
        return list(found), positions.pop()

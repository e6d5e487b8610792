"""Sites: one node that is written anew, and the nodes that come in its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.errors import OpsetError
from jax2onnx.legalise.opsets.history import changes, first_opset

__all__ = ["Nodes", "Site", "too_old"]


class Nodes:
    """Nodes in the making; each has one result.

    Attributes:
        made: the nodes so far.
    """

    def __init__(self) -> None:
        self.made: list[ir.Node] = []

    def add(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        dtype: DataType | None = None,
        shape: Any = None,
        **attributes: Any,
    ) -> ir.Value:
        """Append a node; its result has the dtype of its first input unless another one is given."""
        dtype = dtype or next((value.dtype for value in inputs if value is not None), None)
        result = ir.Value(shape=shape, type=None if dtype is None else ir.TensorType(dtype))
        self.made.append(ir.node(op_type, inputs, attributes, outputs=[result]))
        return result

    def constant(self, array: Any) -> ir.Value:
        """Append a constant."""
        tensor = ir.tensor(np.asarray(array))
        result = self.add("Constant", dtype=tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), value=tensor)
        result.const_value = tensor
        return result

    def ints(self, *numbers: int) -> ir.Value:
        """Append a constant int64 vector."""
        return self.constant(np.asarray(numbers, np.int64))

    def sizes(self, value: ir.Value) -> ir.Value:
        """Append a node that gives the sizes of a value as an int64 vector."""
        return self.add("Shape", value, dtype=DataType.INT64)

    def size(self, value: ir.Value, axis: int) -> ir.Value:
        """Append nodes that give one size of a value as an int64 vector; a negative axis counts from the last one."""
        known = None if value.shape is None else value.shape[axis]
        if isinstance(known, int):
            return self.ints(known)
        ends = self.ints(axis + 1) if axis != -1 else self.ints(np.iinfo(np.int64).max)
        return self.add("Slice", self.sizes(value), self.ints(axis), ends, self.ints(0))


class Site(Nodes):
    """A node of a graph that is written anew.

    Attributes:
        graph: the graph that it is in.
        node: the node.
        written: the opset in whose form it is.
        opset: the older opset for which it is written.
    """

    def __init__(self, graph: ir.Graph, node: ir.Node, written: int, opset: int) -> None:
        super().__init__()
        self.graph = graph
        self.node = node
        self.written = written
        self.opset = opset

    def input(self, index: int) -> ir.Value | None:
        """Return an input, None if it is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def required(self, index: int) -> ir.Value:
        """Return an input that every node of the operator has."""
        value = self.input(index)
        assert value is not None
        return value

    def known(self, index: int) -> list[int] | None:
        """Return the integers that an input holds; None if it is left out or computed."""
        value = self.input(index)
        tensor = None if value is None else ir.convenience.get_const_tensor(value)
        return None if tensor is None else [int(number) for number in tensor.numpy().ravel()]

    def rank(self, index: int) -> int:
        """Return the rank of an input."""
        value = self.required(index)
        if value.shape is None:
            newest = changes(self.node.op_type, self.opset, self.written)[0]
            raise self.refused("an input of unknown rank", newest.version)
        return value.shape.rank()

    def take(self, name: str, default: Any = None) -> Any:
        """Remove an attribute; return its value, or the default if it is not there."""
        attribute = self.node.attributes.pop(name, None)
        return default if attribute is None else attribute.value

    def insert(self) -> list[ir.Node]:
        """Put the new nodes before the node, which stays; return them."""
        for inserted in self.made:
            inserted.metadata_props.update(self.node.metadata_props)
        self.graph.insert_before(self.node, self.made)
        return self.made

    def replace(self, *results: ir.Value) -> list[ir.Node]:
        """Put the new nodes in the place of the node; its results are these values now. Return the nodes."""
        self.insert()
        for old, new in zip(self.node.outputs, results, strict=True):
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            new.name, old.name = old.name, None
            new.shape = new.shape if old.shape is None else old.shape
            new.type = new.type if old.type is None else old.type
        self.graph.remove(self.node, safe=True)
        return self.made

    def refused(self, what: str, needs: int | None = None) -> OpsetError:
        """Return (to be raised) the error that this node cannot be said; ``needs`` is the opset that has it."""
        return too_old(self.node.op_type, self.opset, what=what, needs=needs, node=self.node)


def too_old(
    op_type: str, opset: int, *, what: str = "", needs: int | None = None, node: ir.Node | None = None
) -> OpsetError:
    """Return the error that an opset cannot say an operator, or what a node wants of it."""
    needs = needs or first_opset(op_type)
    said = f"{op_type} with {what}" if what else op_type
    props: Any = {} if node is None else node.metadata_props
    return OpsetError(
        f"opset {opset} cannot say {said}; ONNX has it since opset {needs}",
        where=props.get("jax2onnx.source"),
        plugin=props.get("jax2onnx.plugin"),
        remedy=f"pass opset={needs} or a newer one",
    )

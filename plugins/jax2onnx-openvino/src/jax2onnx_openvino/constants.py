"""Constants: nodes of constants are computed at export where OpenVINO keeps them, since it overwrites their results.

OpenVINO computes a node of constants that it does not fold once, when it loads a model. An elementwise node that reads
the result writes its own over it, so that the second run of the model starts from what the first one left.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx_openvino.nodes import Maker, drop, finish, replaced, standard

__all__ = ["KEPT", "fold", "fold_all", "known"]

_Array: TypeAlias = np.ndarray[Any, Any]

KEPT = (
    "AveragePool",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Conv",
    "ConvTranspose",
    "CumSum",
    "Elu",
    "GatherElements",
    "GatherND",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "MaxPool",
    "Mod",
    "PRelu",
    "ReduceL2",
    "ReverseSequence",
    "Selu",
    "Softsign",
)
"""The operators whose nodes of constants OpenVINO keeps, as far as a node behind them told so.

It folds the others, among them those that make arrays larger; large constants need not be written out for it.
"""


def fold(graph: ir.Graph, node: ir.Node) -> str | None:
    """Rewrite a node whose operands are made of constants only to the constant that it computes.

    In a body, which does not know its opset, ``fold_all`` does so.
    """
    opset = graph.opset_imports.get("")
    if opset is not None:
        _fold(graph, node, opset)
    return None


def fold_all(model: ir.Model) -> None:
    """Fold the nodes that OpenVINO would keep, in bodies too, from the first on."""
    for node in list(model.graph.all_nodes()):
        if standard(node) in KEPT and isinstance(node.graph, ir.Graph):
            _fold(node.graph, node, model.opset_imports[""])


def known(value: ir.Value, opset: int) -> _Array | None:
    """Return what a value is, if it is made of constants only."""
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is not None:
        return tensor.numpy()
    producer, index = value.producer(), value.index()
    chain = None if producer is None else _chain(producer)
    if producer is None or index is None or chain is None:
        return None
    return _computed(chain, producer, opset)[index]


def _fold(graph: ir.Graph, node: ir.Node, opset: int) -> None:
    chain = _chain(node)
    if chain is None:
        return
    results = _computed(chain, node, opset)
    make = Maker(graph, node)
    for index, result in enumerate(results):
        if node.outputs[index].uses() or node.outputs[index].is_graph_output():
            new = replaced(node, index)
            finish(graph, node, new, "Identity", make.constant(result))
    drop(graph, node)


def _chain(node: ir.Node) -> list[ir.Node] | None:
    """Return the nodes by which a node is made of constants, itself last; None if something else is in it."""
    found: dict[ir.Node, None] = {}
    pending = [(node, False)]
    while pending:
        current, is_done = pending.pop()
        if is_done:
            found[current] = None
            continue
        if current in found:
            continue
        if not _is_plain(current):
            return None
        pending.append((current, True))
        for value in current.inputs:
            if value is None or ir.convenience.get_const_tensor(value) is not None:
                continue
            producer = value.producer()
            if producer is None:
                return None
            pending.append((producer, False))
    return list(found)


_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


def _is_plain(node: ir.Node) -> bool:
    """Return whether a node computes the same from its operands each time, and has no bodies."""
    has_bodies = any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values())
    return standard(node) not in {"", *_RANDOM} and not has_bodies


def _computed(chain: list[ir.Node], node: ir.Node, opset: int) -> list[_Array]:
    """Return what the last node of a chain computes."""
    from onnx.reference import ReferenceEvaluator

    copies: dict[ir.Value, ir.Value] = {}
    constants: list[ir.Value] = []

    def copied(value: ir.Value | None) -> ir.Value | None:
        if value is None or value in copies:
            return None if value is None else copies[value]
        tensor = ir.convenience.get_const_tensor(value)
        assert tensor is not None
        copies[value] = ir.Value(name=f"c{len(copies)}", const_value=tensor, type=ir.TensorType(tensor.dtype))
        constants.append(copies[value])
        return copies[value]

    nodes = []
    for one in chain:
        inputs = [copied(value) for value in one.inputs]
        outputs = [ir.Value(name=f"v{len(copies) + index}") for index in range(len(one.outputs))]
        copies |= dict(zip(one.outputs, outputs, strict=True))
        nodes.append(ir.Node("", one.op_type, inputs, one.attributes.values(), outputs=outputs))
    results = [copies[value] for value in node.outputs]
    graph = ir.Graph([], results, nodes=nodes, initializers=constants, opset_imports={"": opset}, name="constants")
    proto = ir.to_proto(ir.Model(graph, ir_version=10))
    with np.errstate(all="ignore"):
        return [np.asarray(array) for array in ReferenceEvaluator(proto).run(None, {})]

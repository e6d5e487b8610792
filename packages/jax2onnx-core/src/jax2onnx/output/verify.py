"""Verify: a model that is not valid ONNX is an error that names the node, not a model.

onnx's own checker judges, bodies and functions too. Each input of a node is defined before, and each value once.
Operators, attributes and numbers of operands are those of the schemas, and each domain is imported. Dtypes and shapes
do not contradict each other. The checker gets the model without weights: it takes 8 ms for a thousand nodes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import onnx

from jax2onnx.errors import InvalidModelError, UnsupportedCaseError
from jax2onnx.output.proto import without_weights
from jax2onnx.tidy.subgraphs import bodies, every_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx_ir as ir

__all__ = ["verified"]

_NODES = re.compile(r"(?:[Nn]ame: ?|[Nn]ode ?\()([^\s(),]+)")
"""How the checker's messages name nodes. Those that hold a node are named before it, or after it as the context."""

_VALUES = re.compile(r"'([^']+)'")
"""How the checker's messages name values."""

_DEEPEST = 31
"""Each subgraph is three of protobuf's messages deep, which may be nested 100 deep."""

_ERRORS: tuple[type[Exception], ...] = (
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    RuntimeError,
    ValueError,
)


def verified(model: ir.Model, *, describe_plugin: Callable[[str], str] = str) -> onnx.ModelProto:
    """Check a model; return it without its weights.

    Args:
        model: the model.
        describe_plugin: returns a plugin's name with its version.

    Raises:
        InvalidModelError: the model is not valid; the message names the node, the user's line and the plugin.
    """
    for node in _nodes(model):
        if any(value is not None and value.name is None for value in node.inputs):
            # onnx-ir does not write such a model.
            raise _invalid("an input is no value of the model", node, describe_plugin)
    proto = without_weights(model)
    try:
        onnx.checker.check_model(proto.SerializeToString(), full_check=True)
    except _ERRORS as error:
        _refuse_deep(model)
        message = str(error)
        raise _invalid(message, _node(message, model), describe_plugin) from error
    return proto


def _refuse_deep(model: ir.Model) -> None:
    """Raise an error if subgraphs are nested too deeply for a file to be read again."""
    for root in (model.graph, *(function.graph for function in model.functions.values())):
        level = list(root)
        for _ in range(_DEEPEST + 1):
            outer = level
            level = [inner for node in outer for graph in bodies(node) for inner in graph]
            if not level:
                break
        else:
            raise UnsupportedCaseError(
                f"conditions and loops are nested more than {_DEEPEST} deep, and protobuf reads no deeper messages",
                where=outer[0].metadata_props.get("jax2onnx.source"),
                remedy="mark an inner part with onnx_function: a function is not nested in what calls it",
            )


def _invalid(message: str, node: ir.Node | None, describe_plugin: Callable[[str], str]) -> InvalidModelError:
    lines = " ".join(message.partition("==> Context")[0].split())
    what = f"the model that was made is not valid ONNX: {lines}"
    if node is None:
        return InvalidModelError(what)
    plugin = node.metadata_props.get("jax2onnx.plugin")
    return InvalidModelError(
        f"{node.op_type}: {what}",
        where=node.metadata_props.get("jax2onnx.source"),
        plugin=None if plugin is None else describe_plugin(plugin),
    )


def _node(message: str, model: ir.Model) -> ir.Node | None:
    """Return the innermost node that a message names, else the node that computes a value that it names."""
    named: dict[str, ir.Node] = {}
    makers: dict[str, ir.Node] = {}
    for node in _nodes(model):
        named[node.name or ""] = node
        for value in node.outputs:
            makers[value.name or ""] = node
    own, _, context = message.partition("==> Context")
    names = [*reversed(_NODES.findall(own)), *_NODES.findall(context)]
    for name in names:
        if name in named:
            return named[name]
    for name in _VALUES.findall(message):
        if name in makers:
            return makers[name]
    return None


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from every_node(model.graph)
    for function in model.functions.values():
        yield from every_node(function.graph)

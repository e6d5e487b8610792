"""Verify: a model that is not valid ONNX is an error that names the node, not a model.

onnx's own checker judges, bodies and functions too. Each input of a node is defined before, and each value once.
Operators, attributes and numbers of operands are those of the schemas, and each domain is imported. Dtypes and shapes
do not contradict each other. The checker gets the model without weights: it takes 8 ms for a thousand nodes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from jax2onnx.errors import InvalidModelError, UnsupportedCaseError, described_error
from jax2onnx.output.proto import without_weights
from jax2onnx.tidy.subgraphs import bodies, every_node

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

__all__ = ["Verifier"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """Judges models.

    Attributes:
        domains: the domains whose operators a runtime has.
        own: what emits the nodes that the user asks for by name, which may be of any domain.
        describe_plugin: returns a plugin's name with its version.
    """

    domains: Collection[str]
    own: str = ""
    describe_plugin: Callable[[str], str] = str

    def verified(self, model: ir.Model) -> onnx.ModelProto:
        """Check a model; return it without its weights.

        Raises:
            InvalidModelError: the model is not valid; the message names the node, the user's line and the plugin.
        """
        functions = {(function.domain, function.name) for function in model.functions.values()}
        for node in _nodes(model):
            if node.domain and node.domain not in self.domains:
                self._check_domain(node, functions)
            for value in node.inputs:
                if value is not None and value.name is None:
                    # onnx-ir does not write such a model.
                    raise self._invalid("an input is no value of the model", node)
        try:
            proto = without_weights(model)
        except ir.serde.SerdeError as error:
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            raise self._invalid(f"it cannot be written: {described_error(cause)}", None) from error
        try:
            onnx.checker.check_model(proto.SerializeToString(), full_check=True)
        except _ERRORS as error:
            _refuse_deep(model)
            message = str(error)
            raise self._invalid(message, _node(message, model)) from error
        return proto

    def _check_domain(self, node: ir.Node, functions: Collection[tuple[str, str]]) -> None:
        """Raise an error for a node of a domain that no runtime is known to have, and the user does not ask for."""
        is_own = node.metadata_props.get("jax2onnx.plugin") == self.own
        is_function = (node.domain, node.op_type) in functions
        if not is_own and not is_function:
            error = self._invalid(f"no runtime is known to have the domain {node.domain!r}", node)
            error.remedy = f"pass domains={{{node.domain!r}: 1}} if the runtime that loads the model has it"
            raise error

    def _invalid(self, message: str, node: ir.Node | None) -> InvalidModelError:
        lines = " ".join(message.partition("==> Context")[0].split())
        what = f"the model that was made is not valid ONNX: {lines}"
        if node is None:
            return InvalidModelError(what)
        plugin = node.metadata_props.get("jax2onnx.plugin")
        return InvalidModelError(
            f"{node.op_type}: {what}",
            where=node.metadata_props.get("jax2onnx.source"),
            plugin=None if plugin is None else self.describe_plugin(plugin),
            remedy=f"mend the call of {plugin} there" if plugin and plugin == self.own else None,
        )


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

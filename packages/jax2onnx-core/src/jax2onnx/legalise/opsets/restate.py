"""Restate: write the nodes of a model, which are those of one opset, as an older opset has them.

Rules, fusions and tidy emit the operators of one opset at least (``MIN_OPSET``). For an older opset each node is looked
up in the history of its operator, which onnx's schemas give: the versions between both opsets, from the newest to the
oldest.

1. A version that changed how a node is written has an entry in the table of ``forms.py``.
2. What a version added must not be used: an attribute goes if it is at its default, and is an error otherwise.
3. An operator that the opset does not have has an entry in the table of ``missing.py``, or is replaced by the function
   body that ONNX gives for it.
4. Anything else is an error that names the operator, the user's line and the opset that has it.

Dtypes are none of its business: legalising casts what a version of an operator does not take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx._printable import counted
from jax2onnx.errors import ConversionError, OpsetError
from jax2onnx.legalise.function_body import expansion
from jax2onnx.legalise.opsets.forms import REWRITES
from jax2onnx.legalise.opsets.history import changes, exists, form
from jax2onnx.legalise.opsets.missing import WITHOUT
from jax2onnx.legalise.opsets.site import Site, too_old
from jax2onnx.tidy.subgraphs import bodies

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.legalise.opsets.history import Form

__all__ = ["can_say", "restate"]

_OLDER = "jax2onnx.older"
"""What nodes have in their metadata that are written in the form of the older opset already."""


def can_say(op_type: str, written: int, opset: int, *, bodies: bool) -> bool:
    """Return whether nodes of an operator, as one opset has it, can be written for an older opset.

    Args:
        op_type: the operator.
        written: the opset in which nodes are emitted.
        opset: the older opset.
        bodies: whether the operator may be replaced by its function body.
    """
    if exists(op_type, opset) or op_type in WITHOUT:
        return exists(op_type, written)
    found = form(op_type, written)
    return bodies and found is not None and found.has_body


def restate(model: ir.Model, written: int, opset: int) -> None:
    """Write the nodes of a model for an older opset, in place; the model and its functions then import it.

    If it is called again, it only looks at nodes that are new.

    Raises:
        OpsetError: nodes cannot be said; one error for all of them.
    """
    refused: list[ConversionError] = []
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        _restate(graph, written, opset, refused)
        graph.opset_imports[""] = opset
    if refused:
        raise ConversionError.together(refused)


def _restate(graph: ir.Graph, written: int, opset: int, refused: list[ConversionError]) -> None:
    pending = [(node, written) for node in reversed(graph)]
    while pending:
        node, since = pending.pop()
        for body in bodies(node):
            _restate(body, written, opset, refused)
        if node.domain or _OLDER in node.meta:
            continue
        try:
            inserted, version = _rewritten(Site(graph, node, since, opset))
        except OpsetError as error:
            refused.append(error)
            continue
        if node not in inserted:
            node.meta[_OLDER] = True
        pending += [(new, version) for new in reversed(inserted)]


def _rewritten(site: Site) -> tuple[list[ir.Node], int]:
    """Write one node anew; return the nodes that were put in, which may need it too, and the opset they are of."""
    node, written, opset = site.node, site.written, site.opset
    op_type = node.op_type
    if not exists(op_type, opset):
        if op_type in WITHOUT:
            return WITHOUT[op_type](site) or [], written
        return _expanded(site)
    for newer in changes(op_type, opset, written):
        rewrite = REWRITES.get((op_type, newer.version))
        inserted = rewrite(site) if rewrite is not None else None
        if node.graph is None:
            return inserted or [], written
        older = form(op_type, newer.version - 1)
        assert older is not None
        _drop_additions(site, newer, older)
        if inserted:
            return [*inserted, node], written  # the node has its older form by now, which stays as it is
    return [], written


def _drop_additions(site: Site, newer: Form, older: Form) -> None:
    """Remove the attributes that a version added, if they are at their defaults.

    Raises:
        OpsetError: an attribute, an input or an output is used that the version before does not have.
    """
    node = site.node
    for name in [name for name in node.attributes if name not in older.defaults and name in newer.defaults]:
        default = newer.defaults[name]
        default = default.decode() if isinstance(default, bytes) else default
        if node.attributes[name].value != default:
            raise site.refused(f"{name}={node.attributes[name].value!r}", newer.version)
        node.attributes.pop(name)
    if older.inputs is not None and any(value is not None for value in node.inputs[older.inputs :]):
        raise site.refused(counted(len(node.inputs), "input"), newer.version)
    if older.outputs is not None and len(node.outputs) > older.outputs:
        raise site.refused(counted(len(node.outputs), "output"), newer.version)


def _expanded(site: Site) -> tuple[list[ir.Node], int]:
    """Put the function body of an operator in the place of a node."""
    node = site.node
    body = expansion(node, site.written)
    if body is None:
        raise too_old(node.op_type, site.opset, node=node)
    graph, version = body
    for formal, value in zip(graph.inputs, filter(None, node.inputs), strict=True):
        formal.replace_all_uses_with(value)
    outputs = list(graph.outputs)
    nodes = list(graph)
    graph.outputs.clear()
    graph.remove(nodes)
    for inner in nodes:
        inner.name = None
        for value in inner.outputs:
            value.name = None
    site.made += nodes
    return site.replace(*outputs), version

"""Dtypes of an opset: which ones its operators take, for a model that is made for no runtime."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from onnx import defs

from jax2onnx.errors import ConversionError
from jax2onnx.legalise.opsets.site import too_old
from jax2onnx.legalise.targets.target import Kernel, Target
from jax2onnx.tidy.subgraphs import every_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jax2onnx.errors import OpsetError

__all__ = ["require_dtypes", "specified"]


@functools.cache
def specified(opset: int) -> Target:
    """Return the target that executes each operator of an opset in the dtypes that ONNX allows."""
    kernels = {}
    for name in {schema.name for schema in defs.get_all_schemas() if not schema.domain}:
        found = _schema(name, opset)
        if found is not None:
            kernels["", name] = (Kernel(found.since_version, found.since_version, {}),)
    return Target("onnx", f"opset {opset} of ONNX", opset, kernels)


@functools.cache
def _schema(op_type: str, opset: int) -> Any:
    try:
        return defs.get_schema(op_type, opset)
    except defs.SchemaError:
        return None


def require_dtypes(model: ir.Model, opset: int) -> None:
    """Require that operators of ONNX's default domain have dtypes that they take at an opset.

    Raises:
        OpsetError: some do not, such as a loop that carries bfloat16; one error for all of them.
    """
    refused: list[ConversionError] = []
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        for node in every_node(graph):
            if not node.domain:
                refused += _refused(node, opset)
    if refused:
        raise ConversionError.together(refused)


def _refused(node: ir.Node, opset: int) -> list[OpsetError]:
    schema = _schema(node.op_type, opset)
    if schema is None:
        return [too_old(node.op_type, opset, node=node)]
    dtype = _foreign(node, schema)
    if dtype is None:
        return []
    newest = defs.onnx_opset_version()
    later = (_schema(node.op_type, newer) for newer in range(opset + 1, newest + 1))
    needs = next((found.since_version for found in later if _foreign(node, found) is None), None)
    return [too_old(node.op_type, opset, what=dtype.name.lower(), needs=needs, node=node)]


def _foreign(node: ir.Node, schema: Any) -> ir.DataType | None:
    """Return the first dtype of a node that its schema does not have there; None if there is none."""
    for values, formals in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        for value, formal in zip(values, _repeated(formals, len(values)), strict=False):
            if value is None or value.dtype is None or not isinstance(value.type, ir.TensorType):
                continue
            if f"tensor({value.dtype.name.lower()})" not in formal.types:
                return value.dtype
    return None


def _repeated(formals: Sequence[Any], count: int) -> Iterable[Any]:
    """Return a formal parameter for each of so many values; the last one may stand for several."""
    return list(formals) + list(formals[-1:]) * max(0, count - len(formals))

"""The model of the nodes that were emitted, between its inputs and outputs."""

from __future__ import annotations

import functools
from importlib.metadata import version
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from jax2onnx.errors import ConversionError
from jax2onnx.frontend.elsewhere import without_key
from jax2onnx.lowering.constants import stored_tensor
from jax2onnx.lowering.domains import known_to_onnx
from jax2onnx.output.names import rename_constants
from jax2onnx.output.stream import MOST_BYTES
from jax2onnx.tidy.subgraphs import stored_bytes

if TYPE_CHECKING:
    from jax2onnx.lowering.domains import Domains
    from jax2onnx.lowering.driver import Driver
    from jax2onnx.lowering.model_io import Border
    from jax2onnx.options import Options


def assemble(border: Border, driver: Driver, options: Options, name: str, *, is_whole: bool) -> ir.Model:
    """Return the model of the nodes that were emitted, between its inputs and outputs."""
    root, functions = driver.op.scope, driver.outliner.functions
    inputs = list(border.inputs)
    initializers: list[ir.Value] = []
    for value in (*border.params, *root.initializers):
        value.const_value = stored_tensor(value)  # from now on nobody looks at numbers without need
        if value.const_value is not None:
            initializers.append(value)
        elif value.uses():
            if is_whole:
                raise without_key(value.name or "")
            inputs.append(value)  # a graph to look at needs no weights
    rename_constants(border.params, root.initializers)
    graph = ir.Graph(
        inputs,
        border.results,
        nodes=root.nodes,
        initializers=initializers,
        opset_imports={domain: 1 for domain, _ in functions} | driver.op.domains.imports,
        name=options.name or name,
    )
    return ir.Model(
        graph,
        ir_version=_ir_version(driver.op.domains, functions=bool(functions)),
        producer_name=options.producer or "jax2onnx",
        producer_version="" if options.producer else _version(),
        model_version=int(options.model_version),
        doc_string=options.doc_string or None,
        metadata_props=dict(options.metadata or {}),
        functions=list(functions.values()),
    )


def _ir_version(domains: Domains, *, functions: bool) -> int:
    """Return the oldest version of the format that has the versions of ONNX's own domains, and functions."""
    known = known_to_onnx()
    imports = {**domains.imports, "": domains.opset}
    used = [onnx.helper.make_opsetid(*item) for item in imports.items() if item[0] in known]
    return max(onnx.helper.find_min_ir_version_for(used), _FUNCTIONS if functions else 0)


_FUNCTIONS = 8
"""The version of the format that brought functions."""


@functools.cache
def _version() -> str:
    return version("jax2onnx-core")


def require_one_message(model: ir.Model) -> None:
    """Raise ConversionError if the model is too large for one protobuf message."""
    size = 0
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            size += stored_bytes(value.const_value)
    if size > MOST_BYTES:
        raise ConversionError(
            f"the model holds {size / 2**30:.1f} GiB of weights, more than one protobuf message can",
            remedy="use save_onnx with another target than 'web', which writes weights beside the model",
        )

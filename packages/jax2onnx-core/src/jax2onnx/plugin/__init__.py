"""What a plugin author imports; nothing else of core is promised.

Importing this package imports neither jax nor onnx: each name loads its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax2onnx._compat import (
        InconclusiveDimensionOperation,
        bit_hashes,
        evaluate,
        is_symbolic,
        max_dim,
        open_jaxpr,
        own_definition,
        scan_counts,
        special_function,
    )
    from jax2onnx.legalise.targets import Target
    from jax2onnx.lowering.builder import ir_dtype
    from jax2onnx.lowering.driver import LoweringContext
    from jax2onnx.plugin.examples import Example
    from jax2onnx.plugin.functions import argument_names, marked_name, named, outlined
    from jax2onnx.plugin.fusions import Candidate, Decline, Fusion
    from jax2onnx.plugin.hookspecs import hookimpl
    from jax2onnx.plugin.lowerings import MIN_OPSET
    from jax2onnx.plugin.opening import Carried, Leaves, Opened, Opening, canonical, is_parameter, mode_warning, step
    from jax2onnx.plugin.registry import BoundExamples, BoundFusions, BoundLowerings
    from jax2onnx.program.dims import may_be_zero
    from jax2onnx.program.flatten import flatten
    from jax2onnx.program.scattering import one_by_one
    from jax2onnx.program.signed_zeros import may_be_minus_zero

__all__ = [
    "MIN_OPSET",
    "BoundExamples",
    "BoundFusions",
    "BoundLowerings",
    "Candidate",
    "Carried",
    "Decline",
    "Example",
    "Fusion",
    "InconclusiveDimensionOperation",
    "Leaves",
    "LoweringContext",
    "Opened",
    "Opening",
    "Target",
    "argument_names",
    "bit_hashes",
    "canonical",
    "evaluate",
    "flatten",
    "hookimpl",
    "ir_dtype",
    "is_parameter",
    "is_symbolic",
    "marked_name",
    "max_dim",
    "may_be_minus_zero",
    "may_be_zero",
    "mode_warning",
    "named",
    "one_by_one",
    "open_jaxpr",
    "outlined",
    "own_definition",
    "scan_counts",
    "special_function",
    "step",
]

_MODULES = (
    "plugin.hookspecs",
    "plugin.examples",
    "plugin.lowerings",
    "plugin.registry",
    "plugin.fusions",
    "plugin.opening",
    "plugin.functions",
    "_compat",
    "legalise.targets",
    "program.dims",
    "program.flatten",
    "program.scattering",
    "program.signed_zeros",
    "lowering.builder",
    "lowering.driver",
)
"""Where the names are, the modules that load fastest first."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = vars(importlib.import_module(f"jax2onnx.{module}"))
            if name in found:
                return globals().setdefault(name, found[name])
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)

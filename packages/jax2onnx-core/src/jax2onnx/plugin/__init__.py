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
    from jax2onnx.plugin.functions import marked_name, outline_class
    from jax2onnx.plugin.fusions import Candidate, Decline, Fusion
    from jax2onnx.plugin.hookspecs import hookimpl
    from jax2onnx.plugin.lowerings import MIN_OPSET
    from jax2onnx.plugin.naming import argument_names, key_name, name_arrays
    from jax2onnx.plugin.opening import Carried, Leaves, Opened, Opening, canonical, is_parameter, mode_warning
    from jax2onnx.plugin.operators import Operators
    from jax2onnx.plugin.registry import BoundExamples, BoundFusions, BoundLowerings
    from jax2onnx.program.dims import may_be_zero
    from jax2onnx.program.flatten import flatten
    from jax2onnx.program.scattering import one_by_one
    from jax2onnx.program.shapes import (
        has_zero,
        is_static,
        other_axes,
        permuted,
        to_channels_first,
        to_channels_last,
    )
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
    "Operators",
    "Target",
    "argument_names",
    "bit_hashes",
    "canonical",
    "evaluate",
    "flatten",
    "has_zero",
    "hookimpl",
    "ir_dtype",
    "is_parameter",
    "is_static",
    "is_symbolic",
    "key_name",
    "marked_name",
    "max_dim",
    "may_be_minus_zero",
    "may_be_zero",
    "mode_warning",
    "name_arrays",
    "one_by_one",
    "open_jaxpr",
    "other_axes",
    "outline_class",
    "own_definition",
    "permuted",
    "scan_counts",
    "special_function",
    "to_channels_first",
    "to_channels_last",
]

_MODULES = (
    "plugin.hookspecs",
    "plugin.examples",
    "plugin.lowerings",
    "plugin.registry",
    "plugin.operators",
    "plugin.fusions",
    "plugin.opening",
    "plugin.naming",
    "plugin.functions",
    "_compat",
    "legalise.targets",
    "program.dims",
    "program.flatten",
    "program.scattering",
    "program.shapes",
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

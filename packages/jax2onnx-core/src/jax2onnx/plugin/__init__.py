"""What a plugin author imports; nothing else of core is promised.

Importing this package imports neither jax nor onnx: each name loads its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax2onnx._compat import (
        InconclusiveDimensionOperation,
        bind_equation,
        bit_hashes,
        evaluate,
        expand_as_defined,
        expand_by,
        expand_hi_primitive,
        expand_run_state,
        interpreted_kernel,
        is_symbolic,
        is_transposed,
        key_implementation,
        max_dim,
        open_jaxpr,
        sample_gamma,
        scan_counts,
        special_function,
    )
    from jax2onnx.legalise.targets import Fault, Kernel, Span, Target, load_target, read_target
    from jax2onnx.plugin.composites import composite_name
    from jax2onnx.plugin.context import LoweringContext, ir_dtype
    from jax2onnx.plugin.examples import Example
    from jax2onnx.plugin.functions import is_outlined, outline_class
    from jax2onnx.plugin.fusions import Candidate, Decline, Fusion
    from jax2onnx.plugin.hookspecs import hookimpl
    from jax2onnx.plugin.lowerings import MIN_OPSET
    from jax2onnx.plugin.marks import marked_name
    from jax2onnx.plugin.naming import argument_names, key_name, name_arrays
    from jax2onnx.plugin.opening import (
        Carried,
        Leaves,
        Opened,
        Opening,
        canonical,
        is_array,
        is_parameter,
        mode_warning,
    )
    from jax2onnx.plugin.operators import Operators
    from jax2onnx.plugin.registry import BoundExamples, BoundFusions, BoundLowerings
    from jax2onnx.plugin.scopes import named_calls
    from jax2onnx.program.bounds import BOOLS, Range, at_most, fitting, joined, limits, lowered, raised, surely_within
    from jax2onnx.program.dims import may_be_zero
    from jax2onnx.program.facts import Facts, Need, Simplified, blind, telling
    from jax2onnx.program.program import Atom, Const, Eqn, Program
    from jax2onnx.program.ranges import KnownRanges, limits_of
    from jax2onnx.program.represent import Complex, is_complex
    from jax2onnx.program.shapes import (
        has_zero,
        is_static,
        other_axes,
        permuted,
        to_channels_first,
        to_channels_last,
    )
    from jax2onnx.weights.stored import Place, StoredArray

__all__ = [
    "BOOLS",
    "MIN_OPSET",
    "Atom",
    "BoundExamples",
    "BoundFusions",
    "BoundLowerings",
    "Candidate",
    "Carried",
    "Complex",
    "Const",
    "Decline",
    "Eqn",
    "Example",
    "Facts",
    "Fault",
    "Fusion",
    "InconclusiveDimensionOperation",
    "Kernel",
    "KnownRanges",
    "Leaves",
    "LoweringContext",
    "Need",
    "Opened",
    "Opening",
    "Operators",
    "Place",
    "Program",
    "Range",
    "Simplified",
    "Span",
    "StoredArray",
    "Target",
    "argument_names",
    "at_most",
    "bind_equation",
    "bit_hashes",
    "blind",
    "canonical",
    "composite_name",
    "evaluate",
    "expand_as_defined",
    "expand_by",
    "expand_hi_primitive",
    "expand_run_state",
    "fitting",
    "has_zero",
    "hookimpl",
    "interpreted_kernel",
    "ir_dtype",
    "is_array",
    "is_complex",
    "is_outlined",
    "is_parameter",
    "is_static",
    "is_symbolic",
    "is_transposed",
    "joined",
    "key_implementation",
    "key_name",
    "limits",
    "limits_of",
    "load_target",
    "lowered",
    "marked_name",
    "max_dim",
    "may_be_zero",
    "mode_warning",
    "name_arrays",
    "named_calls",
    "open_jaxpr",
    "other_axes",
    "outline_class",
    "permuted",
    "raised",
    "read_target",
    "sample_gamma",
    "scan_counts",
    "special_function",
    "surely_within",
    "telling",
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
    "plugin.composites",
    "plugin.opening",
    "plugin.naming",
    "plugin.scopes",
    "plugin.functions",
    "plugin.marks",
    "_compat",
    "legalise.targets",
    "program.bounds",
    "program.dims",
    "program.facts",
    "program.program",
    "program.ranges",
    "program.represent",
    "plugin.context",
    "program.shapes",
    "weights.stored",
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

"""Every primitive that has a rule is in a registered example, or it is said here why it is in none."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

import jax
import jax.experimental.sparse

from jax2onnx._compat import open_jaxpr
from jax2onnx.frontend.open import open_callable
from jax2onnx.frontend.specs import parse_inputs
from jax2onnx.plugin import loader as plugins
from jax2onnx.plugin.opening import Opening
from jax2onnx.testing import cases, x64
from jax2onnx_lax import effects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jax2onnx.testing import Case

PLUGIN = "lax"

REFUSED = {"ffi_call", "io_callback", "pure_callback", *effects._REFUSED, *effects._DEVICES}
"""Their rules raise an error."""

IN_NO_EXAMPLE = {
    "onnx_op": "core's own: an operator that the user names, which docs/operators.md shows",
    **dict.fromkeys(
        ("debug_callback", "debug_print", "inspect_sharding"),
        "left out of the model with a warning, which fails an example",
    ),
    **dict.fromkeys(("dce_sink", "tie", "xla_metadata_value"), "made by JAX's own passes; no public function has it"),
    **dict.fromkeys(
        ("dim_as_value", "dimension_size", "shape_assertion"),
        "only made of symbolic dimensions, as in dim_as_value_dynamic",
    ),
    "broadcast_to": "what only the references in a kernel have; jnp.broadcast_to is broadcast_in_dim",
    "empty2": "empty with a memory space, which no public function gives it",
    "geqp3": "what the rule of qr with pivoting is made of; its examples reach it there",
    "scaled_matmul": "what jax.nn.scaled_matmul is on a GPU; the wrapper around it is refused",
    **dict.fromkeys(
        ("iota_2x32_shape", "philox2x32", "philox4x32", "threefry2x32", "threefry4x32"),
        "what the rule of random_bits is made of; the examples of jax.random reach them there",
    ),
    **dict.fromkeys(
        (
            "all_gather_invariant",
            "all_gather_reduced",
            "pbroadcast",
            "preduced",
            "psum_invariant",
            "reduced_vary_cast_p",
            "unreduced_pmax",
            "unreduced_pmin",
            "unreduced_psum",
            "unreduced_reduce_scatter",
            "vary_unreduced_cast",
            "vary_unreduced_cast_p",
        ),
        "a form that shard_map gives to a collective of which the plain one has an example; they share one rule",
    ),
}
"""Primitive -> why no registered example has it."""


def _names(jaxpr: Any) -> Iterator[str]:
    for eqn in open_jaxpr(jaxpr)[0].eqns:
        yield eqn.primitive.name
        for value in eqn.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                if hasattr(part, "eqns"):
                    yield from _names(part)


def _traced(case: Case) -> set[str]:
    example = case.example
    with x64(enabled=example.x64):
        opened = open_callable(example.make(), plugins.load().hook, Opening())
        inputs = parse_inputs(opened.signature or opened.function, case.inputs)
        leaves = [s.aval for s in inputs.specs]
        traced = jax.make_jaxpr(lambda *a: inputs.call(lambda *b, **k: opened.function(opened.params, *b, **k), a))
        return set(_names(traced(*leaves)))


def test_every_rule_is_in_an_example() -> None:
    rules = {e.primitive for e in plugins.load().registry().lowerings}
    mlir: Any = importlib.import_module("jax._src.interpreters.mlir")
    lowered = {p.name for table in (mlir._lowerings, *mlir._platform_specific_lowerings.values()) for p in table}
    wanted = (rules & lowered) - REFUSED - IN_NO_EXAMPLE.keys()
    assert len(wanted) > 150
    reached: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is traced, not of what is tested
        for case in cases(PLUGIN):
            if case.fusions and not case.dynamic and not case.example.options and wanted - reached:
                reached |= _traced(case)
    assert wanted - reached == set()

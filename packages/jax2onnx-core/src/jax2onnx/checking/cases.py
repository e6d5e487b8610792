"""Cases: the ways in which a registered example is run."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import onnx
from packaging.specifiers import SpecifierSet

from jax2onnx.api import to_onnx
from jax2onnx.checking.check import check
from jax2onnx.plugin.loader import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jax2onnx.plugin.examples import Example

STATIC_SIZE = 3
"""The size that a symbolic dim takes in the static variant of an example."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to run an example: with its symbolic dims kept or made static, with or without fusions."""

    example: Example
    dynamic: bool
    fusions: bool

    @property
    def name(self) -> str:
        """The name of the case: that of the example, with ``_dynamic`` where dims stay symbolic."""
        return f"{self.example.name}_dynamic" if self.dynamic else self.example.name

    @property
    def inputs(self) -> list[Any]:
        """The input specs."""
        return list(self.example.inputs) if self.dynamic else static(self.example.inputs)

    def __str__(self) -> str:
        return f"{self.example.context}.{self.name}" + ("" if self.fusions else "-plain")


def cases(*plugins: str, contexts: Sequence[str] = ()) -> list[Case]:
    """Return the cases of the examples registered by ``plugins`` (default: all), for the installed jax."""
    found = []
    for example in load().examples():
        if plugins and example.plugin not in plugins:
            continue
        if contexts and example.context not in contexts:
            continue
        if not SpecifierSet(example.requires_jax).contains(jax.__version__, prereleases=True):
            continue
        symbolic = static(example.inputs) != list(example.inputs)
        found += [Case(example, d, f) for d in ((False, True) if symbolic else (False,)) for f in (True, False)]
    return found


def static(inputs: Sequence[Any]) -> list[Any]:
    """Replace the symbolic dims of input specs by :data:`STATIC_SIZE`."""
    return [_static(spec) for spec in inputs]


def _static(spec: Any) -> Any:
    if type(spec) is tuple:
        return tuple(STATIC_SIZE if isinstance(d, str) and d.isidentifier() else _static(d) for d in spec)
    if isinstance(spec, str):
        return re.sub(r"(?<=[\[,])\s*[A-Za-z_]\w*\s*(?=[\],])", str(STATIC_SIZE), spec)
    if isinstance(spec, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(_static(spec.shape), spec.dtype, weak_type=spec.weak_type)
    if isinstance(spec, dict):
        return {k: _static(v) for k, v in spec.items()}
    if isinstance(spec, list):
        return [_static(v) for v in spec]
    return spec


def run(case: Case) -> onnx.ModelProto:
    """Export a case, check the model with onnx's full checker and compare it with JAX in onnxruntime.

    A case without fusions whose export is, byte for byte, the one with fusions is not compared again.

    Raises:
        CheckError: the model disagrees with JAX.
        AssertionError: an operator that the example promises is missing.
    """
    example = case.example
    with x64(enabled=example.x64):
        fn = example.make()
        inputs = case.inputs
        model = to_onnx(fn, inputs, fusions=case.fusions, **example.options)
        if case.fusions:
            _LATEST[:] = [(case, model)]
        elif model == _with_fusions(case, fn):
            return model
        onnx.checker.check_model(model, full_check=True)
        if example.values is not None and not (case.dynamic and example.draw):
            check(model, fn, inputs, values=example.values(), rtol=example.rtol, atol=example.atol)
        if example.draw:
            check(model, fn, inputs, rtol=example.rtol, atol=example.atol)
    if case.fusions and example.operators is not None and not case.dynamic:
        found = operators(model)
        missing = {op: (n, found.get(op, 0)) for op, n in example.operators.items() if found.get(op, 0) != n}
        assert not missing, f"{case}: operator -> (promised, found): {missing}; the model has {found}"
    return model


_LATEST: list[tuple[Case, onnx.ModelProto]] = []
"""The case with fusions that ran last, and its export: the case without them comes next."""


def _with_fusions(case: Case, fn: Any) -> onnx.ModelProto:
    for found, model in _LATEST:
        if found.example is case.example and found.dynamic == case.dynamic:
            return model
    return to_onnx(fn, case.inputs, **case.example.options)


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """Count the operators of a model, those in subgraphs included."""
    counts: dict[str, int] = {}

    def visit(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    visit(attribute.g)

    visit(model.graph)
    return counts


@contextlib.contextmanager
def x64(*, enabled: bool) -> Iterator[None]:
    """Run with 64-bit types switched on or off, and put back what was before."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", enabled)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)

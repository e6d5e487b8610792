"""Cases: the ways in which a registered example is run."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import onnx
from packaging.specifiers import SpecifierSet

from jax2onnx.api import to_onnx
from jax2onnx.checking.check import check
from jax2onnx.options import SharedOptions
from jax2onnx.plugin.loader import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from jax2onnx.plugin.examples import Example

__all__ = ["STATIC_SIZE", "Case", "cases", "operators", "run", "static", "x64"]

STATIC_SIZE = 3
"""The size that a symbolic dim takes in the static variant of an example."""

_SYMBOL_IN_TEXT = re.compile(r"(?<=[\[,])\s*[A-Za-z_]\w*\s*(?=[\],])")
"""A dim of a spec such as ``float32[B,2]`` that is a symbol."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to run an example: with its symbolic dims kept or made static, with or without fusions."""

    example: Example
    dynamic: bool
    fusions: bool

    @property
    def name(self) -> str:
        """The name of the case: that of the example, with ``_dynamic`` where dims stay symbolic."""
        return self.example.name + ("_dynamic" if self.dynamic else "")

    @property
    def inputs(self) -> list[Any]:
        """The input specs."""
        inputs = self.example.inputs
        return list(inputs) if self.dynamic else static(inputs)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the export; static dims have no constraints."""
        options: dict[str, Any] = dict(self.example.options)
        if not self.dynamic:
            options.pop("constraints", None)
        return options

    @property
    def shared(self) -> dict[str, Any]:
        """The options that a comparison shares with the export."""
        return {name: value for name, value in self.options.items() if name in SharedOptions.__annotations__}

    def __str__(self) -> str:
        text = f"{self.example.context}.{self.name}"
        return text if self.fusions else f"{text}-plain"


def cases(*plugins: str, contexts: Sequence[str] = ()) -> list[Case]:
    """Return the cases of the examples registered by ``plugins`` (default: all), for the installed jax."""
    found: list[Case] = []
    for example in load().examples():
        if plugins and example.plugin not in plugins:
            continue
        if contexts and example.context not in contexts:
            continue
        supported = SpecifierSet(example.requires_jax)
        if not supported.contains(jax.__version__, prereleases=True):
            continue
        variants = [False]
        if static(example.inputs) != list(example.inputs):
            variants.append(True)
        for dynamic in variants:
            found.append(Case(example, dynamic, fusions=True))
            found.append(Case(example, dynamic, fusions=False))
    return found


def static(inputs: Sequence[Any]) -> list[Any]:
    """Replace the symbolic dims of input specs by :data:`STATIC_SIZE`."""
    return list(map(_static, inputs))


def _static(spec: Any) -> Any:
    if isinstance(spec, str):
        return _SYMBOL_IN_TEXT.sub(str(STATIC_SIZE), spec)
    if isinstance(spec, jax.ShapeDtypeStruct):
        return spec.update(shape=_static(spec.shape))
    if isinstance(spec, dict):
        return dict(zip(spec, map(_static, spec.values()), strict=True))
    if isinstance(spec, list):
        return static(spec)
    if type(spec) is tuple:
        return tuple(map(_static_entry, spec))
    return spec


def _static_entry(entry: Any) -> Any:
    """Make a dim static, or the spec that a tuple of specs holds."""
    if isinstance(entry, str) and entry.isidentifier():
        return STATIC_SIZE
    return _static(entry)


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
        model: onnx.ModelProto = to_onnx(fn, inputs, fusions=case.fusions, **case.options)
        if case.fusions:
            _LATEST[:] = [(case, model)]
        elif model == _with_fusions(case, fn):
            return model
        onnx.checker.check_model(model, full_check=True)
        rounds: list[Sequence[Any] | None] = []
        if example.values is not None and not (case.dynamic and example.draw):
            rounds.append(example.values())
        if example.draw:
            rounds.append(None)
        for values in rounds:
            check(model, fn, inputs, values=values, rtol=example.rtol, atol=example.atol, **case.shared)
    if case.fusions and not case.dynamic:
        _require_operators(case, model)
    return model


_LATEST: list[tuple[Case, onnx.ModelProto]] = []
"""The case with fusions that ran last, and its export: the case without fusions usually comes next."""


def _with_fusions(case: Case, fn: Any) -> onnx.ModelProto:
    for latest, model in _LATEST:
        if latest.example is case.example and latest.dynamic == case.dynamic:
            return model
    model = to_onnx(fn, case.inputs, **case.options)
    assert isinstance(model, onnx.ModelProto)
    return model


def _require_operators(case: Case, model: onnx.ModelProto) -> None:
    promised = case.example.operators or {}
    found = operators(model)
    missing = {op: (count, found[op]) for op, count in promised.items() if found[op] != count}
    assert not missing, f"{case}: operator -> (promised, found): {missing}; the model has {dict(found)}"


def operators(model: onnx.ModelProto) -> Counter[str]:
    """Count the operators of a model, those in subgraphs included."""
    return Counter(node.op_type for node in _nodes(model.graph))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def x64(*, enabled: bool) -> AbstractContextManager[None]:
    """Run with 64-bit types switched on or off, and restore the setting afterwards."""
    context: AbstractContextManager[None] = jax.enable_x64(enabled)
    return context

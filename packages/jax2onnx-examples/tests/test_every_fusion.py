"""Every registered fusion, at every opset that it has an emit rule for, agrees with the plain primitives and with JAX.

The program of a case is the fusion's own reference at one of its examples, exported with that fusion alone, and once
without any. Both models run in onnxruntime on the same ordinary, large and special inputs.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import equinox  # noqa: F401 - its fusions are looked for once it is imported
import jax
import numpy as np
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.errors import OpsetError
from jax2onnx.plugin.loader import load
from jax2onnx.plugin.lowerings import MIN_OPSET
from jax2onnx.plugin.registry import Named
from jax2onnx.testing import RUNTIME_ERRORS, Runner, x64

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jax2onnx.fusion.report import FusionReport
    from jax2onnx.plugin.fusions import Fusion

SCALAR = np.float32(0.25)
"""What scalars are bound to: epsilons, slopes and scales, which emit rules want as constants."""

DECLINED = {
    "jax.nn.silu": "the target has no Swish in float32",
    "rotary embedding (halves that are turned)": "the angles of the second half may differ from those of the first",
}
"""The fusions that decline at their own examples where onnxruntime is the target, with the reason that they give."""


@functools.cache
def newest() -> int:
    """Return the newest opset that the installed onnxruntime runs."""
    opset = MIN_OPSET
    while runs(opset + 1):
        opset += 1
    return opset


def runs(opset: int) -> bool:
    try:
        Runner(to_onnx(jax.numpy.sin, [(1,)], opset=opset))
    except (OpsetError, *RUNTIME_ERRORS):
        return False
    return True


def opsets(fusion: Fusion) -> list[int]:
    """Return where a fusion's emit rules begin, and the newest opset: 18 first, if it can be asked for."""
    return sorted({*fusion.emit, newest()})


class Case:
    """A fusion's reference at one example with one configuration, as a function of its arrays."""

    def __init__(self, fusion: Fusion, example: int, kwargs: Mapping[str, Any]) -> None:
        self.fusion = fusion
        self.example = fusion.examples[example]
        self.specs = [_spec(entry) for entry in self.example if entry != ()]
        self.kwargs = kwargs
        told = "".join(f", {name}={value}" for name, value in kwargs.items())
        self._name = f"{fusion.name}-{example}{told}"

    def __str__(self) -> str:
        return self._name

    def __call__(self, *arrays: Any) -> Any:
        rest = iter(arrays)
        full = [SCALAR if entry == () else next(rest) for entry in self.example]
        return self.fusion.reference(*full, **self.kwargs)


def _spec(entry: Any) -> Any:
    return jax.ShapeDtypeStruct(entry, np.dtype(np.float32)) if isinstance(entry, tuple) else entry


def cases() -> list[Case]:
    found = []
    for fusion in load().registry().fusions:
        configurations: Sequence[Mapping[str, Any]] = [{}] if callable(fusion.kwargs) else fusion.kwargs
        found += [Case(fusion, i, kwargs) for i in range(len(fusion.examples)) for kwargs in configurations]
    return found


def only(fusion: Fusion) -> Named[Fusion]:
    fusions: Named[Fusion] = Named("fusion", lambda f: f.name)
    fusions.add(fusion)
    return fusions


def is_dynamic(case: Case) -> bool:
    return not all(isinstance(size, int) for spec in case.specs for size in spec.shape)


def judge(case: Case, opset: int, reports: Sequence[FusionReport]) -> None:
    """Fail unless the function was found, or declined for the reason that it has on its own."""
    (report,) = reports
    reason = DECLINED.get(case.fusion.name)
    if reason is None:
        assert report.found, f"opset {opset}: {report}"
    else:
        assert [m.reason for m in report.missed] == [f"declined: {reason}"], f"opset {opset}: {report}"


def has_64_bits(case: Case) -> bool:
    """Return whether the example has an input that JAX takes with 64-bit types only."""
    return any(spec.dtype.itemsize == 8 for spec in case.specs)


@pytest.mark.parametrize("case", [case for case in cases() if is_dynamic(case)], ids=str)
def test_fusion_of_dynamic_sizes(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load().registry(), "fusions", only(case.fusion))
    for opset in opsets(case.fusion):
        reports: list[FusionReport] = []
        model = to_onnx(case, case.specs, opset=opset, explain=reports.append)
        judge(case, opset, reports)
        # The reference of resize scales symbolic dims only: test_resize.py compares its numbers.
        if not case.fusion.name.startswith("jax.image.resize"):
            check(model, case, case.specs, sizes=[1, 4])


@pytest.mark.parametrize("case", [case for case in cases() if not is_dynamic(case)], ids=str)
def test_fusion(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load().registry(), "fusions", only(case.fusion))
    # Compiled as a whole: one at a time, a test would spend its time on compiling JAX's operations.
    function = jax.jit(case)
    with x64(enabled=has_64_bits(case)):
        check(to_onnx(case, case.specs, opset=newest(), fusions=False), function, case.specs)
        for opset in opsets(case.fusion):
            reports: list[FusionReport] = []
            model = to_onnx(case, case.specs, opset=opset, explain=reports.append)
            judge(case, opset, reports)
            check(model, function, case.specs)


# The reference at its first example, but for those that JAX itself takes in float32 only: their carry changes dtype.
FIRST = [case for case in cases() if str(case).startswith(f"{case.fusion.name}-0") and "SimpleCell" not in str(case)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", FIRST, ids=str)
def test_half_precision(case: Case, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load().registry(), "fusions", only(case.fusion))
    specs = [_half(spec, dtype) for spec in case.specs]
    expected = jax.tree_util.tree_leaves(jax.eval_shape(case, *specs))
    runner = Runner(to_onnx(case, specs))
    results = runner.run([np.full(_sizes(spec), 0.5, spec.dtype) for spec in specs])
    assert [r.dtype for r in results] == [e.dtype for e in expected]
    assert is_dynamic(case) or [r.shape for r in results] == [e.shape for e in expected]


def _sizes(spec: Any) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else 3 for size in spec.shape)


def _half(spec: Any, dtype: str) -> Any:
    floating = jax.numpy.issubdtype(spec.dtype, jax.numpy.floating)
    return jax.ShapeDtypeStruct(spec.shape, jax.numpy.dtype(dtype) if floating else spec.dtype)


def test_what_is_said_to_decline_is_registered() -> None:
    assert DECLINED.keys() <= {fusion.name for fusion in load().registry().fusions}

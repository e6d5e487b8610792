"""Where there is not enough memory, the error says so, and the process stays usable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError

from jax2onnx import allclose, check, diagnose, save_onnx, to_onnx
from jax2onnx.errors import OutOfMemoryError
from jax2onnx.inspect.summary import summarise

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = np.ones((1024, 512), np.float32)


def fails(*_: object, **__: object) -> None:
    raise MemoryError("Unable to allocate 64.0 MiB")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (np, "multiply"),  # in the user's program
        ("jax2onnx.fusion.fuse", "live"),
        ("jax2onnx.program.flatten", "border_variables"),
        ("jax2onnx.output.verify", "without_weights"),
        ("jax2onnx.output.proto", "_require_memory"),
    ],
)
def test_whoever_meets_the_lack_of_memory(owner: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(x: object) -> object:
        return x @ np.multiply(WEIGHTS, 2)

    if isinstance(owner, str):
        monkeypatch.setattr(f"{owner}.{name}", fails)
    else:
        monkeypatch.setattr(owner, name, fails)
    with pytest.raises(OutOfMemoryError, match="not enough memory: Unable to allocate"):
        to_onnx(program, [("B", 1024)])
    monkeypatch.undo()
    to_onnx(program, [("B", 1024)])


@pytest.mark.parametrize("function", [check, allclose, diagnose])
@pytest.mark.parametrize(
    "owner",
    [
        "jax2onnx.checking.runtime.Runner.__init__",
        "jax2onnx.checking.comparison.draw",
        "jax2onnx.checking.reference.Reference.evaluate",
    ],
)
def test_a_comparison_without_memory(function: Any, owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(x: object) -> object:
        return x @ WEIGHTS

    model = to_onnx(program, [("B", 1024)])
    monkeypatch.setattr(owner, fails)
    with pytest.raises(OutOfMemoryError, match="not enough memory"):
        function(model, program, [("B", 1024)])


@pytest.mark.parametrize("error", [MemoryError(), DecodeError("Error parsing message: Arena alloc failed")])
def test_a_model_that_is_larger_than_the_memory(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise error

    save_onnx(jnp.negative, [(3,)], tmp_path / "m.onnx")
    monkeypatch.setattr(onnx, "load", load)
    with pytest.raises(OutOfMemoryError, match=r"m\.onnx' cannot be read"):
        summarise(tmp_path / "m.onnx")

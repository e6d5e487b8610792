"""Where there is not enough memory, the error says so, and the process stays usable."""

from __future__ import annotations

import numpy as np
import pytest

from jax2onnx import to_onnx
from jax2onnx.errors import OutOfMemoryError

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

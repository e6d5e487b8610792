"""Small models that tests save, and what they find in a folder then."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from faulty_saves import model_of

from jax2onnx.checking.runtime import Runner


def add_model(count: int, fill: float = 1.0) -> ir.Model:
    """Return ``y = x + w`` with ``count`` float32 weights that all are ``fill``."""
    return model_of(fill, count)


def result(path: Path, count: int) -> float:
    """Return the fill of a model's weights, all of which must have it; the model must be valid."""
    onnx.checker.check_model(path, full_check=True)
    (y,) = Runner(path).run([np.zeros(count, np.float32)])
    assert (y == y[0]).all()
    return float(y[0])


def names(folder: Path) -> list[str]:
    """Return the names of what is in a folder."""
    return sorted(p.name for p in folder.iterdir())

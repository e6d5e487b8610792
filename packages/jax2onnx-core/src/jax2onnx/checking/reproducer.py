"""Reproducer: a script, a model and arrays that show one difference, and need neither JAX nor the program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from jax2onnx.output.destination import explain_errors
from jax2onnx.output.text_file import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from jax2onnx.checking.finding import Finding
    from jax2onnx.checking.walk import Suspect

__all__ = ["write_reproducer"]

_SCRIPT = '''"""A part of a model whose result differs from that of JAX, which is stored beside it.

Found at fault: {culprit}. The equation is {equation}.
"""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

here = Path(__file__).parent
model = onnx.load(here / "piece.onnx")
with np.load(here / "values.npz") as arrays:
    stored = dict(arrays)
dtypes = {dtypes!r}


def array(name):
    held = stored[name]
    return held.view(getattr(ml_dtypes, dtypes[name])) if name in dtypes else held


feeds = {{value.name: array(f"input_{{number}}") for number, value in enumerate(model.graph.input)}}
expected = array("expected")
print("JAX:", expected.ravel()[:8])


def show(name, run):
    try:
        result = np.asarray(run()[0])
    except Exception as error:
        print(f"{{name}}: {{type(error).__name__}}: {{error}}")
        return
    if result.shape != expected.shape:
        print(f"{{name}}: shape {{result.shape}}, JAX has {{expected.shape}}")
        return
    difference = np.abs(result.astype(np.float64) - expected.astype(np.float64))
    print(f"{{name}}: {{result.ravel()[:8]}}, largest difference {{np.nanmax(difference, initial=0.0):.3g}}")


def session(level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return run.run(None, feeds)


levels = onnxruntime.GraphOptimizationLevel
show("onnxruntime", lambda: session(levels.ORT_ENABLE_ALL))
show("onnxruntime without optimisation", lambda: session(levels.ORT_DISABLE_ALL))
show("reference evaluator", lambda: ReferenceEvaluator(model).run(None, feeds))
'''


def write_reproducer(folder: Path, suspect: Suspect, finding: Finding) -> Path:
    """Write a script that shows a difference; return it.

    Raises:
        SaveError: a file cannot be written.
    """
    with explain_errors(folder, "reproducer"):
        return _write(folder, suspect, finding)


def _write(folder: Path, suspect: Suspect, finding: Finding) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(suspect.piece.model, folder / "piece.onnx")
    arrays = {f"input_{number}": suspect.feeds[name] for number, name in enumerate(suspect.piece.inputs)}
    arrays["expected"] = suspect.expected
    dtypes = {name: str(array.dtype) for name, array in arrays.items() if array.dtype.isbuiltin != 1}
    stored = {name: array.view(f"u{array.itemsize}") if name in dtypes else array for name, array in arrays.items()}
    np.savez(folder / "values.npz", **stored)  # type: ignore[arg-type]
    script = folder / "reproduce.py"
    text = _SCRIPT.format(culprit=finding.culprit, equation=suspect.eqn.primitive, dtypes=dtypes)
    write_text(text, script, "script")
    return script

"""Make calls that are written as text: Python expressions and command lines, in a folder of their own."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shlex
import shutil
import sys
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hostile_programs
import jax
import jax.numpy as jnp
import models_of_users
import numpy as np

import jax2onnx
from jax2onnx.cli import main as cli
from jax2onnx.errors import Jax2OnnxError

COMMAND = "jax2onnx "
_INTERNAL = "an internal step failed"
_FOREIGN = re.compile(r"^error: \w*(Error|Exception|Warning): ", re.MULTILINE)
"""How the command line tells an exception that is none of ours."""
_MODULES = {
    "broken.py": "import does_not_exist\n",
    "exits.py": "raise SystemExit(0)\n",
    "raises.py": "raise BaseException('oh')\n",
    "interrupts.py": "raise InterruptedError('oh')\n",
    "syntax.py": "def f(:\n",
    "nul.py": "f = '\0'\n",
    "entries.py": "from models import double\n\nENTRIES = {'one': (double, [('B',)])}\n",
    "lazy.py": "def __getattr__(name):\n    raise ValueError(name)\n",
}
"""Modules that cannot be imported, or that give nothing; and one with entries."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended.

    Attributes:
        error: the class of the error: that of an exception, or of a command line ``exit 1`` or ``exit 2``; empty for
            success.
        message: what it said.
        is_raw: whether an exception is not ours, or blames us, or a command printed a traceback.
    """

    error: str
    message: str
    is_raw: bool


def prepare(folder: Path) -> dict[str, Any]:
    """Write the files that the calls name into a folder; return the names that Python calls have."""
    shutil.copy(models_of_users.__file__, folder / "models.py")
    for name, text in _MODULES.items():
        (folder / name).write_text(text)
    (folder / "loop.onnx").symlink_to("loop.onnx")
    np.save(folder / "pickled.npy", np.array([None]), allow_pickle=True)
    np.savez(folder / "right.npz", x=np.ones(3, "float32"))
    np.savez(folder / "wrong.npz", y=np.ones(3, "float32"))
    (folder / "ragged.json").write_text('{"x": [[1], [1, 2]]}')
    os.mkfifo(folder / "fifo.npz")
    os.mkfifo(folder / "fifo.json")
    jax2onnx.save_onnx(models_of_users.double, [(3,)], folder / "double.onnx")
    model = jax2onnx.to_onnx(models_of_users.double, [(3,)])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -3
    (folder / "negative.onnx").write_bytes(model.SerializeToString())
    del model.opset_import[:]
    (folder / "no_opset.onnx").write_bytes(model.SerializeToString())
    return {
        "m": models_of_users,
        "h": hostile_programs,
        "jax": jax,
        "jnp": jnp,
        "np": np,
        "functools": functools,
        "to_onnx": jax2onnx.to_onnx,
        "save_onnx": jax2onnx.save_onnx,
        "show": jax2onnx.show,
        "check": jax2onnx.check,
        "allclose": jax2onnx.allclose,
        "diagnose": jax2onnx.diagnose,
        "onnx_function": jax2onnx.onnx_function,
        "onnx_op": jax2onnx.onnx_op,
        "double_onnx": jax2onnx.to_onnx(models_of_users.double, [(3,)]),
        "add_onnx": jax2onnx.to_onnx(models_of_users.add, [(3,), (3,)]),
        "batch_onnx": jax2onnx.to_onnx(models_of_users.double, [("B",)]),
    }


def forget_modules(folder: Path) -> None:
    """Remove the modules of a folder from those that are loaded, so that other folders may have such of their names."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and folder in Path(file).parents:
            del sys.modules[name]


def run(text: str, names: dict[str, Any]) -> Outcome:
    """Make a call and return how it ended; warnings are not looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _command(text) if text.startswith(COMMAND) else _expression(text, names)


def _expression(text: str, names: dict[str, Any]) -> Outcome:
    try:
        eval(text, names)
    except Exception as error:  # noqa: BLE001 - whatever it raises is what is looked at
        is_raw = not isinstance(error, Jax2OnnxError)
        message = "".join(traceback.format_exception(error)) if is_raw else str(error)
        is_raw |= _INTERNAL in message
        return Outcome(type(error).__name__, message, is_raw)
    return Outcome("", "", is_raw=False)


def _command(text: str) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    path = list(sys.path)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main(shlex.split(text)[1:])
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.path[:] = path
    message = err.getvalue()
    is_raw = "Traceback" in message or _INTERNAL in message or _FOREIGN.search(message) is not None
    return Outcome(f"exit {code}" if code else "", message, is_raw=is_raw)

"""A program goes through the stages of an export in a line: no stage begins again after a later one has begun."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp

import jax2onnx

CORE = Path(jax2onnx.__file__).parent

STAGES = {
    "frontend/trace.py": "trace",
    "program/flatten.py": "flatten",
    "fusion/fuse.py": "fuse",
    "program/prune_calls.py": "prune",
    "program/fold_constants.py": "fold",
    "program/signed_zeros.py": "mark_signs",
    "lowering/driver.py": "run",
    "tidy/tidy.py": "tidy",
    "legalise/legalise.py": "legalise",
    "output/names.py": "unique_names",
}
"""The module of each stage, in order, and its function that does the stage's work on a program or model."""


def recurrent(x):
    def step(carry, row):
        return jnp.tanh(carry + row), jax.nn.gelu(carry).sum()

    return jax.lax.scan(step, x[0], x)


def stages_entered(fn, inputs):
    """Return the stages in the order in which an export calls their functions, without repetitions in a row."""
    by_code = {(str(CORE / module), function): module for module, function in STAGES.items()}
    entered = []

    def note(frame, event, _argument):
        if event == "call":
            stage = by_code.get((frame.f_code.co_filename, frame.f_code.co_name))
            if stage is not None and (not entered or entered[-1] != stage):
                entered.append(stage)

    sys.setprofile(note)
    try:
        jax2onnx.to_onnx(fn, inputs)
    finally:
        sys.setprofile(None)
    return entered


def test_each_stage_is_entered_once_and_in_order():
    # What is traced and cached for the life of the process is traced by the first export.
    jax2onnx.to_onnx(recurrent, [("B", 3)])
    assert stages_entered(recurrent, [("B", 3)]) == list(STAGES)


def test_what_a_rule_expresses_in_jax_goes_through_the_same_stages():
    def fn(x):
        return jax.scipy.special.erfinv(x)

    jax2onnx.to_onnx(fn, [(3,)])
    entered = stages_entered(fn, [(3,)])
    inner = entered[entered.index("lowering/driver.py") + 1 :]
    assert inner[:2] == ["program/flatten.py", "fusion/fuse.py"]

"""benchmarks/hand_written: models of programs of many small steps compute what JAX does, on their inputs and others."""

import importlib
from pathlib import Path

import jax
import numpy as np
import onnxruntime as ort
import pytest

FOLDER = Path(__file__).parents[3] / "benchmarks"
OWN = (
    "neuron", "kalman_filter", "hmc", "physics", "sinkhorn", "tree_search", "lstm", "particle_filter",
    "random_walk", "beam_search", "viterbi", "pendulum", "grid_world",
)  # fmt: skip
"""Those of programs of ours; steps.py compares those of packages, which are not installed here."""


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("hand_written"), importlib.import_module("step_programs")


def _others(inputs, rng):
    """Return other inputs: numbers, or keys, or the same integers in another order."""
    for x in inputs:
        if x.dtype == np.float32:
            yield rng.normal(size=x.shape).astype(x.dtype)
        elif x.dtype == np.uint32:
            yield rng.integers(0, 2**32, x.shape, x.dtype)
        else:
            yield rng.permutation(x.ravel()).reshape(x.shape)


@pytest.mark.parametrize("name", OWN)
def test_agrees_with_jax(name, modules):
    hand_written, programs = modules
    function, inputs = programs.PROGRAMS[name]()
    compiled = jax.jit(function)
    session = ort.InferenceSession(hand_written.MODELS[name](), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for arrays in (inputs, *(tuple(_others(inputs, rng)) for _ in range(4))):
        expected = jax.tree.leaves(compiled(*arrays))
        results = session.run(None, hand_written.feeds_of(arrays))
        for one, other in zip(results, expected, strict=True):
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


def test_all_own_programs_are_tested(modules):
    hand_written, programs = modules
    assert set(OWN) == set(hand_written.MODELS) & set(programs.PROGRAMS)


def test_backing_up_stops_before_the_root(modules):
    """A value is backed up over five nodes: where a tree is deep, the root is visited less often."""
    hand_written, programs = modules
    function, inputs = programs.PROGRAMS["tree_search"]()
    values = np.linspace(3, 4, inputs[1].size, dtype=np.float32)
    expected = jax.jit(function)(inputs[0], values)
    assert expected[2][0] < 16
    session = ort.InferenceSession(hand_written.MODELS["tree_search"](), providers=["CPUExecutionProvider"])
    results = session.run(None, hand_written.feeds_of([inputs[0], values]))
    for one, other in zip(results, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_page_compares_with_an_earlier_tree(modules):
    page = importlib.import_module("steps_page")
    known = {"equations": 3, "executed": 9, "nodes": 4, "nodes/eqns": 0.4, "floor": 2.0, "empty, us": 0.2}
    times = {"ort, us": 30.0, "jit, us": 2.0, "ratio": 15.0, "baseline": 0.5, "difference": 1e-7}
    hand = {"hand nodes": 2, "hand, us": 6.0, "hand difference": 1e-7}
    found = {"far": {**known, **times, **hand}, "near": {**known, **times, "ratio": 1.0}}
    lines = list(page.render(found, "", is_one_run=True))
    assert "| far | 4 | 2 | 30 | 6 | 5.0 | 3.0 | 1e-07 |" in lines
    assert "| far | 15.0 | 3.0 | 0.50 | 0.10 |" in lines
    assert not any(line.startswith("| near | 1.0 |") for line in lines)
    assert any("in the same run" in line for line in lines)


def test_forms_of_small_nodes_agree(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    forms = importlib.import_module("forms")
    for form in forms.FORMS:
        forms.compared(form)

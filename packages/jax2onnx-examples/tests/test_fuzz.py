"""Variants of the examples: what was found once stays mended, and the session finds and shrinks what is wrong."""

import importlib.util
import random
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[3]
spec = importlib.util.spec_from_file_location("fuzz", ROOT / "scripts" / "fuzz.py")
fuzz = importlib.util.module_from_spec(spec)
sys.modules["fuzz"] = fuzz
spec.loader.exec_module(fuzz)

FOUND = [line for line in fuzz.FOUND.read_text().splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("text", FOUND)
def test_what_was_found_stays_mended(text):
    variant = fuzz.Variant.read(text)
    if variant.example not in fuzz.examples():
        pytest.skip(f"{variant.example} is not for jax {jax.__version__}")
    assert not fuzz.outcome(variant).startswith("FAILED")


def test_variants_are_read_as_they_are_printed():
    draw = random.Random(0)
    names = [name for name in fuzz.examples() if name.startswith("lax.a")]
    variants = [fuzz.drawn(draw, names) for _ in range(8)]
    assert {str(fuzz.Variant.read(str(variant))) for variant in variants} == set(map(str, variants))
    assert any(variant.steps for variant in variants)


def test_a_fault_of_ours_is_no_refusal(monkeypatch):
    monkeypatch.setattr("jax2onnx.tidy.tidy._remove_repeated", int)
    told = fuzz.outcome(fuzz.Variant.read("lax.tanh"))
    assert told.startswith("FAILED: ConversionError: an internal step failed: TypeError")


def test_a_wrong_rule_is_found_and_shrunk(monkeypatch):
    """With a function of the model that is not the one JAX runs, the step that shows it is left."""
    right = fuzz.to_onnx

    def wrong(fn, inputs, **options):
        model = right(fn, inputs, **options)
        for node in model.graph.node:
            if node.op_type == "Tanh":
                node.op_type = "Sin"
        return model

    monkeypatch.setattr(fuzz, "to_onnx", wrong)
    variant = fuzz.Variant.read("lax.tanh | jit() | vmap((0,), 2) | remat()")
    told = fuzz.outcome(variant)
    assert told.startswith("FAILED: check: CheckError")
    assert str(fuzz.shrunk(variant, told)) == "lax.tanh"

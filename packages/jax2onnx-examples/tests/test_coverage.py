"""The cases that the project promises by name, and the committed table of all examples."""

import importlib.util
import sys
from pathlib import Path

import jax
import pytest

from jax2onnx.plugin.loader import load
from jax2onnx.testing import cases

ROOT = Path(__file__).parents[3]


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def script():
    yield from loaded("coverage_table")


@pytest.fixture(scope="module")
def dynamic():
    yield from loaded("dynamic_table")


@pytest.fixture(scope="module")
def names():
    """The cases registered for the installed jax."""
    return {f"{case.example.context}.{case.name}" for case in cases() if case.fusions}


def test_every_promised_case_is_registered(script, names):
    promised = script.promised_cases()
    assert len(promised) == len(set(promised)) == 192
    missing = [name for name in promised if name not in names]
    assert not missing


def test_the_committed_table_lists_the_registered_examples(script, names):
    listed = script.listed(script.PAGE.read_text())
    examples = {f"{e.context}.{e.name}" for e in load().examples()}
    remedy = "run scripts/coverage_table.py"
    assert listed.keys() == examples, remedy
    assert names <= set().union(*listed.values()), remedy


def test_the_committed_table_promises_no_failure(script):
    page = script.PAGE.read_text()
    assert "failed:" not in page
    assert "## Failures" not in page


def test_rendering(script):
    def outcome(case, error="", example="add", operators=("Add", "Cast")):
        return script.Outcome("lax", "jax.lax.add", example, case, operators, error)

    def report(jax, *outcomes):
        return script.Report({"jax": jax, "flax": "1", "onnx": "2", "onnxruntime": "3"}, outcomes)

    newest = report("0.12.0", outcome("add_dynamic", "CheckError: no"), outcome("add"), outcome("new", example="new"))
    page = script.render([newest, report("0.8.1", outcome("add"), outcome("add_dynamic"))], ["lax.add", "lax.new"])
    lines = page.splitlines()
    assert "| 0.8.1 | 1 | 2 | 3 | 2 of 2 | 1 of 2 |" in lines
    assert "| 0.12.0 | 1 | 2 | 3 | 2 of 3 | 2 of 2 |" in lines
    assert "| jax.lax.add | `add`, `add_dynamic` | Add, Cast | ok | failed: `add_dynamic` |" in lines
    assert "| jax.lax.add | `new` | Add, Cast | not in this jax | ok |" in lines
    assert "- jax 0.12.0, `lax.add_dynamic`: CheckError: no" in lines
    assert script.listed(page) == {"lax.add": {"lax.add", "lax.add_dynamic"}, "lax.new": {"lax.new"}}


def test_the_variants_with_a_symbolic_batch(dynamic):
    spec = jax.ShapeDtypeStruct((3, 4), "int32")
    first, second = dynamic.batched([(3, 2), "int32[3]", spec, (4,), ()])
    assert first == [("B", 2), "int32[B]", jax.ShapeDtypeStruct(("B", 4), "int32"), (4,), ()]
    assert second == [("B", 2), "int32[3]", spec, (4,), ()]
    assert not list(dynamic.batched([(), (3,)]))


def test_the_page_of_symbolic_batches_tells_the_share_and_the_failures(dynamic):
    kinds = ["ok", "ok", "ok", "failed", "refused by JAX"]
    page = dynamic.render([dynamic.Outcome("lax", f"e{i}", k, "no") for i, k in enumerate(kinds)], "jax 1")
    assert "Of 4 examples whose shapes allow it, **3 convert and agree: 75.0%**." in page
    assert "- `lax.e3`: no" in page
    assert "| lax | 3 | 1 | 1 | 0 | 0 |" in page

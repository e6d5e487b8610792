"""benchmarks/: one model is measured from one end to the other; the page says what has no result or a wrong one."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import jax
from flax import nnx

FOLDER = Path(__file__).parents[3] / "benchmarks"


def _module(name, monkeypatch):
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _rows(page, model):
    return [line.split("|")[1:-1] for line in page.splitlines() if line.startswith(f"| {model} |")]


def test_one_model():
    few = ("--rounds", "1", "--turns", "2", "--cores", "1")
    command = [sys.executable, str(FOLDER / "bench.py"), "--models", "mlp", *few]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exported, run, nodes = _rows(page, "mlp")
    trace, export, ratio = (float(cell) for cell in exported[2:5])
    assert trace > 0
    assert abs(ratio - export / trace) < 0.02 * ratio + 0.01
    assert all(float(cell) > 0 for cell in run[1:4])
    assert "3 Gemm" in nodes[-1]
    assert float(nodes[3]) < 1e-5
    assert "no result" not in page


def test_models(monkeypatch):
    models = _module("models", monkeypatch)
    # One transformer stands for those of all depths, of which older flax takes minutes to make one.
    cases = {name: case for name, case in models.CASES.items() if not name.startswith("transformer")}
    for name, case in {**cases, "depth_2": models.transformer(2)}.items():

        def call(x, case=case):
            if case.module is None:
                return case.function(x)
            model = case.module(nnx.Rngs(0))
            model.eval()
            return model(x)

        result = jax.eval_shape(call, jax.ShapeDtypeStruct(case.shape, "float32"))
        assert result.shape[0] == case.shape[0], name


def test_page(monkeypatch):
    ours = {
        "equations": 500,
        "trace": 0.1,
        "export": 0.2,
        "added": 30.0,
        "peak": 300.0,
        "weights": 2.5,
        "copy": 0.001,
        "nodes": 7,
        "operators": {"Add": 7},
    }
    theirs = {"trace": 0.1, "export": 3.0, "added": 40.0, "peak": 400.0, "nodes": 9, "operators": {}}
    run = {"jax": {"seconds": 0.004}, "jax2onnx-core": {"seconds": 0.002, "error": 1e-7}}
    models = {
        "good": {
            "exports": {"jax2onnx-core": ours, "jax2onnx": theirs},
            "runs": [{**run, "jax2onnx": {"seconds": 0.008, "error": 0.5}}],
        },
        "slow": {"exports": {"jax2onnx-core": ours, "jax2onnx": {"over": 20.0}}, "runs": [run]},
        "none": {
            "exports": {"jax2onnx-core": ours, "jax2onnx": {"failed": "TypeError: no"}},
            "runs": [run],
        },
    }
    versions = {name: {name: "1", "jax": "2"} for name in ("jax2onnx-core", "jax2onnx")}
    growing = {"depth_1": ours, "depth_2": {**ours, "equations": 1000, "export": 0.6}}
    first = {"jax2onnx-core": {"seconds": 0.5}, "jax2onnx": {"seconds": 5.0}}
    page = _module("report", monkeypatch).render(
        {"versions": versions, "processor": "p", "cores": [1], "first": first, "models": models, "growing": growing}
    )
    cells = {name: [[cell.strip() for cell in row] for row in _rows(page, name)] for name in models}
    assert cells["good"][0][4:9] == ["2.00", "400", "2.5", "1.00", "15"]
    assert cells["slow"][0][8] == "> 100"
    assert cells["none"][0][8] == "-"
    assert cells["good"][1][1:] == ["4.00", "2.00", "0.50", "0.25"]
    assert cells["slow"][1][4] == "-"
    assert cells["good"][2][1:5] == ["7", "9", "1e-07", "**wrong** 5e-01"]
    assert "Geometric mean of ours / jax.jit: 0.50." in page
    assert "the largest is 1.50 times the smallest" in page
    assert re.search(r"jax2onnx, export of none: `TypeError: no`", page)
    assert re.search(r"jax2onnx, export of slow: given up after 20 s", page)
    assert "5.00 s, 10 times as long" in page

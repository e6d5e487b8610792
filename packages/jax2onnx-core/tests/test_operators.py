"""The operators as a type checker sees them: the stub is what its script writes, and mypy finds mistakes with it."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

ROOT = Path(__file__).parents[3]
OPERATOR = re.compile(r"\bop\.([A-Z]\w*)\(|\bop\.(?:emit|many)\(\s*\"(\w+)\"")

RULES = """
import numpy as np
import onnx_ir as ir

from jax2onnx.plugin import LoweringContext


def right(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    y = ctx.op.Mul(ctx.op.Concat(x, np.ones(3), axis=0), 2.0)
    return ctx.op.DFT(ctx.op.Clip(y, None, 1), axis=None, inverse=True)


def name(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    return ctx.op.Mull(x)  # wrong


def attribute(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    return ctx.op.Concat(x, x, axes=0)  # wrong


def type_of_attribute(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    return ctx.op.Transpose(x, perm=0)  # wrong


def number_of_inputs(ctx: LoweringContext, x: ir.Value) -> list[ir.Value]:
    return [ctx.op.Mul(x, x), ctx.op.Mul(x)]  # wrong


def number_of_results(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    return ctx.op.many("TopK", x, x, outputs=2)  # wrong
"""

MYPY = """
[mypy]
strict = true
[mypy-jax.*,flax.*,sympy.*]
follow_imports = skip
"""


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "scripts" / "operator_stub.py"))


def test_the_stub_is_current(script):
    written = script["STUB"].read_text()
    if f"schemas of onnx {onnx.__version__}.\n" in written:
        assert script["stub"]() == written, "run python scripts/operator_stub.py"


def test_the_stub_has_every_operator_that_a_rule_uses(script):
    known = set(re.findall(r"def (\w+)\(", script["STUB"].read_text()))
    used = set()
    for path in ROOT.glob("packages/*/src/**/*.py"):
        for names in OPERATOR.findall(path.read_text()):
            used |= {*names} - {""}
    assert {"Mul", "TopK"} <= used <= known


def test_a_type_checker_finds_mistakes_in_rules(tmp_path):
    (tmp_path / "rules.py").write_text(RULES)
    (tmp_path / "mypy.ini").write_text(MYPY)
    command = [sys.executable, "-m", "mypy", "rules.py"]
    report = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    wrong = {n for n, line in enumerate(RULES.splitlines(), 1) if line.endswith("# wrong")}
    assert {int(n) for n in re.findall(r"^rules\.py:(\d+): error", report, re.MULTILINE)} == wrong, report
    assert 'has no attribute "Mull"' in report

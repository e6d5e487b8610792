"""What ``explain`` reports: found, nearly found, declined, newer opsets, each with the user's own line."""

import inspect
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from releases import installed

from jax2onnx import to_onnx
from jax2onnx.cli import main as cli
from jax2onnx.fusion.report import Finding, Miss

HERE = inspect.getsourcefile(inspect.currentframe())
X = [(3, 4)]


@pytest.fixture(autouse=True)
def _no_earlier_traces():
    """Forget what other tests traced: before jax 0.10 a cached trace has the lines of its first caller."""
    jax.clear_caches()


def explained(fn, inputs=X, **options):
    reports = []
    model = to_onnx(fn, inputs, explain=reports.append, **options)
    (report,) = reports
    return report, Counter(node.op_type for node in model.graph.node)


def line_of(fn, text, name=None):
    """Return ``file:line (function)`` of the one line of a function that has a text."""
    lines, first = inspect.getsourcelines(fn)
    (number,) = [first + i for i, line in enumerate(lines) if text in line]
    return f"{HERE}:{number} ({name or fn.__qualname__})"


def gelu_by_hand(x, constant=0.0447):
    return x * (0.5 * (1 + jnp.tanh(0.7978845608028654 * (x + constant * x**3))))


def twice(x):
    first = jax.nn.gelu(x)
    second = jax.nn.gelu(first)
    return jax.nn.softmax(second)


def test_found_with_the_users_line_and_settings():
    report, operators = explained(twice)
    assert report.found == (
        Finding("jax.nn.gelu(approximate=True)", line_of(twice, "first ="), 8),
        Finding("jax.nn.gelu(approximate=True)", line_of(twice, "second ="), 8),
        Finding("jax.nn.softmax(axis=1)", line_of(twice, "return"), report.found[-1].equations),
    )
    assert report.missed == ()
    assert operators == {"Gelu": 2, "Softmax": 1}


def test_a_line_that_runs_often_is_reported_once():
    def repeated(x):
        for _ in range(5):
            x = jax.nn.gelu(x)
        return x

    report, _ = explained(repeated)
    where = line_of(repeated, "gelu")
    assert report.found == (Finding("jax.nn.gelu(approximate=True)", where, 8, times=5),)
    assert str(report).splitlines() == [
        "Functions found: 5",
        "  jax.nn.gelu(approximate=True): 8 equations, 5 times",
        f"    at {where}",
        "Nearly found: none",
    ]


def test_another_literal():
    report, operators = explained(gelu_by_hand)
    where = line_of(gelu_by_hand, "return")
    assert report.found == ()
    assert report.missed == (
        Miss("jax.nn.gelu(approximate=True)", where, "0.0447 stands where the function has 0.044715"),
    )
    assert operators["Tanh"] == 1


def test_used_outside():
    def value_and_grad(x):
        return jax.value_and_grad(lambda x: jnp.sum(jax.nn.softmax(x)[0]))(x)

    report, _ = explained(value_and_grad)
    where = line_of(value_and_grad, "return", f"{value_and_grad.__qualname__}.<locals>.<lambda>")
    assert Miss("jax.nn.softmax(axis=1)", where, "a value inside is used outside") in report.missed


def test_declined():
    def with_computed_slope(x, slope):
        return jax.nn.elu(x, slope)

    report, operators = explained(with_computed_slope, [*X, ()])
    reason = "declined: Elu takes a constant alpha that is exact in float32"
    assert report.found == ()
    assert report.missed == (Miss("jax.nn.elu", line_of(with_computed_slope, "return"), reason),)
    assert "Elu" not in operators
    assert explained(lambda x: with_computed_slope(x, 0.5))[1] == {"Elu": 1}


def test_needs_a_newer_opset():
    report, operators = explained(twice, opset=19)
    where = [line_of(twice, name) for name in ("first =", "second =")]
    reason = "it needs opset 20; this is opset 19"
    assert set(report.missed) == {Miss("jax.nn.gelu(approximate=True)", w, reason) for w in where}
    assert [finding.name for finding in report.found] == ["jax.nn.softmax(axis=1)"]
    assert "Gelu" not in operators


def test_the_nearest_miss_is_first():
    def both(x):
        clipped = jnp.clip(x, 0, 5)
        return gelu_by_hand(clipped)

    report, _ = explained(both)
    assert [miss.name for miss in report.missed] == ["jax.nn.gelu(approximate=True)", "jax.nn.relu6"]


def test_another_function_found_in_the_place_is_no_miss():
    report, _ = explained(lambda x: jax.nn.gelu(x, approximate=False))
    assert [finding.name for finding in report.found] == ["jax.nn.gelu(approximate=False)"]
    assert report.missed == ()


def looped(x):
    outside = jax.nn.gelu(x)
    return jax.lax.map(jax.nn.gelu, outside)


def test_the_body_of_a_loop_is_reported_with_the_line_that_has_it():
    for _ in range(2):  # the second time, JAX has the trace of the body from the first
        report, _ = explained(looped)
        assert [finding.where for finding in report.found] == [line_of(looped, t) for t in ("outside =", "return")]


def test_a_library_function_by_itself_has_no_line():
    report, _ = explained(jax.nn.softmax)
    (finding,) = report.found
    if installed(jax, ">=0.10"):  # before, the frames of an equation begin where to_onnx is called
        assert finding.where is None
        assert str(report).endswith(" equations\nNearly found: none")


def test_what_rules_write_in_jax_is_not_reported():
    def loss(x):
        return jax.lax.erf_inv(jax.nn.gelu(x))

    assert [finding.name for finding in explained(loss)[0].found] == ["jax.nn.gelu(approximate=True)"]


def test_without_fusions_nothing_is_found():
    report, _ = explained(twice, fusions=False)
    assert str(report) == "Functions found: none\nNearly found: none"


def test_true_prints_on_stderr(capsys):
    to_onnx(twice, X, explain=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("Functions found: 3\n  jax.nn.gelu(approximate=True): 8 equations\n    at ")
    to_onnx(twice, X)
    assert capsys.readouterr().err == ""


def test_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "explained_models.py").write_text("import jax\n\ndef act(x):\n    return jax.nn.gelu(x)\n")
    arguments = ["export", "explained_models:act", "-i", "float32[B,3]", "-o", "act.onnx"]
    for explain in (False, True):
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, *(["--explain"] if explain else [])])
        assert not ended.value.code
        printed = capsys.readouterr().out
        assert ("Functions found: 1\n  jax.nn.gelu(approximate=True): 8 equations\n" in printed) is explain
        assert ("explained_models.py:4 (act)\nNearly found: none" in printed) is explain

"""``jax2onnx examples``: what it prints, and how it exits."""

import onnx
import pytest

from jax2onnx.cli import main as cli
from jax2onnx.testing import cases


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(["examples", *arguments])
        told = capsys.readouterr()
        return ended.value.code or 0, told.out, told.err

    return command


def test_list_shows_every_case_once(run):
    code, out, _ = run("list")
    rows = [line.split() for line in out.splitlines()[1:]]
    assert code == 0
    assert [row[0] for row in rows] == [f"{c.example.context}.{c.name}" for c in cases() if c.fusions]
    assert ["examples.nnx.mlp_dynamic", "MLP", "examples"] in rows


def test_list_of_one_context(run):
    code, out, _ = run("list", "--context", "examples.onnx_functions")
    assert code == 0
    assert len(out.splitlines()) == 21


def test_export_keeps_symbolic_dims_where_the_name_says_so(run):
    code, out, _ = run("export", "examples.nnx.autoencoder_dynamic")
    assert code == 0
    assert out.startswith("autoencoder_dynamic.onnx: 7 nodes (4 Gemm, 2 Relu, 1 Sigmoid)")
    (given,) = onnx.load("autoencoder_dynamic.onnx").graph.input
    assert given.type.tensor_type.shape.dim[0].dim_param == "B"


def test_export_static_elsewhere_without_fusions(run):
    code, out, _ = run("export", "examples.nnx.mlp", "-o", "here.onnx", "--no-fusions")
    assert code == 0
    assert out.startswith("here.onnx: ")
    model = onnx.load("here.onnx")
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3
    assert "Gelu" not in {node.op_type for node in model.graph.node}


def test_check_one(run):
    assert run("check", "examples.nnx.mlp")[:2] == (
        0,
        "ok      examples.nnx.mlp\nok      examples.nnx.mlp-plain\n2 ok, 0 failed\n",
    )


def test_check_reports_what_failed_and_goes_on(run, monkeypatch):
    import jax2onnx.testing as kit

    def fail(case):
        if case.fusions:
            raise ArithmeticError("not today")

    monkeypatch.setattr(kit, "run", fail)
    code, out, _ = run("check", "examples.nnx.autoencoder")
    assert code == 1
    assert out.splitlines() == [
        "FAILED  examples.nnx.autoencoder: ArithmeticError: not today",
        "ok      examples.nnx.autoencoder-plain",
        "1 ok, 1 failed",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "nothing_like_it"), "no example is called 'nothing_like_it'"),
        (("check", "add"), "'add' may mean jnp.add, lax.add"),
        (("list", "--context", "lex"), "no example belongs to lex; the contexts are "),
    ],
)
def test_wrong_calls(run, arguments, said):
    code, _, err = run(*arguments)
    assert code == 2
    assert said in err

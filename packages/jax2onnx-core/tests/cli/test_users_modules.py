"""The user's modules: which file is meant, whose libraries it gets, and what its import raises."""

import json
import subprocess
import sys

import onnx
import pytest

HOSTILE = ("ast", "click", "json", "jax", "numpy", "onnx", "onnx_ir", "onnxruntime", "rich", "textwrap")


@pytest.fixture
def hostile(tmp_path):
    """Put files beside the user's module that have the names of what jax2onnx imports."""
    code = "import pathlib; pathlib.Path(__file__).with_suffix('.executed').touch()"
    for name in HOSTILE:
        (tmp_path / f"{name}.py").write_text(code)
    (tmp_path / "tables.py").write_text("from colorsys import HALF")
    (tmp_path / "colorsys.py").write_text("HALF = 0.5")  # there is an installed module of this name
    (tmp_path / "half.py").write_text("from tables import HALF\n\ndef half(x):\n    return x * HALF")


@pytest.mark.parametrize("command", [("-m", "jax2onnx"), ("-c", "from jax2onnx.cli.main import main; main()")])
def test_modules_of_the_working_directory_are_the_users_only(hostile, tmp_path, command):
    """What we import is ours, what the user imports is theirs, though both have one name."""
    start = [sys.executable, *(("-P",) if command[0] == "-c" else ()), *command]
    arguments = ("export", "half:half", "-i", "x=float32[3]", "-o", "m.onnx", "--check", "--json")
    done = subprocess.run([*start, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["check"]
    report = ("report", "half:half", "-i", "x=float32[3]", "-o", "report.html")
    done = subprocess.run([*start, *report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*.executed")) == []


@pytest.mark.parametrize("source", ["model.py:f", "model:f"])
def test_the_users_code_gets_the_libraries_that_we_need(hostile, tmp_path, source):
    """Else a file ``jax.py`` beside it would be jax for the whole process."""
    (tmp_path / "model.py").write_text("import jax.numpy\nimport onnx\nimport onnxruntime\nf = jax.numpy.sin")
    start = [sys.executable, "-m", "jax2onnx", "export", source, "-i", "float32[3]", "-o", "m.onnx", "--check"]
    done = subprocess.run(start, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*.executed")) == []


def test_a_file_that_has_the_name_of_a_library_is_named_as_a_file(hostile, tmp_path):
    (tmp_path / "jax.py").write_text("f = abs")
    start = [sys.executable, "-m", "jax2onnx", "export", "-i", "float32[3]", "-o", "m.onnx"]
    done = subprocess.run([*start, "jax:f"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "name the file (jax.py:OBJECT)" in done.stderr
    done = subprocess.run([*start, "jax.py:f"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_file_is_the_file_that_was_named(run, tmp_path):
    """Also if an installed module has its name, loaded or not."""
    for name in ("operator", "json", "colorsys", "my-model"):
        (tmp_path / f"{name}.py").write_text("import jax.numpy as jnp\n\ndef neg(x):\n    return jnp.sin(x)")
        code, _, err = run("export", f"{name}.py:neg", "-i", "x=float32[3]", "-o", "m.onnx")
        assert code == 0, err
        assert [node.op_type for node in onnx.load("m.onnx").graph.node] == ["Sin"]
    import colorsys
    import operator

    assert operator.neg(1) == -1
    assert colorsys.ONE_THIRD


def test_a_name_of_two_modules_is_refused(run, tmp_path):
    (tmp_path / "operator.py").write_text("def neg(x):\n    return x")
    code, _, err = run("export", "operator:neg", "-i", "x=float32[3]", "-o", "m.onnx")
    assert code == 2
    assert "name the file (operator.py:OBJECT)" in err
    code, _, err = run("export", "operator.py:neg", "-i", "x=float32[3]", "-o", "m.onnx")
    assert code == 0, err


def test_a_file_is_imported_once(run, tmp_path):
    (tmp_path / "operator.py").write_text(
        "import jax.numpy as jnp\n\nRULES = []\n\ndef f(x):\n    return jnp.sin(x)\n\n"
        "def rule(ctx, x):\n    RULES.append(1)\n    return ctx.op.Cos(x)\n\ndef g(x):\n    return x * len(RULES)"
    )
    arguments = ("-i", "x=float32[3]", "-o", "m.onnx")
    code, _, err = run("export", "operator.py:f", "--lowering", "sin=operator.py:rule", *arguments)
    assert code == 0, err
    code, _, err = run("export", "operator.py:g", *arguments)
    assert code == 0, err
    assert [node.op_type for node in onnx.load("m.onnx").graph.node] in (["Identity"], [])


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise SystemExit(3)", "importing bad fails: SystemExit: 3"),
        ("import sys; sys.exit()", "importing bad fails: SystemExit"),
        ("class Odd(BaseException): pass\nraise Odd('no')", "importing bad fails: Odd: no"),
        ("1/0", "importing bad fails: ZeroDivisionError"),
        ("def __getattr__(name): raise ValueError('no ' + name)", "reading bad:f fails: ValueError: no f"),
        ("def f(x: 'unfinished", "importing bad fails: SyntaxError"),
        ("import not_there", "importing bad fails: ModuleNotFoundError"),
        ("\0", "importing bad fails: SyntaxError"),
    ],
)
def test_a_module_that_raises_or_exits(run, tmp_path, code, says):
    (tmp_path / "bad.py").write_text(code)
    for source in ("bad:f", "bad.py:f"):
        ended, _, err = run("export", source, "-i", "x=float32[3]", "-o", "m.onnx")
        assert ended == 1
        assert says.replace("bad", source.partition(":")[0], 1) in err
        assert "remedy: make this line run" in err
        if says.startswith("importing"):
            assert "bad" not in sys.modules
        sys.modules.pop("bad", None)


def test_a_function_that_raises_what_is_no_exception(run, tmp_path):
    """As frameworks do to end a task, which a handler of exceptions is not to stop."""
    (tmp_path / "cancelled.py").write_text("class Cancelled(BaseException): pass\ndef f(x): raise Cancelled('later')")
    ended, _, err = run("export", "cancelled.py:f", "-i", "float32[3]", "-o", "m.onnx")
    assert ended == 1
    assert err.startswith("error: Cancelled: later")
    assert "Traceback" not in err


def test_a_working_directory_that_is_gone(tmp_path):
    gone = tmp_path / "gone"
    code = f"import os; os.mkdir({str(gone)!r}); os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); "
    for command, told in (("--version", ""), ("export m:f -o m.onnx", "working directory does not exist any more")):
        execute = f"os.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'jax2onnx', *{command.split()!r}])"
        done = subprocess.run([sys.executable, "-c", code + execute], capture_output=True, text=True, check=False)
        assert done.returncode == (2 if told else 0), done.stderr
        assert told in done.stderr

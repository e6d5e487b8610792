"""The command line: what it prints where, and how it exits."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from jax2onnx.cli import main as cli

MODELS = """
    import jax.numpy as jnp

    def double(x):
        return x + x

    def subtract(a, b):
        return a - b

    def scaled(x, *, factor):
        return x * factor

    def make():
        return double

    def cube(x):
        return x * x * x

    def picky(x):
        raise ValueError("no, thanks")

    class Model:
        def __call__(self, x):
            return jnp.exp(x)

    class Holder:
        model = Model()

    text = "not callable"
"""


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """Work in a folder with a module ``models``."""
    (tmp_path / "models.py").write_text(textwrap.dedent(MODELS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("models", None)


@pytest.fixture
def run(capsys):
    """Return a function that runs a command line and returns exit code, stdout and stderr."""

    def command(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return command


def input_names(path):
    return [i.name for i in onnx.load(path).graph.input]


def test_export(run, tmp_path):
    code, out, err = run("export", "models:double", "--input", "x=float32[B,30]", "-o", "model.onnx")
    assert (code, err) == (0, "")
    assert out.startswith("model.onnx: 1 node (1 Add), opset 23, ")
    (given,) = onnx.load("model.onnx").graph.input
    assert given.name == "x"
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["B", 30]


def test_export_and_check(run):
    code, out, err = run("export", "models:cube", "-i", "float32[B,3]", "-o", "model.onnx", "--check")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) > 1


def test_options_reach_the_model(run):
    arguments = ("--opset", "20", "--output-name", "y", "--target", "onnx")
    assert run("export", "models:double", "-i", "x=float32[3]", "-o", "m.onnx", *arguments)[0] == 0
    model = onnx.load("m.onnx")
    assert model.opset_import[0].version == 20
    assert model.graph.output[0].name == "y"


def test_inputs_go_to_the_parameters_of_their_names(run):
    code, _, err = run("export", "models:subtract", "-i", "b=float32[2,3]", "-i", "a=float32[3]", "-o", "m.onnx")
    assert code == 0, err
    shapes = {i.name: len(i.type.tensor_type.shape.dim) for i in onnx.load("m.onnx").graph.input}
    assert shapes == {"a": 1, "b": 2}
    assert list(shapes) == ["a", "b"]


def test_inputs_may_be_keyword_only(run):
    code, _, err = run("export", "models:scaled", "-i", "factor=float32[]", "-i", "x=float32[3]", "-o", "m.onnx")
    assert code == 0, err
    assert sorted(input_names("m.onnx")) == ["factor", "x"]


def test_other_names_are_given_in_order(run):
    code, _, err = run("export", "models:subtract", "-i", "left=float32[3]", "-i", "right=float32[]", "-o", "m.onnx")
    assert code == 0, err
    assert input_names("m.onnx") == ["left", "right"]


@pytest.mark.parametrize("source", ["models.py:double", "models:Holder.model"])
def test_sources(run, source):
    code, _, err = run("export", source, "-i", "x=float32[3]", "-o", "m.onnx")
    assert code == 0, err


def test_call(run):
    code, _, err = run("export", "models:make", "--call", "-i", "x=float32[3]", "-o", "m.onnx")
    assert code == 0, err


def test_check_agrees(run):
    run("export", "models:subtract", "-i", "a=float32[B,3]", "-i", "b=float32[3]", "-o", "m.onnx")
    code, out, err = run("check", "m.onnx", "models:subtract")
    assert (code, err) == (0, "")
    assert out


def test_check_disagrees(run):
    run("export", "models:double", "-i", "x=float32[B,3]", "-o", "m.onnx")
    code, out, err = run("check", "m.onnx", "models:cube")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")


def test_inspect(run):
    run("export", "models:double", "-i", "x=float32[B,30]", "-o", "m.onnx")
    code, out, err = run("inspect", "m.onnx")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert ["input", "x", "float32[B,30]"] in rows
    assert ["output", "output", "float32[B,30]"] in rows
    assert ["operator", "Add", "1"] in rows


def test_inspect_lists_the_largest_initializers(run):
    sizes = {"small": 2, "large": 1000, "middle": 10}
    stored = [numpy_helper.from_array(np.zeros(size, "float32"), name) for name, size in sizes.items()]
    graph = helper.make_graph([], "g", [], [helper.make_tensor_value_info("large", TensorProto.FLOAT, [1000])], stored)
    onnx.save(helper.make_model(graph), "m.onnx")
    out = run("inspect", "m.onnx", "--largest", "2")[1]
    assert [line.split() for line in out.splitlines() if line.startswith("initializer")] == [
        ["initializer", "large", "float32[1000]", "3.9", "KiB"],
        ["initializer", "middle", "float32[10]", "40", "B"],
    ]
    summary = json.loads(run("inspect", "m.onnx", "--json")[1])
    assert [t["name"] for t in summary["initializers"]] == ["large", "middle", "small"]


def test_inspect_what_is_no_model(run, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    code, out, err = run("inspect", "m.onnx")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "models:double"), "give either a file to write (--output) or a stage to print (--show)"),
        (("export", "models", "-o", "m.onnx"), "not of the form MODULE:OBJECT"),
        (("export", "nowhere:double", "-o", "m.onnx"), "there is no module 'nowhere'"),
        (("export", "nowhere.py:double", "-o", "m.onnx"), "there is no file nowhere.py"),
        (("export", "models:nothing", "-o", "m.onnx"), "models has no 'nothing'"),
        (("export", "models:Model", "-o", "m.onnx"), "is a class"),
        (("export", "models:double", "-i", "x=f", "-i", "f", "-o", "m.onnx"), "every input a different name"),
        (("export", "models:double", "-i", "x=", "-o", "m.onnx"), "'x=' is not of the form NAME=DTYPE[DIMS]"),
        (("export", "models:double", "-i", "=float32[3]", "-o", "m.onnx"), "'=float32[3]' is not of the form"),
        (("export", "models:double", "-i", "", "-o", "m.onnx"), "'' is not of the form NAME=DTYPE[DIMS]"),
        (("inspect", "nothing.onnx"), "does not exist"),
        (("unknown",), "No such command"),
    ],
)
def test_a_wrong_call_exits_with_2(run, tmp_path, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models:double", "-i", "x=what"), "error: "),
        (("models:double", "-i", "x=float32[3]", "--opset", "9"), "opset"),
        (("models:picky", "-i", "x=float32[3]"), "no, thanks"),
        (("models:text", "-i", "x=float32[3]"), "error: "),
    ],
)
def test_a_failure_exits_with_1_and_no_traceback(run, tmp_path, arguments, message):
    code, out, err = run("export", *arguments, "-o", "m.onnx")
    assert (code, out) == (1, "")
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "m.onnx").exists()


def test_a_module_that_fails_to_import(run, tmp_path):
    (tmp_path / "failing_module.py").write_text("import does_not_exist\n")
    code, _, err = run("export", "failing_module:f", "-o", "m.onnx")
    assert code == 1
    assert "No module named 'does_not_exist'" in err


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback(run, place):
    arguments = ["export", "models:picky", "-i", "x=float32[3]", "-o", "m.onnx"]
    code, _, err = run(*(["--debug", *arguments] if place == "before" else [*arguments, "--debug"]))
    assert code == 1
    assert "Traceback" in err
    assert "no, thanks" in err


def test_list_plugins(run, fake_plugin):
    fake_plugin("alpha", "@hookimpl\ndef jax2onnx_register_lowerings(registry): registry.add('frob', lambda ctx: ())\n")
    fake_plugin("beta", "1 / 0")
    code, out, err = run("list-plugins", "--verbose")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert ["alpha", "ok", "1.0", "dist-alpha", "1", "lowering"] in rows
    assert any(row[:2] == ["beta", "broken"] and "ZeroDivisionError:" in row for row in rows if row)
    assert ["lowering", "frob", "alpha", "18"] in rows


def test_list_plugins_as_json(run, fake_plugin):
    fake_plugin("alpha")
    report = json.loads(run("list-plugins", "--json")[1])
    expected = {"name": "alpha", "status": "ok", "module": "temporary_dist_alpha_alpha"}
    assert expected.items() <= report["plugins"][-1].items()
    assert "entries" not in report


def test_version_in_a_process():
    result = subprocess.run([sys.executable, "-m", "jax2onnx", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == "jax2onnx 0.1.0\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a thing of POSIX")
def test_progress_on_a_terminal():
    import os
    import pty

    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "jax2onnx", "export", "models:double", "-i", "x=float32[3]", "-o", "m.onnx"]
    environment = {**os.environ, "TERM": "xterm-256color"}
    progress = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, env=environment) as process:
        os.close(follower)
        while True:
            try:
                progress += os.read(leader, 4096)
            except OSError:  # the other end is closed
                break
        out = process.stdout.read().decode()
    os.close(leader)
    assert process.returncode == 0, progress
    assert b"exporting models:double" in progress
    assert out.startswith("m.onnx: ")


# -- what Python takes -----------------------------------------------------------------------------------------------


NESTED = """
import jax.numpy as jnp
import numpy as np

def loss(batch, scale):
    return jnp.where(batch["mask"], batch["pair"][0] + batch["pair"][1], 0.0) * scale

def powers(n, x):
    return [x**i for i in range(n)]

def twice(ctx, x):
    return ctx.op.Identity(x)

def scaled(x, *, factor, train: bool):
    return x if train else x * factor

def sine(x):
    return jnp.sin(x)

np.savez("values.npz", **{"batch.mask": np.array([True, False]), "batch.pair.0": np.ones(2, "float32"),
                          "batch.pair.1": np.ones(2, "float32"), "scale": np.float32(3)})
"""


@pytest.fixture
def nested_models(tmp_path, models):
    (tmp_path / "nested.py").write_text(NESTED)
    yield
    sys.modules.pop("nested", None)


LITERAL = ("-i", "batch={'mask': 'bool[B]', 'pair': ['float32[B]', 'float32[B]']}", "-i", "scale=float32[]")
PARTS = ("-i", "batch.mask=bool[B]", "-i", "batch.pair.0=float32[B]", "-i", "batch.pair.1=float32[B]")


@pytest.mark.parametrize("inputs", [LITERAL, (*PARTS, "-i", "scale=float32[]")], ids=["literal", "parts"])
def test_nested_inputs_values_sizes_and_json(run, nested_models, inputs):
    code, out, err = run("export", "nested:loss", *inputs, "-o", "m.onnx", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["model"]["inputs"][0]["name"] == "batch.mask"
    assert input_names("m.onnx") == ["batch.mask", "batch.pair.0", "batch.pair.1", "scale"]
    code, out, err = run(
        "check", "m.onnx", "nested:loss", "--size", "B=2", "--size", "5", "--kind", "ordinary", "--json"
    )
    assert (code, err) == (0, "")
    assert json.loads(out)["batches"] == ["ordinary inputs at B=2", "ordinary inputs at B=5"]
    code, out, err = run("check", "m.onnx", "nested:loss", "--values", "values.npz", "--rtol", "0", "--atol", "0")
    assert (code, err) == (0, "")
    assert "on given inputs" in out


def test_static_values_parameters_rules_functions_and_constraints(run, nested_models):
    static = ("--static", "n=3", "-i", "x=float32[B]", "--constraint", "B >= 2", "--name", "mine")
    code, _, err = run("export", "nested:powers", *static, "-o", "m.onnx", "--check", "--size", "4")
    assert (code, err) == (0, "")
    assert len(onnx.load("m.onnx").graph.output) == 3
    assert onnx.load("m.onnx").graph.name == "mine"
    given = ("-i", "x=float32[3]", "--input-param", "factor=float32[]", "--static", "train=False")
    code, _, err = run("export", "nested:scaled", *given, "-o", "m.onnx", "--check", "--state", "io")
    assert (code, err) == (0, "")
    assert input_names("m.onnx") == ["x", "factor"]
    rule = ("--lowering", "sin=nested:twice", "--functions", "modules")
    code, _, err = run("export", "nested:sine", "-i", "x=float32[3]", *rule, "-o", "m.onnx")
    assert (code, err) == (0, "")
    assert [node.op_type for node in onnx.load("m.onnx").graph.node] == ["Identity"]
    code, out, err = run("check", "m.onnx", "nested:sine", "--json")
    assert code == 1
    assert json.loads(out)["error"]["class"] == "CheckError"


@pytest.mark.parametrize("output", ["models.py", "link.py", "x.npz"])
def test_an_output_that_is_an_input_is_refused(run, tmp_path, output):
    np.savez("x.npz", x=np.ones(3))
    (tmp_path / "link.py").symlink_to("models.py")
    before = (tmp_path / output).read_bytes()
    arguments = ("-i", "x=float32[3]", "--check", "--values", "x.npz", "-o", output)
    code, _, err = run("export", "models.py:double", *arguments)
    assert code == 2
    assert "is a file that this command reads; name another one" in err
    assert (tmp_path / output).read_bytes() == before


@pytest.mark.parametrize("output", ["m.onnx", "./m.onnx", "weights"])
def test_a_picture_over_its_model_is_refused(run, tmp_path, output):
    from faulty_saves import model_of

    model = model_of(1)
    onnx.save(onnx_ir.to_proto(model), "m.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    before = (tmp_path / output).read_bytes()
    code, _, err = run("inspect", "m.onnx", "--svg", output)
    assert code == 2
    assert "is a file that this command reads; name another one" in err
    assert (tmp_path / output).read_bytes() == before


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

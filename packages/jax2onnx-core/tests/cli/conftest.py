"""A folder with the user's modules, and a command line that runs in it."""

import sys
import textwrap

import onnx
import pytest

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


@pytest.fixture
def run(capsys):
    """Return a function that runs a command line and returns exit code, stdout and stderr."""

    def command(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return command


@pytest.fixture
def input_names():
    """Return a function that returns the names of the inputs of a model in a file."""
    return lambda path: [value.name for value in onnx.load(path).graph.input]

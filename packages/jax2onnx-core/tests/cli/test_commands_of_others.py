"""Distributions bring commands of their own: they are listed, called, and blamed."""

from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from jax2onnx.cli import extensible
from jax2onnx.cli.main import cli
from jax2onnx.errors import PluginError


@click.command()
@click.argument("name")
def greet(name):
    """Greet somebody."""
    click.echo(f"hello {name}")


def broken():
    msg = "no module named nowhere"
    raise ImportError(msg)


def exits():
    raise SystemExit("out \x1b[31mof here")


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    entries = [
        SimpleNamespace(name="greet", value="theirs:greet", load=lambda: greet),
        SimpleNamespace(name="broken", value="theirs:broken", load=broken),
        SimpleNamespace(name="exits", value="theirs:exits", load=exits),
        SimpleNamespace(name="no-command", value="theirs:three", load=lambda: 3),
        SimpleNamespace(name="inspect", value="theirs:inspect", load=lambda: greet),
    ]
    owner = SimpleNamespace(name="theirs")
    monkeypatch.setattr(extensible, "entry_points", lambda _: [(entry, owner) for entry in entries])


def test_a_command_is_called():
    assert CliRunner().invoke(cli, ["greet", "you"]).output == "hello you\n"


def test_own_commands_come_first():
    assert "Show inputs" in CliRunner().invoke(cli, ["inspect", "--help"]).output


@pytest.mark.parametrize(
    ("name", "why"),
    [("broken", "nowhere"), ("exits", "SystemExit: out"), ("no-command", "theirs:three is no command")],
)
def test_what_is_no_command_is_an_error_that_names_the_distribution(name, why):
    error = CliRunner().invoke(cli, [name]).exception
    assert isinstance(error, PluginError)
    assert "theirs" in str(error)
    assert why in str(error)
    assert "uninstall theirs" in str(error)


def test_help_lists_all_of_them():
    told = CliRunner().invoke(cli, ["--help"]).output
    assert "Greet somebody." in told
    assert told.count("Cannot be loaded") == 3
    assert "\x1b" not in told

"""The guide on language models runs."""

import inspect
import re
from pathlib import Path

from click.testing import CliRunner

from jax2onnx_ortgenai import command, save_genai

PAGE = next(
    page for folder in Path(__file__).resolve().parents if (page := folder / "docs/guides/language-models.md").exists()
)
BLOCK = re.compile(r"^```py\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^    jax2onnx generate (.*)\n    (.*)$", re.MULTILINE)


def test_blocks_and_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "block"}
    for block in BLOCK.findall(PAGE.read_text()):
        exec(compile(block, "block", "exec"), namespace)
    ((line, result),) = COMMAND.findall(PAGE.read_text())
    printed = CliRunner().invoke(command.generate, line.split()).output
    wanted = namespace["greedy"](namespace["decoder"], namespace["cache"], namespace["prompts"][:1], 8, eos_token_id=0)
    assert [int(token) for token in printed.split(",")] == wanted[0]
    assert printed.strip() == result
    assert len(set(wanted[0])) > 4  # one token again and again would show little


def test_the_readme_names_options_and_arguments_that_there_are():
    text = (Path(__file__).parents[1] / "README.md").read_text()
    options = {option for parameter in command.generate.params for option in parameter.opts}
    lines = [line for line in text.splitlines() if line.startswith("    jax2onnx generate ")]
    assert lines
    assert {word for line in lines for word in line.split() if word.startswith("--")} <= options
    (call,) = re.findall(r"`save_genai\((.*)\)`", text)
    assert set(re.findall(r"(\w+)=", call)) <= set(inspect.signature(save_genai).parameters)

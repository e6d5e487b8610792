"""The guide on language models runs."""

import re
from pathlib import Path

from click.testing import CliRunner

from jax2onnx_ortgenai import command

PAGE = next(
    page for folder in Path(__file__).resolve().parents if (page := folder / "docs/guides/language-models.md").exists()
)
BLOCK = re.compile(r"^```py\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^    jax2onnx generate (.*)$", re.MULTILINE)


def test_blocks_and_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "block"}
    for block in BLOCK.findall(PAGE.read_text()):
        exec(compile(block, "block", "exec"), namespace)
    (line,) = COMMAND.findall(PAGE.read_text())
    printed = CliRunner().invoke(command.generate, line.split()).output
    wanted = namespace["greedy"](namespace["decoder"], namespace["cache"], namespace["prompts"][:1], 8, eos_token_id=0)
    assert [int(token) for token in printed.split(",")] == wanted[0]

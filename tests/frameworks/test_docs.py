"""The blocks that need haiku, keras or onnxruntime-extensions run here; the others run with the other pages."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("page", "count"), [("frameworks.md", 2), ("migrating.md", 1), ("operators.md", 1)])
def test_blocks(page, count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```py\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == count
    namespace = {"__name__": "block"}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)

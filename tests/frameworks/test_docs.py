"""The blocks of docs/frameworks.md that need haiku or keras run here; those that do not run with the other pages."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"


def test_blocks():
    blocks = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    namespace = {"__name__": "block"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), namespace)

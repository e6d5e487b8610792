"""Write docs/errors.md, the table of wrong calls, from those that tests make: `python scripts/error_table.py`."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
CALLS = ROOT / "packages" / "jax2onnx-core" / "tests" / "support" / "wrong_calls.toml"
PAGE = ROOT / "docs" / "errors.md"
INTRODUCTION = """# Errors

Written by `scripts/error_table.py` from the calls that `test_wrong_calls.py` makes.

Whatever goes wrong in an export, the error is one of `jax2onnx.errors`. It says what is wrong, where (the argument, or
your own line), and what to do. If JAX, a framework or your program raised it, the original is its `__cause__`. A shape,
a dtype or an argument that a remedy names has been tried. If several places of a program cannot be converted, one error
names all of them. A call that fails leaves no file.

On the command line, the exit code is 2 for a wrong call and 1 for an export or a check that fails. `--debug` shows the
traceback, `--json` prints the error as JSON.

The tables show calls that are wrong, parts of what they say, and a call that follows the remedy. `m` is a module with
small programs.
"""


def page() -> str:
    """Return the page."""
    calls = tomllib.loads(CALLS.read_text(encoding="utf-8"))["call"]
    parts = [INTRODUCTION]
    for group, rows in itertools.groupby(calls, key=lambda call: call["group"]):
        parts.append(f"\n## {group}\n\n| Call | Error | Where | What | Remedy | Instead |\n|---|---|---|---|---|---|\n")
        parts += map(_row, rows)
    return "".join(parts)


def _row(call: dict[str, str]) -> str:
    where = "the line of the call" if call["where"] == "at:" else call["where"].strip("()")
    what = call["what"].removeprefix(f"{call['where']}: ")
    cells = [
        _code(call["call"]),
        call["error"],
        _code(where),
        _text(what),
        _text(call["remedy"]),
        _code(call["instead"]),
    ]
    return f"| {' | '.join(cells)} |\n"


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def _text(text: str) -> str:
    for character in "|<*_`":
        text = text.replace(character, f"\\{character}")
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""Write docs/errors.md, of the codes and the wrong calls that tests make: `python scripts/error_table.py`."""

from __future__ import annotations

import inspect
import itertools
import textwrap
import tomllib
from pathlib import Path

from jax2onnx import errors

ROOT = Path(__file__).parents[1]
CALLS = ROOT / "packages" / "jax2onnx-core" / "tests" / "support" / "wrong_calls.toml"
PAGE = ROOT / "docs" / "errors.md"
CODES = CALLS.with_name("error_codes.toml")
INTRODUCTION = """# Errors

Written by `scripts/error_table.py` from the programs and calls that `test_error_codes.py` and
`test_wrong_calls.py` make.

Whatever goes wrong in an export, the error is one of `jax2onnx.errors`. It says what is wrong, where (the argument, or
your own line), and what to do. If JAX, a framework or your program raised it, the original is its `__cause__`. A shape,
a dtype or an argument that a remedy names has been tried. If several places of a program cannot be converted, one error
names all of them. A call that fails leaves no file.

On the command line, the exit code is 2 for a wrong call and 1 for an export or a check that fails. `--debug` shows the
traceback, `--json` prints the error as JSON.

## Codes

Each message ends with a code. For each code there is the smallest program that fails with it, and the program mended.
A test executes both. The last part shows more calls that are wrong.

{codes}
## Wrong calls

The tables show calls that are wrong, parts of what they say, and a call that follows the remedy. `m` is a module with
small programs.
"""


def page() -> str:
    """Return the page."""
    calls = tomllib.loads(CALLS.read_text(encoding="utf-8"))["call"]
    parts = [INTRODUCTION.replace("{codes}", "".join(map(_code_section, codes())))]
    for group, rows in itertools.groupby(calls, key=lambda call: call["group"]):
        parts.append(
            f"\n### {group}\n\n| Call | Error | Where | What | Remedy | Instead |\n|---|---|---|---|---|---|\n"
        )
        parts += map(_row, rows)
    return "".join(parts)


def codes() -> list[dict[str, str]]:
    """Return the codes: for each, a program that fails with it, and the program mended."""
    found: list[dict[str, str]] = tomllib.loads(CODES.read_text(encoding="utf-8"))["error"]
    return found


def _code_section(entry: dict[str, str]) -> str:
    """Return what the page says of a code."""
    (cls,) = [c for c in vars(errors).values() if isinstance(c, type) and vars(c).get("code") == entry["code"]]
    purpose = (inspect.getdoc(cls) or "").partition("\n")[0].replace("``", "`")
    programs = [textwrap.indent(entry[key].strip("\n"), "    ") for key in ("fails", "mended")]
    return f"### {entry['code']}: {cls.__name__}\n\n{purpose}\n\n{programs[0]}\n\nMended:\n\n{programs[1]}\n\n"


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

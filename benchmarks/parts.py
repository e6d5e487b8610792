"""Write a part of docs/benchmarks.md; what other scripts write there stays."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


_MARK = "<!-- "
"""How what other scripts write begins."""


def write_start(text: str) -> None:
    """Write what stands before all parts, which ``benchmarks/bench.py`` is the author of."""
    _, mark, parts = PAGE.read_text(encoding="utf-8").partition(_MARK)
    PAGE.write_text(f"{text.strip()}\n\n{mark}{parts}".rstrip() + "\n", encoding="utf-8")


def write_part(name: str, text: str) -> None:
    """Write the part that a script, ``benchmarks/NAME.py``, is the author of, between its marks."""
    start, end = f"<!-- {name}: written by benchmarks/{name}.py -->", f"<!-- end of {name} -->"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(start)
    _, _, after = rest.partition(end)
    parts = (before.rstrip(), start, text.strip(), end, after.lstrip())
    PAGE.write_text("\n\n".join(parts).rstrip() + "\n", encoding="utf-8")

"""Write docs/coverage/lines.md: how many lines and branches of the packages the tests reach.

python scripts/coverage_of_lines.py coverage.json [--write]     a report of coverage.py, as `nox -s coverage` makes it
"""

from __future__ import annotations

import argparse
import json
import platform
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coverage" / "lines.md"
LOW = 90
"""Modules below this many percent of their lines are listed."""

HEAD = """# Lines that the tests reach

Written by `nox -s coverage` (`scripts/coverage_of_lines.py`) with Python {python} from the whole test suite. A branch
is a way from one line to another.

| Distribution | Lines | Reached | Branches | Reached |
|---|---|---|---|---|
"""


@dataclass
class Count:
    """Numbers of lines and branches, and of those reached."""

    lines: int = 0
    reached: int = 0
    branches: int = 0
    taken: int = 0

    def add(self, summary: dict[str, Any]) -> None:
        """Add what the report says of a file."""
        self.lines += summary["num_statements"]
        self.reached += summary["covered_lines"]
        self.branches += summary.get("num_branches", 0)
        self.taken += summary.get("covered_branches", 0)

    def row(self, name: str) -> str:
        """Return the row of the table."""
        shares = (_percent(self.reached, self.lines), _percent(self.taken, self.branches))
        return f"| {name} | {self.lines} | {shares[0]:.1f} % | {self.branches} | {shares[1]:.1f} % |"


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0


def page(report: dict[str, Any]) -> str:
    """Return the page for a report."""
    counts: dict[str, Count] = defaultdict(Count)
    low = []
    for path, file in report["files"].items():
        place = Path(path).parts
        counts[place[place.index("packages") + 1]].add(file["summary"])
        counts["all"].add(file["summary"])
        one = Count()
        one.add(file["summary"])
        if _percent(one.reached, one.lines) < LOW:
            low.append((_percent(one.reached, one.lines), "/".join(place[place.index("packages") :])))
    names = [*sorted(name for name in counts if name != "all"), "all"]
    text = HEAD.format(python=platform.python_version()) + "\n".join(counts[name].row(name) for name in names) + "\n"
    if low:
        rows = "\n".join(f"- `{path}`: {share:.0f} %" for share, path in sorted(low))
        text += f"\nModules below {LOW} % of their lines:\n\n{rows}\n"
    return text


def main() -> None:
    """Print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    text = page(json.loads(args.report.read_text()))
    if args.write:
        PAGE.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()

"""Write docs/coverage/runtimes.md from what measure.py and tools.py wrote: ``python scripts/runtimes/table.py FOLDER``.

FOLDER has a file NAME.jsonl for each runtime, and tools.jsonl. A file ``runs.json`` says of each with which command and
which version it was made.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "coverage" / "runtimes.md"
WORDS = ("passes", "finite", "ours", "refused", "crashed", "differs")
HEAD = """# The runtimes

Written by `scripts/runtimes/table.py` from what `nox -s runtimes` measures: each case of the registered examples,
static and symbolic, is exported for the runtime, executed there and compared with JAX by `jax2onnx.check(...,
runtime=...)`, on ordinary, moderate, large and special inputs and on those that the example gives. A row says of how
many cases it was made; where it is not all, each nth was taken. Where a fault was mended after a row was measured,
the cases that had failed were measured again, and those that had passed were not. The columns:

- *agrees*: on all inputs, NaN and infinities among them;
- *finite*: where inputs and results are finite, and not where one is NaN or infinite;
- *by us*: jax2onnx refuses the program for this target and says why;
- *refused*, *crashed*: the runtime does not load or run the model, or its process ends (or takes a minute);
- *differs*: silently, on finite inputs (OpenVINO makes 0 of numbers below 1e-37, which is no difference here).

"""


def cause(message: str) -> str:
    """Return the cause that a message tells, short enough to be counted."""
    text = " ".join(message.replace("\\n", " ").split())
    for pattern in (
        r"(?:J2O\d+: )?\S.*?: the (?:input|result) \S+ (.*?)(?:;| at:| plugin:| remedy:|$)",
        r"has no kernel for (\w+ \(opset \d+\) in [\w, ]+?),? and no",
        r"(\w+ fails; .*?)(?: at:| plugin:| remedy:|$)",
        r"NOT_IMPLEMENTED : (.*?)$",
        r"Exception caught: (.*?)$",
        r"message: ?(.*?)$",
        r"(JAX returns .*?)(?: \[J2O|$)",
    ):
        found = re.search(pattern, text)
        if found:
            return re.sub(r"node_\w+|'[^']*'|\d{3,}", "…", found[1])[:110]
    text = re.sub(r"^.*?(?:cannot load the model|\(seed \d+\)): ", "", text)  # on which inputs is no cause
    text = re.sub(r"(?:running pass \w+ )?Caused by: ", "", text)
    text = re.sub(r'(?:\d+: )?(?:node )?#\d+ "node_([A-Za-z]+)\w*"', r"\1", text)
    return text.partition(" at: ")[0][:110]  # not the line, whose path is of one machine


def cell(text: str) -> str:
    """Return a text as a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def runtimes(folder: Path, runs: dict[str, dict[str, str]]) -> str:
    """Return the table of runtimes, and the causes below it."""
    lines = ["| Runtime | Model for | Cases | agrees | finite | by us | refused | crashed | differs |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    details = []
    for name, run in runs.items():
        path = folder / f"{name}.jsonl"
        if name == "tools" or not path.exists():
            continue
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        counts = Counter(row[1] for row in rows)
        numbers = " | ".join(str(counts[word]) for word in WORDS)
        lines.append(f"| {run['runtime']} | `{run['target']}` | {len(rows)} ({run['taken']}) | {numbers} |")
        details += _causes(run["runtime"], rows)
    return "\n".join([*lines, "", *details])


def _causes(runtime: str, rows: list[list[str]]) -> list[str]:
    causes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, what, message, *_ in rows:
        if what not in {"passes", "finite"}:
            causes[what, cause(message)].append(name)
    if not causes:
        return []
    lines = [f"## {runtime}: what does not run", "", "| | Cases | Cause | For example |", "| --- | ---: | --- | --- |"]
    order = sorted(causes.items(), key=lambda item: (WORDS.index(item[0][0]), -len(item[1])))
    for (what, why), names in order:
        words = {"ours": "by us"}.get(what, what)
        lines.append(f"| {words} | {len(names)} | {cell(why)} | `{names[0]}` |")
    return [*lines, ""]


def tools(folder: Path, run: dict[str, str]) -> str:
    """Return the table of tools."""
    rows = [json.loads(line) for line in (folder / "tools.jsonl").read_text().splitlines()]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    causes: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for name, tool, what, message in rows:
        counts[tool][what] += 1
        if what != "passes":
            causes[tool, what, cause(message)].append(name)
    lines = [
        "## Tools",
        "",
        f"Written by `{run['command']}` ({run['runtime']}).",
        "What changes numbers gets the model of `guards=False, opset=21`.",
        "",
        "| Tool | Models | passes | the tool refuses | runs, out of order | invalid model | differs |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for tool, found in counts.items():
        numbers = " | ".join(str(found[word]) for word in ("passes", "refused", "unordered", "invalid", "differs"))
        lines.append(f"| {tool} | {found.total()} | {numbers} |")
    lines += ["", "| Tool | | Models | Cause | For example |", "| --- | --- | ---: | --- | --- |"]
    for (tool, what, why), names in sorted(causes.items()):
        lines.append(f"| {tool} | {what} | {len(names)} | {cell(why)} | `{names[0]}` |")
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    runs = json.loads((folder / "runs.json").read_text())
    text = HEAD + runtimes(folder, runs)
    if (folder / "tools.jsonl").exists():
        text += "\n" + tools(folder, runs["tools"]) + "\n"
    notes = Path(__file__).with_name("notes.md")
    PAGE.write_text(text.rstrip() + "\n\n" + notes.read_text())


if __name__ == "__main__":
    main()

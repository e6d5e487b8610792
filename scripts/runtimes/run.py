"""Measure all runtimes and tools, and write docs/coverage/runtimes.md: ``python scripts/runtimes/run.py [--every N]``.

Each Python runtime gets an environment of its own, which is made with ``python -m venv``; onnxruntime-web is installed
with npm. What cannot be installed is left out, and said. All examples take hours: ``--every 10`` takes each tenth.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
RUNS = {
    "onnxruntime-1.17": ("onnxruntime", ["onnxruntime==1.17.3", "numpy<2"], "onnxruntime>=1.17", "onnxruntime 1.17.3"),
    "onnxruntime-1.20": ("onnxruntime", ["onnxruntime==1.20.1"], "onnxruntime>=1.20", "onnxruntime 1.20.1"),
    "onnxruntime-oldest": ("onnxruntime", ["onnxruntime==1.24.1"], "onnxruntime-cpu", "onnxruntime 1.24.1"),
    "onnxruntime-newest": ("onnxruntime", ["onnxruntime"], "onnxruntime-cpu", "onnxruntime, newest"),
    "web": ("web", [], "onnxruntime-web", "onnxruntime-web, wasm in node"),
    "openvino": ("openvino", ["openvino"], "openvino", "OpenVINO, CPU"),
    "reference": ("reference", ["onnx"], "onnx", "onnx's reference evaluator"),
    "tract": ("tract", ["tract"], "onnx", "tract"),
}  # fmt: skip
"""Name -> runtime of measure.py, what is installed, target of the models, and the name in the table."""


def _run(command: list[str], folder: Path | None = None) -> bool:
    """Run a command; return whether it succeeded."""
    return subprocess.run(command, cwd=folder, check=False).returncode == 0  # noqa: S603 - commands of this file


def installed(name: str, packages: list[str], folder: Path) -> list[str] | None:
    """Return the options of measure.py by which it finds a runtime; None if it cannot be installed."""
    place = folder / name
    if name == "web":
        place.mkdir(exist_ok=True)
        return ["--folder", str(place)] if _run(["npm", "install", "onnxruntime-web"], place) else None
    _run([sys.executable, "-m", "venv", str(place)])
    python = str(place / "bin" / "python")
    return (
        ["--python", python] if _run([python, "-m", "pip", "install", "-q", "numpy", "ml_dtypes", *packages]) else None
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", default="1")
    parser.add_argument("--only", action="append", default=[], choices=[*RUNS, "tools"])
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    taken = "all" if args.every == "1" else f"each {args.every}th"
    said = {}
    for name, (runtime, packages, target, words) in RUNS.items():
        if args.only and name not in args.only:
            continue
        options = installed(name, packages, folder)
        if options is None:
            print(f"{name}: cannot be installed")
            continue
        command = [sys.executable, str(HERE / "measure.py"), runtime, str(folder / f"{name}.jsonl")]
        _run([*command, "--target", target, "--every", args.every, *options])
        said[name] = {"runtime": words, "target": target, "taken": taken}
    if not args.only or "tools" in args.only:
        command = [sys.executable, str(HERE / "tools.py"), str(folder / "tools.jsonl"), "--every", args.every]
        _run(command)
        said["tools"] = {"runtime": "as the group `runtimes` pins them", "command": "nox -s runtimes"}
    (folder / "runs.json").write_text(json.dumps(said, indent=1))
    _run([sys.executable, str(HERE / "table.py"), str(folder)])
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

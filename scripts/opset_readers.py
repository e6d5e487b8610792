"""Which runtime reads which opset: tried with the versions of runtimes that pip installs; writes docs/opsets.md.

python scripts/opset_readers.py                   print the table
python scripts/opset_readers.py --write           write it into docs/opsets.md
python scripts/opset_readers.py --home FOLDER     keep the environments there for the next time

A small program is exported at each opset. Each version of a runtime is installed into an environment of its own, reads
the models and runs them; the results are compared with those of JAX. A range in the table means that all opsets in it
were read, and gave the results of JAX.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx

from jax2onnx import to_onnx
from jax2onnx.legalise.opsets.history import OLDEST_OPSET

PAGE = Path(__file__).parents[1] / "docs" / "opsets.md"
START, END = "<!-- readers: written by scripts/opset_readers.py -->\n\n", "<!-- end -->"

RUNTIMES = (
    *((f"onnxruntime {version}", (f"onnxruntime=={version}", "numpy<2")) for version in ("1.15.1", "1.16.3", "1.17.3")),
    *(
        (f"onnxruntime {version}", (f"onnxruntime=={version}", "numpy"))
        for version in ("1.18.1", "1.19.2", "1.20.1", "1.21.1", "1.22.1", "1.23.2", "1.24.1", "1.32.0")
    ),
    ("OpenVINO 2026.4", ("openvino==2026.4.*", "numpy")),
)
"""What is tried, and what is installed for it."""

CHILD = """
import json, sys
import numpy as np

def onnxruntime(path):
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {session.get_inputs()[0].name: x})

def openvino(path):
    import openvino
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: list(compiled([x]).values())

load = {"onnxruntime": onnxruntime, "OpenVINO": openvino}[sys.argv[1]]
told = {}
for opset, path, held in json.loads(sys.argv[2]):
    arrays = np.load(held)
    try:
        results = load(path)(arrays["x"])
    except Exception as error:
        told[opset] = str(error).splitlines()[0]
    else:
        same = all(np.allclose(a, arrays[f"y{i}"], rtol=1e-4, atol=1e-5) for i, a in enumerate(results))
        told[opset] = "" if same else "other numbers"
print(json.dumps(told))
"""


def program(x: Any) -> Any:
    """Compute something of each kind: products, sums, largest elements, choices, shapes."""
    normalised = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    hidden = jax.nn.gelu(normalised @ jnp.linspace(-1, 1, 32).reshape(4, 8))
    return jax.nn.softmax(jnp.pad(hidden, ((0, 0), (1, 1))), axis=-1), jnp.where(x.max(0) > 0, x.min(0), x.sum(0))


def export(folder: Path, opsets: Iterable[int]) -> list[tuple[int, str, str]]:
    """Write the models, and what they are to give."""
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    held = folder / "expected.npz"
    np.savez(held, x=x, **{f"y{i}": np.asarray(y) for i, y in enumerate(program(x))})
    written = []
    for opset in opsets:
        path = folder / f"{opset}.onnx"
        onnx.save(to_onnx(program, [("B", 4)], opset=opset), path)
        written.append((opset, str(path), str(held)))
    return written


def tried(name: str, packages: Sequence[str], models: Sequence[Any], folder: Path) -> dict[int, str]:
    """Return what a runtime says of each opset; nothing if it agrees with JAX."""
    home = folder / name.replace(" ", "-")
    python = str(home / "bin" / "python")
    if not home.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)  # noqa: S603 - the packages above
    command = [python, "-c", CHILD, name.partition(" ")[0], json.dumps(models)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own program
    return {int(opset): text for opset, text in json.loads(told.splitlines()[-1]).items()}


def row(name: str, told: dict[int, str]) -> str:
    """Return the row of a runtime: which opsets it reads, and what it says of the first other one."""
    read = [opset for opset, text in told.items() if not text]
    others = [opset for opset in told if opset not in read]
    whole = bool(read) and read == list(range(read[0], read[-1] + 1))
    ranges = f"{read[0]} to {read[-1]}" if whole else ", ".join(map(str, read)) or "none"
    first = f"{others[0]}: {short(told[others[0]])}" if others else ""
    return f"| {name} | {ranges} | {first} |"


def short(message: str) -> str:
    """Return what matters of a message: which version is too new, or which operator is missing."""
    found = re.search(r"Opset \d+ is under development|Unsupported model IR version: \d+|Could not find[^.:]*", message)
    return (found[0] if found else message[:120]).replace("|", " ")


def main() -> None:
    """Try the runtimes; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--home", type=Path)
    args = parser.parse_args()
    lines = ["| runtime | reads, and agrees with JAX | what it says of the next one |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.home or Path(temporary)).resolve()
        models = export(folder, range(OLDEST_OPSET, onnx.defs.onnx_opset_version() + 1))
        for name, packages in RUNTIMES:
            lines.append(row(name, tried(name, packages, models, folder)))
            print(lines[-1], flush=True)
    if args.write:
        text = PAGE.read_text()
        before, _, rest = text.partition(START)
        PAGE.write_text(before + START + "\n".join(lines) + "\n\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    sys.exit(main())

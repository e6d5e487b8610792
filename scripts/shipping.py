"""Ship a model to each destination that runs here, and compare the numbers with JAX's; writes docs/guides/shipping.md.

python scripts/shipping.py --home FOLDER            run the recipes; environments are made in FOLDER and kept
python scripts/shipping.py --home FOLDER --write    write the table of docs/guides/shipping.md too

A recipe exports a small classifier of images as the guide says, runs the commands of the guide, and compares what comes
out with JAX. Commands in the guide are those that run here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx import save_onnx

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guides" / "shipping.md"
SHIPPING = ROOT / "examples" / "shipping"
START, END = "<!-- shipped: written by scripts/shipping.py -->\n\n", "<!-- end -->"

RANDOM = np.random.default_rng(0)
KERNEL = jnp.asarray(RANDOM.normal(size=(3, 3, 3, 8)) / 3, jnp.float32)
WEIGHTS = jnp.asarray(RANDOM.normal(size=(8, 10)), jnp.float32)
IMAGES = RANDOM.integers(0, 256, (8, 1, 32, 32, 3)).astype(np.uint8)
SPEC = ["uint8[1,32,32,3]"]

ONNXRUNTIME = """
import sys, json, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
x = numpy.load(sys.argv[2])["x"]
print(json.dumps([y.tolist() for y in session.run(None, {session.get_inputs()[0].name: x})]))
"""
CONVERT = "-m onnxruntime.tools.convert_onnx_models_to_ort phone.onnx"
ONNX2TF = "onnx2tf -i phone.onnx -o litert"


def classify(image: Any) -> Any:
    """Return the probabilities of classes."""
    image = image.astype(jnp.float32) / 255
    out = jax.lax.conv_general_dilated(image, KERNEL, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jax.nn.softmax(jax.nn.relu(out).mean((1, 2)) @ WEIGHTS)


class Home:
    """A folder with environments, and the model that is shipped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.expected = np.asarray(classify(IMAGES[0]))
        np.savez(folder / "last.npz", x=IMAGES[0])
        np.savez(folder / "first.npz", x=IMAGES[0].transpose(0, 3, 1, 2))

    def python(self, name: str, *packages: str) -> str:
        """Return the interpreter of an environment with packages, made at first use."""
        home = self.folder / name
        python = str(home / "bin" / "python")
        if not home.exists():
            venv.create(home, with_pip=True)
            run([python, "-m", "pip", "install", "-q", *packages], self.folder)
        return python

    def version(self, python: str, package: str) -> str:
        """Return the version of a package of an environment."""
        program = f"import importlib.metadata as m; print({package!r}, m.version({package!r}))"
        return run([python, "-c", program], self.folder).strip()

    def worst(self, told: str) -> float:
        """Return the largest difference between what a runtime told, as JSON on the last line, and JAX."""
        (result,) = json.loads(told.splitlines()[-1])
        return float(np.abs(np.asarray(result, np.float32) - self.expected).max())


def run(command: Sequence[str], folder: Path) -> str:
    """Run a command; return what it prints."""
    env = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, env=env)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


Recipe = Callable[[Home], tuple[str, str, float]]
"""What was run, with versions; what was passed to jax2onnx; how far the results are from JAX's."""


def newest(home: Home) -> tuple[str, str, float]:
    """Ship to the installed onnxruntime."""
    save_onnx(classify, SPEC, home.folder / "newest.onnx")
    told = run([sys.executable, "-c", ONNXRUNTIME, "newest.onnx", "last.npz"], home.folder)
    return home.version(sys.executable, "onnxruntime"), "nothing", home.worst(told)


def old(home: Home) -> tuple[str, str, float]:
    """Ship to an old onnxruntime."""
    save_onnx(classify, SPEC, home.folder / "old.onnx", target="onnxruntime>=1.17")
    python = home.python("old", "onnxruntime==1.17.3", "numpy<2")
    told = run([python, "-c", ONNXRUNTIME, "old.onnx", "last.npz"], home.folder)
    return home.version(python, "onnxruntime"), '`target="onnxruntime>=1.17"`', home.worst(told)


def node(home: Home) -> tuple[str, str, float]:
    """Ship to onnxruntime-node."""
    save_onnx(classify, SPEC, home.folder / "node.onnx")
    if not (home.folder / "node_modules").exists():
        (home.folder / "package.json").write_text('{"private": true}')
        run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "onnxruntime-node"], home.folder)
    case = {"image": {"dtype": "uint8", "shape": IMAGES[0].shape, "data": IMAGES[0].ravel().tolist()}}
    (home.folder / "case.json").write_text(json.dumps(case))
    told = json.loads(run(["node", str(SHIPPING / "run.mjs"), "node.onnx", "case.json"], home.folder))
    (result,) = told.values()
    version = json.loads((home.folder / "node_modules" / "onnxruntime-node" / "package.json").read_text())["version"]
    found = np.asarray(result["data"], np.float32).reshape(result["shape"])
    return f"onnxruntime-node {version}", "nothing", float(np.abs(found - home.expected).max())


def phone(home: Home) -> tuple[str, str, float]:
    """Write the format of onnxruntime's small builds."""
    save_onnx(classify, SPEC, home.folder / "phone.onnx", opset=18, inputs_as_nchw=True)
    run([sys.executable, *CONVERT.split()], home.folder)
    told = run([sys.executable, "-c", ONNXRUNTIME, "phone.ort", "first.npz"], home.folder)
    return f"the ORT format in {home.version(sys.executable, 'onnxruntime')}", PHONE, home.worst(told)


PHONE = "`opset=18, inputs_as_nchw=True`"


def quantised(home: Home) -> tuple[str, str, float]:
    """Quantise to QDQ, as NPUs want it, with calibration images."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter([{"image": image.transpose(0, 3, 1, 2)} for image in IMAGES])

        def get_next(self) -> Any:
            return next(self.left, None)

    save_onnx(classify, SPEC, home.folder / "npu.onnx", opset=18, inputs_as_nchw=True)
    quantize_static(
        str(home.folder / "npu.onnx"), str(home.folder / "qdq.onnx"), Images(), quant_format=QuantFormat.QDQ
    )
    told = run([sys.executable, "-c", ONNXRUNTIME, "qdq.onnx", "first.npz"], home.folder)
    return f"QDQ by `quantize_static`, {home.version(sys.executable, 'onnxruntime')}", PHONE, home.worst(told)


def game(home: Home) -> tuple[str, str, float]:
    """Write the opset of game engines; run it in onnxruntime, since the engine is not here."""
    save_onnx(classify, SPEC, home.folder / "game.onnx", opset=15, target="onnx", inputs_as_nchw=True)
    told = run([sys.executable, "-c", ONNXRUNTIME, "game.onnx", "first.npz"], home.folder)
    what = f"the model for Unity, in {home.version(sys.executable, 'onnxruntime')}"
    return what, '`opset=15, target="onnx", inputs_as_nchw=True`', home.worst(told)


def litert(home: Home) -> tuple[str, str, float]:
    """Convert to LiteRT by onnx2tf."""
    save_onnx(classify, SPEC, home.folder / "phone.onnx", opset=18, inputs_as_nchw=True)
    python = home.python("litert", "onnx2tf", "ai-edge-litert")
    command = ONNX2TF.split()
    run([str(Path(python).with_name(command[0])), *command[1:]], home.folder)
    told = run([python, str(SHIPPING / "litert.py"), "litert/phone_float32.tflite", "last.npz"], home.folder)
    versions = " and ".join(home.version(python, name) for name in ("onnx2tf", "ai-edge-litert"))
    return versions, PHONE, home.worst(told)


def openvino(home: Home) -> tuple[str, str, float]:
    """Ship to OpenVINO by its plugin."""
    save_onnx(classify, SPEC, home.folder / "openvino.onnx", target="openvino")
    python = home.python("openvino", "openvino==2026.4.*", "numpy")
    program = (
        "import sys, json, numpy, openvino\n"
        'model = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})\n'
        'print(json.dumps([y.tolist() for y in model([numpy.load(sys.argv[2])["x"]]).values()]))\n'
    )
    told = run([python, "-c", program, "openvino.onnx", "last.npz"], home.folder)
    return home.version(python, "openvino"), '`target="openvino"`', home.worst(told)


RECIPES: tuple[Recipe, ...] = (newest, old, node, phone, quantised, openvino, litert, game)


def main() -> None:
    """Run the recipes; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    args.home.mkdir(parents=True, exist_ok=True)
    home = Home(args.home.resolve())
    lines = ["| What ran | Passed to jax2onnx | Largest difference from JAX |", "|---|---|---:|"]
    for recipe in RECIPES:
        if not args.only or recipe.__name__ in args.only:
            what, passed, worst = recipe(home)
            lines.append(f"| {what} | {passed} | {worst:.1g} |")
            print(lines[-1], flush=True)
    text = PAGE.read_text()
    missing = [command for command in (CONVERT, ONNX2TF) if command not in text]
    assert not missing, f"the guide does not have {missing}"
    if args.write:
        before, _, rest = text.partition(START)
        PAGE.write_text(before + START + "\n".join(lines) + "\n\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()

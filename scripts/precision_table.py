"""Measure models in float16 and bfloat16 beside those in float32: files, nodes, errors against JAX, memory.

python scripts/precision_table.py             prints the table
python scripts/precision_table.py --write     writes docs/coverage/precision.md (two minutes)

What the columns mean is told on the page.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from flax import nnx

from jax2onnx import save_onnx, to_onnx
from jax2onnx.testing import Runner, operators

PAGE = Path(__file__).parent.parent / "docs" / "coverage" / "precision.md"
RNG = np.random.default_rng(0)

HEAD = """# Half precision of float32 programs

Written by `scripts/precision_table.py` (`nox -s precision`), with jax {jax}, onnxruntime {runtime}.

Each model is exported for the default target in float32, and with `precision="float16"` and `"bfloat16"`. Nodes are
those of the model with its subgraphs. The error is the largest difference to JAX in float32 over the largest number
that JAX gives, for random weights and inputs.

Memory is what a process holds more of: once onnxruntime has loaded the file, and after a run (what the allocator keeps
of freed memory is given back first). The most that it had until then is in brackets. Each number is the median of
three processes.

| Model | Precision | File | Nodes | Error | Loaded (most) | After a run (most) |
|---|---|---|---|---|---|---|
"""
WHY = """
Once loaded, a model in half takes what the one in float32 takes: onnxruntime's CPU provider has no kernels for half, so
it holds the weights in float32, and gives up the halves. While it loads, it may hold more:

- Its constant folding computes all casts before it gives up the first half. Until then it has the halves beside the
  weights in float32. Those of a float32 model are used as they are in the file. No form of the model was found that
  avoids this.
- Weights that share a cast are in memory once more until they are split. The largest have a cast each, as far as a
  tenth of the nodes goes.

What onnxruntime packs and transposes at load takes as much of either model, and may hide this.

Options of the session were tried with the decoder in float16 (72 MiB at most). Without prepacking or without the arena
it is the same; with weights in external data it is 85 MiB. With
`optimization.constant_folding_max_output_size_in_bytes` of `65536` casts are not folded: 50 MiB while it loads, 33 MiB
once loaded (45), and 51 MiB after a run (53), which then makes all casts each time. With this option onnxruntime 1.32
does not load the LSTM: it looks for the reader of a weight that a body reads among the nodes outside.
"""
PLAIN = """
The same models for `target="onnx"`, where products are computed in half. onnxruntime's CPU provider runs float16 by
casts of its own, and has no kernels for bfloat16.

| Model | Precision | File | Nodes | Casts | Error |
|---|---|---|---|---|---|
"""

HALF = """
Two layers of that decoder as a program in half, for the default target: as it is, where casts round after each node for
which onnxruntime has no kernel in half, and with `precision="float32"`. The error is that against the same weights in
float32, computed by JAX.

| Program | precision | File | Nodes | Casts | Error |
|---|---|---|---|---|---|
"""


class Block(nnx.Module):
    """A block of a transformer, causal or not."""

    def __init__(self, width: int, heads: int, *, causal: bool, rngs: nnx.Rngs) -> None:
        self.norm1, self.norm2 = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
        self.query, self.key, self.value = (nnx.Linear(width, width, rngs=rngs) for _ in range(3))
        self.out = nnx.Linear(width, width, rngs=rngs)
        self.up, self.down = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)
        self.heads, self.causal = heads, causal

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, length, width) to the same."""
        y = self.norm1(x)
        q, k, v = (f(y).reshape(*y.shape[:2], self.heads, -1) for f in (self.query, self.key, self.value))
        x = x + self.out(jax.nn.dot_product_attention(q, k, v, is_causal=self.causal).reshape(x.shape))
        return x + self.down(nnx.gelu(self.up(self.norm2(x))))


class ViT(nnx.Module):
    """A vision transformer of the size that is called tiny."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.patches = nnx.Conv(3, 192, (16, 16), strides=16, padding="VALID", rngs=rngs)
        self.position = nnx.Param(0.02 * jax.random.normal(rngs(), (1, 196, 192)))
        self.blocks = nnx.List([Block(192, 3, causal=False, rngs=rngs) for _ in range(12)])
        self.norm = nnx.LayerNorm(192, rngs=rngs)
        self.head = nnx.Linear(192, 1000, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images to scores."""
        x = self.patches(x).reshape(x.shape[0], 196, 192) + self.position[...]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class Residual(nnx.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int, features: int, stride: int, *, rngs: nnx.Rngs) -> None:
        def conv(n: int, m: int, size: int, s: int) -> nnx.Conv:
            return nnx.Conv(n, m, (size, size), strides=s, use_bias=False, rngs=rngs)

        self.conv1, self.conv2 = conv(channels, features, 3, stride), conv(features, features, 3, 1)
        self.norm1, self.norm2 = (nnx.BatchNorm(features, use_running_average=True, rngs=rngs) for _ in range(2))
        self.shortcut = conv(channels, features, 1, stride) if channels != features else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images to images of the features."""
        y = self.norm2(self.conv2(nnx.relu(self.norm1(self.conv1(x)))))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """A residual network of 18 layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(3, 64, (7, 7), strides=2, use_bias=False, rngs=rngs)
        widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
        widths += [(128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
        self.blocks = nnx.List([Residual(*width, rngs=rngs) for width in widths])
        self.head = nnx.Linear(512, 1000, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images to scores."""
        x = nnx.max_pool(nnx.relu(self.stem(x)), (3, 3), strides=(2, 2), padding="SAME")
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


class LSTM(nnx.Module):
    """Two layers of LSTM cells and a linear one."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.RNN(nnx.LSTMCell(256, 512, rngs=rngs))
        self.second = nnx.RNN(nnx.LSTMCell(512, 512, rngs=rngs))
        self.head = nnx.Linear(512, 256, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map sequences to sequences."""
        return self.head(self.second(self.first(x)))


class Decoder(nnx.Module):
    """A decoder of language whose table of tokens is that of its head."""

    def __init__(self, rngs: nnx.Rngs, layers: int = 6) -> None:
        self.tokens = nnx.Embed(8000, 256, rngs=rngs)
        self.position = nnx.Param(0.02 * jax.random.normal(rngs(), (1, 64, 256)))
        self.blocks = nnx.List([Block(256, 4, causal=True, rngs=rngs) for _ in range(layers)])
        self.norm = nnx.LayerNorm(256, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens to scores of the next ones."""
        x = self.tokens(tokens) + self.position[...]
        for block in self.blocks:
            x = block(x)
        return self.tokens.attend(self.norm(x))


MODELS: dict[str, tuple[Any, str, Any]] = {
    "ViT (12 layers of 192)": (ViT, "float32[B,224,224,3]", lambda: RNG.normal(size=(2, 224, 224, 3))),
    "ResNet-18": (ResNet, "float32[B,64,64,3]", lambda: RNG.normal(size=(2, 64, 64, 3))),
    "LSTM (2 layers of 512)": (LSTM, "float32[B,32,256]", lambda: RNG.normal(size=(2, 32, 256))),
    "decoder (6 layers of 256)": (Decoder, "int32[B,64]", lambda: RNG.integers(0, 8000, (2, 64))),
}

MEASURE = """
import ctypes, json, resource, sys
import numpy as np, onnxruntime
def held():
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()
def most():
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')) * 1024
x = np.load(sys.argv[2])
before = held()
session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
sizes = [most(), held()]
result, = session.run(None, {session.get_inputs()[0].name: x})
np.save(sys.argv[3], result)
sizes += [most(), held()]
print(json.dumps([size - before for size in sizes]))
"""


def run(model: Path, arrays: Path, times: int = 1) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return the result of a model in new processes, and the memory that they held: loaded, and after a run."""
    result = model.with_suffix(".npy")
    command = [sys.executable, "-c", MEASURE, str(model), str(arrays), str(result)]
    sizes = []
    for _ in range(times):
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - this very Python
        sizes.append(json.loads(told))
    loading, loaded, running, after = (round(statistics.median(column) / 2**20) for column in zip(*sizes, strict=True))
    return np.load(result), [f"{loaded} MiB ({loading})", f"{after} MiB ({running})"]


def error(result: Any, expected: Any) -> str:
    """Return the largest difference in terms of the largest number."""
    return f"{np.abs(result - expected).max() / np.abs(expected).max():.1e}"


def rows(name: str) -> tuple[list[str], list[str]]:
    """Return the rows of a model in both tables."""
    make, spec, draw = MODELS[name]
    module = make(nnx.Rngs(0))
    x = draw().astype(np.int32 if spec.startswith("int") else np.float32)
    expected = np.asarray(module(jnp.asarray(x)))
    first, second = [], []
    with tempfile.TemporaryDirectory() as folder:
        np.save(arrays := Path(folder) / "x.npy", x)
        base = None
        for precision in (None, "float16", "bfloat16"):
            path = Path(folder) / f"{precision}.onnx"
            save_onnx(module, [spec], path, precision=precision)
            size, nodes = path.stat().st_size, operators(onnx.load(path)).total()
            result, memory = run(path, arrays, 3)
            base = base or (size, nodes)
            told = [f"{size / 2**20:.1f} MiB", str(nodes)]
            if precision:
                told = [f"{told[0]} ({size / base[0]:.0%})", f"{nodes} (+{nodes / base[1] - 1:.0%})"]
            told += [error(result, expected), *memory]
            first.append(f"| {name} | {precision or 'float32'} | {' | '.join(told)} |")
        for precision in ("float16", "bfloat16"):
            model = to_onnx(module, [spec], precision=precision, target="onnx")
            path = Path(folder) / f"plain_{precision}.onnx"
            path.write_bytes(model.SerializeToString())
            found = operators(model)
            told = [f"{path.stat().st_size / 2**20:.1f} MiB", str(found.total()), str(found["Cast"])]
            told.append(error(run(path, arrays)[0], expected) if precision == "float16" else "not run")
            second.append(f"| {name} | {precision} | {' | '.join(told)} |")
    return first, second


def in_dtype(module: Any, dtype: Any) -> Any:
    """Return a module whose weights, and what it computes, are in a dtype."""
    graph, state = nnx.split(module)
    made = nnx.merge(graph, jax.tree.map(lambda a: a.astype(dtype), state))
    for _, part in nnx.iter_modules(made):
        if "dtype" in vars(part):
            part.dtype = dtype
    return made


def half_rows() -> list[str]:
    """Return the rows of a program that is in half."""
    x = RNG.integers(0, 8000, (2, 64)).astype(np.int32)
    lines = []
    for name, dtype in {"float16": jnp.float16, "bfloat16": jnp.bfloat16}.items():
        half = in_dtype(Decoder(nnx.Rngs(0), layers=2), dtype)
        expected = np.asarray(in_dtype(half, jnp.float32)(jnp.asarray(x)))
        for precision in (None, "float32"):
            model = to_onnx(half, ["int32[B,64]"], precision=precision)
            (result,) = Runner(model).run([x])
            found = operators(model)
            told = [f"{model.ByteSize() / 2**20:.1f} MiB", str(found.total()), str(found["Cast"])]
            told.append(error(result.astype(np.float32), expected))
            lines.append(f"| {name} | {precision or 'as it is'} | {' | '.join(told)} |")
    return lines


def main() -> None:
    """Print or write the table."""
    import onnxruntime

    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    both = [rows(name) for name in MODELS]
    text = HEAD.format(jax=jax.__version__, runtime=onnxruntime.__version__)
    text += "\n".join(line for first, _ in both for line in first) + "\n"
    text += WHY + PLAIN + "\n".join(line for _, second in both for line in second) + "\n"
    text += HALF + "\n".join(half_rows()) + "\n"
    if arguments.write:
        PAGE.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()

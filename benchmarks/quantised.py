"""Measure models quantised by qwix, and scans over layers: sizes, errors against JAX, and times in onnxruntime.

``python benchmarks/quantised.py`` prints two tables, with ``--write`` it puts them into docs/benchmarks.md.
Times are processor time of a process of one thread, so that other load of the machine counts less. All models take
turns.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import qwix
from flax import nnx
from parts import write_part

from jax2onnx import save_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TURNS = 15
LAYERS = 8
WORDS, WIDTH = 1000, 256


class MLP(nnx.Module):
    """Two dense layers."""

    def __init__(self, rngs: nnx.Rngs, width: int = 1024) -> None:
        self.up = nnx.Linear(width, 4 * width, use_bias=False, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, use_bias=False, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Apply the layers."""
        return self.down(nnx.silu(self.up(x)))


class ConvNet(nnx.Module):
    """Four convolutions and a dense layer."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        sizes = (3, 64, 128, 128, 256)
        self.convs = nnx.List([nnx.Conv(a, b, (3, 3), rngs=rngs) for a, b in itertools.pairwise(sizes)])
        self.head = nnx.Linear(sizes[-1], 10, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Apply the layers."""
        for conv in self.convs:
            x = nnx.max_pool(nnx.relu(conv(x)), (2, 2), strides=(2, 2))
        return self.head(x.mean((1, 2)))


class Block(nnx.Module):
    """A block of a decoder."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norms = nnx.List([nnx.RMSNorm(WIDTH, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(8, WIDTH, decode=False, use_bias=False, rngs=rngs)
        self.mlp = MLP(rngs, WIDTH)

    def __call__(self, x: Any) -> Any:
        """Apply the layers."""
        x = x + self.attention(self.norms[0](x), mask=nnx.make_causal_mask(x[..., 0]))
        return x + self.mlp(self.norms[1](x))


class Decoder(nnx.Module):
    """A decoder without cache."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(WORDS, WIDTH, rngs=rngs)
        self.blocks = nnx.List([Block(rngs) for _ in range(LAYERS // 2)])
        self.head = nnx.Linear(WIDTH, WORDS, use_bias=False, rngs=rngs)

    def __call__(self, tokens: Any) -> Any:
        """Apply the layers."""
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def _positive(*shape: int) -> Callable[[int], Any]:
    """Return what draws a batch without ties: qwix puts the largest magnitude at one if it is negative."""
    return lambda n: np.random.default_rng(n).random((n, *shape)).astype(np.float32)


def _tokens(n: int) -> Any:
    return np.random.default_rng(n).integers(0, WORDS, (n, 16)).astype(np.int32)


MODELS: dict[str, tuple[Any, Any, Callable[[int], Any]]] = {
    "MLP": (MLP, ("B", 1024), _positive(1024)),
    "convnet": (ConvNet, ("B", 32, 32, 3), _positive(32, 32, 3)),
    "decoder": (Decoder, "int32[B,16]", _tokens),
}
RULES: dict[str, dict[str, Any] | None] = {
    "float32": None,
    "int8": {"weight_qtype": jnp.int8},
    "int4, tiles of 32": {"weight_qtype": jnp.int4, "tile_size": 32},
    "nf4, tiles of 32": {"weight_qtype": "nf4", "tile_size": 32},
    "w8a8": {"weight_qtype": jnp.int8, "act_qtype": jnp.int8},
}
VNNI = "onnxruntime-vnni"
"""The target for x86 processors with VNNI, as that of the page has it."""
OPS = ("dot_general", "conv_general_dilated", "einsum")


class Measured(NamedTuple):
    """What is known of one model in one form."""

    labels: tuple[str, ...]
    file: int
    stored: int
    floats: float
    error: float
    own: float
    session: Any
    inputs: dict[int, Any]
    jitted: Callable[[Any], Any] | None


def _stored(model: Any) -> tuple[int, int]:
    """Return the bytes of the weights of a model, and how many weights there are."""
    size = count = 0
    for leaf in jax.tree.leaves(nnx.state(model)):
        bits = 4 if "int4" in str(leaf.dtype) else 8 * leaf.dtype.itemsize
        size += leaf.size * bits // 8
        count += leaf.size
    return size, count


def _session(path: Path, folder: Path) -> tuple[Any, int]:
    """Return a session, and how many floats the model holds that onnxruntime makes of the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "loaded.onnx")
    onnxruntime.InferenceSession(path, options)
    loaded = onnx.load(options.optimized_model_filepath)
    floats = [i for i in loaded.graph.initializer if i.data_type == onnx.TensorProto.FLOAT]
    return session, sum(int(np.prod(i.dims)) for i in floats)


def _measured(
    labels: tuple[str, ...], model: Any, spec: Any, draw: Callable[[int], Any], folder: Path, **options: Any
) -> Measured:
    path = folder / "model.onnx"
    save_onnx(model, [spec], path, **options)
    session, floats = _session(path, folder)
    size, count = _stored(model)
    inputs = {n: draw(n) for n in (1, 16)}
    (name,) = [value.name for value in session.get_inputs()]
    expected = np.asarray(model(jnp.asarray(inputs[16])))
    error = float(np.abs(session.run(None, {name: inputs[16]})[0] - expected).max() / np.abs(expected).max())
    graph, state = nnx.split(model)
    jitted, own = None, 0.0
    if not options:
        jitted = jax.jit(lambda x: nnx.merge(graph, state)(x))  # noqa: PLW0108 - a module is no function
        compiled = np.asarray(jitted(jnp.asarray(inputs[16])))
        own = float(np.abs(compiled - expected).max() / np.abs(expected).max())
    feeds = {n: {name: x} for n, x in inputs.items()}
    return Measured(
        labels, path.stat().st_size, size, floats / count, error, own, session, feeds, None if options else jitted
    )


def _quantised(folder: Path, names: Sequence[str]) -> Iterator[Measured]:
    for name in names:
        make, spec, draw = MODELS[name]
        full = make(nnx.Rngs(0))
        full.eval()
        for rule, options in RULES.items():
            if name == "convnet" and rule not in {"float32", "w8a8"}:
                continue  # qwix quantises convolutions with both operands only
            model = full
            if options is not None:
                every = qwix.QuantizationRule(module_path=".*", op_names=OPS, **options)
                model = qwix.quantize_model(full, qwix.PtqProvider([every]), jnp.asarray(draw(1)))
            yield _measured((name, rule, "default"), model, spec, draw, folder)
            if rule.startswith("int"):
                yield _measured((name, rule, "round_activations"), model, spec, draw, folder, round_activations=True)
            if rule == "w8a8":
                yield _measured((name, rule, VNNI), model, spec, draw, folder, target=VNNI)


class Stack(nnx.Module):
    """Blocks of a decoder whose weights are stacked, in a scan."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        @nnx.split_rngs(splits=LAYERS)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def make(rngs: nnx.Rngs) -> Block:
            return Block(rngs)

        self.blocks = make(rngs)

    def __call__(self, x: Any) -> Any:
        """Apply the layers."""

        @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        def forward(block: Block, x: Any) -> Any:
            return block(x)

        return forward(self.blocks, x)


def _layers(folder: Path) -> Iterator[Measured]:
    stack = Stack(nnx.Rngs(0))
    stack.eval()
    for unrolled in (False, True):
        label = "one after the other" if unrolled else "scan"
        yield _measured((label,), stack, ("B", 16, WIDTH), _positive(16, WIDTH), folder, unroll_layers=unrolled)


def _times(all_measured: Sequence[Measured]) -> list[dict[int, tuple[float, float]]]:
    """Return for each model and batch the median times in onnxruntime and in JAX, taken by turns."""
    taken: list[dict[int, tuple[list[float], list[float]]]] = [{n: ([], []) for n in m.inputs} for m in all_measured]
    for turn in range(TURNS + 2):
        for one, times in zip(all_measured, taken, strict=True):
            for n, feed in one.inputs.items():
                start = time.process_time()
                one.session.run(None, feed)
                middle = time.process_time()
                if one.jitted is not None:
                    jax.block_until_ready(one.jitted(*feed.values()))
                if turn > 1:
                    times[n][0].append(middle - start)
                    times[n][1].append(time.process_time() - middle)
    return [{n: (statistics.median(a), statistics.median(b)) for n, (a, b) in times.items()} for times in taken]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * texts}{'---:|' * (len(head) - texts)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _render(quantised: Sequence[Measured], layers: Sequence[Measured]) -> Iterator[str]:
    yield "## Quantised models"
    yield ""
    yield "Written by `benchmarks/quantised.py`, in one run, by turns. Times are processor time of one thread; medians."
    yield ""
    yield "- *File* is its bytes over those of the weights as qwix holds them, scales included."
    yield "- *Floats* is how many float32 onnxruntime holds when it has loaded the file, for each weight."
    yield "- *Error* is the largest difference from the quantised model in JAX, over its largest magnitude."
    yield "- *JAX* is likewise the difference of JAX compiled as a whole from JAX as it is called. Where activations"
    yield "  are rounded (w8a8), a quotient next to a tie goes either way, and later layers enlarge the difference."
    yield "- *Batch of n* is in onnxruntime and, where it stands, in `jax.jit` of the quantised model, in ms."
    yield ""
    rows = []
    for one, times in zip(quantised, _times(quantised), strict=True):
        cells = [
            _ms(a) + (f" / {_ms(b)}" if one.jitted is not None else "") for a, b in (times[n] for n in sorted(times))
        ]
        own = f"{one.own:.1e}" if one.jitted is not None else ""
        file, floats = f"{one.file / one.stored:.3f}", f"{one.floats:.3f}"
        rows.append([*one.labels, f"{one.stored / 1e6:.2f}", file, floats, f"{one.error:.1e}", own, *cells])
    head = ("Model", "Rule", "Export", "weights, MB", "file", "floats", "error", "JAX", "batch of 1", "batch of 16")
    yield from _table(head, rows, 3)
    yield ""
    yield "## Scans over layers"
    yield ""
    yield f"{LAYERS} blocks of a decoder with stacked weights, of width {WIDTH} and 16 tokens; ms in onnxruntime."
    yield ""
    found = zip(layers, _times(layers), strict=True)
    rows = [[*one.labels, f"{one.error:.1e}", *(_ms(times[n][0]) for n in sorted(times))] for one, times in found]
    yield from _table(("Layers", "error", "batch of 1", "batch of 16"), rows, 1)


def main() -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--models", nargs="*", default=[*MODELS], choices=[*MODELS])
    options = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # qwix calls what flax is to drop
    with tempfile.TemporaryDirectory() as folder:
        quantised = list(_quantised(Path(folder), options.models))
        layers = list(_layers(Path(folder)))
        section = "\n".join(_render(quantised, layers))
    if not options.write:
        print(section)
        return
    write_part("quantised", section)


if __name__ == "__main__":
    main()

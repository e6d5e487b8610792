"""How well a model knows itself: do the times of all lines add up, and what does provenance cost?

    python scripts/inspection.py [--write]

Writes docs/coverage/inspection.md.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import onnx
import onnxruntime
from flax import nnx

from jax2onnx import to_onnx
from jax2onnx.checking.profile import profile
from jax2onnx.checking.runtime import Runner
from jax2onnx_examples.models.transformer import TransformerBlock

PAGE = Path(__file__).parents[1] / "docs" / "coverage" / "inspection.md"
HEAD = """# Times by line, and what provenance costs

Written by `python scripts/inspection.py --write` (`nox -s inspection`), with jax {jax}, onnx {onnx} and onnxruntime
{onnxruntime}. Each model is run 20 times under onnxruntime's profiler.

*Session* is the time of one run, as the profiler has it for the run as a whole. *Lines* is the sum over all lines of
the user's program, with what the session does between nodes. *Without a line* is the part of that which belongs to
none. *Provenance* is by how much the file grows by the lines and modules that nodes carry by default. The simulation
has no weights: it is nothing but nodes.

| Model | nodes | session, µs | lines, µs | difference | without a line | bytes | provenance |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


_SMALL = 10_000
"""Models of fewer bytes have hardly any weights."""


class Transformer(nnx.Module):
    """Twelve blocks."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.blocks = nnx.List([TransformerBlock(128, 4, 512, rngs=rngs) for _ in range(12)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the outputs."""
        for block in self.blocks:
            x = block(x)
        return x


class ConvNet(nnx.Module):
    """Convolutions, normalisation and a classifier."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        widths = (3, 32, 64, 64, 128)
        pairs = list(itertools.pairwise(widths))
        self.convs = nnx.List([nnx.Conv(a, b, (3, 3), rngs=rngs) for a, b in pairs])
        self.norms = nnx.List([nnx.BatchNorm(b, use_running_average=True, rngs=rngs) for _, b in pairs])
        self.head = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the outputs."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = nnx.max_pool(nnx.relu(norm(conv(x))), (2, 2), (2, 2))
        return self.head(x.mean(axis=(1, 2)))


class Recurrent(nnx.Module):
    """An LSTM over a sequence."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.rnn = nnx.RNN(nnx.OptimizedLSTMCell(64, 128, rngs=rngs))
        self.head = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the outputs."""
        return self.head(self.rnn(x)[:, -1])


def simulation(state: jax.Array) -> jax.Array:
    """Return the paths of particles that attract each other."""

    def step(carry: tuple[jax.Array, jax.Array], _: Any) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        place, speed = carry
        apart = place[:, None] - place[None]
        squared = (apart**2).sum(-1, keepdims=True) + 0.1
        force = -(apart / squared**1.5).sum(1)
        speed = speed + 0.01 * force
        place = place + 0.01 * speed
        return (place, speed), place

    return jax.lax.scan(step, (state, jnp.zeros_like(state)), None, length=200)[1]


def models() -> list[tuple[str, Any, list[Any]]]:
    """Return name, program and specs."""
    found = []
    for name, kind, spec in (
        ("12 blocks of a transformer", Transformer, (1, 64, 128)),
        ("convolutional network", ConvNet, (1, 64, 64, 3)),
        ("LSTM", Recurrent, (1, 50, 64)),
    ):
        module = kind(nnx.Rngs(0))
        module.eval()
        found.append((name, module, [spec]))
    return [*found, ("simulation in a scan", simulation, [(32, 3)])]


def noting(end: Callable[..., str], durations: list[float]) -> Callable[..., str]:
    """Return the method that ends a profile, and notes how long each run of the session was, as the file has it."""

    def call(self: Runner) -> str:
        file = end(self)
        events = json.loads(Path(file).read_text(encoding="utf-8"))
        durations[:] = [event["dur"] for event in events if event["name"] == "model_run"]
        return file

    return call


def main() -> None:
    """Measure, and write the page."""
    durations: list[float] = []
    Runner.end_profile = noting(Runner.end_profile, durations)  # type: ignore[method-assign]
    text = HEAD.format(jax=jax.__version__, onnx=onnx.__version__, onnxruntime=onnxruntime.__version__)
    worst_time = worst_size = 0.0
    for name, fn, inputs in models():
        model = to_onnx(fn, inputs)
        size = model.ByteSize()
        plain = to_onnx(fn, inputs, provenance="none").ByteSize()
        found = profile(model, runs=20)
        session = statistics.mean(durations[1:])
        lines = sum(found.lines.values())
        apart = abs(lines - session) / session
        grown = (size - plain) / plain
        without = found.lines.get("(none)", 0.0) / found.total
        worst_time = max(worst_time, apart)
        worst_size = max(worst_size, grown if model.graph.initializer and size > _SMALL else 0)
        row = f"| {name} | {len(model.graph.node)} | {session:.0f} | {lines:.0f} | {apart:.2%} | {without:.1%} "
        text += f"{row}| {size} | {grown:.2%} |\n"
    print(text.partition("| ---: |\n")[2])
    if "--write" in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    sys.exit(worst_time > 0.05 or worst_size > 0.03)


if __name__ == "__main__":
    main()

"""Export of big weights: the memory and the time that it takes, and the time that a copy of the file takes.

A chain of dense layers of 8192 by 8192 is exported from abstract parameters. Each way is a process of its own, and its
memory is counted from before its first import. Copies and exports alternate; the time is the median.

``python scripts/big_weights.py FOLDER`` measures in a folder, which needs about two and a half times the bytes, and
removes what it wrote. ``--gib 8`` is the size, ``--write`` makes docs/coverage/big-weights.md, ``--way`` picks ways.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "coverage" / "big-weights.md"
WIDTH = 8192
LAYER = WIDTH * WIDTH * 4
GIB = 2**30
ROUNDS = 3

WAYS = {
    "referenced": "safetensors in the folder of the model: referred to",
    "streamed": "safetensors in another folder: copied",
    "cast": "safetensors of bfloat16 for float32 parameters: cast",
    "transposed": "safetensors, transposed by the graph (equinox): rearranged",
    "memmaps": "flax.nnx module over numpy.memmap: copied",
    "orbax": "checkpoint of orbax, written in shards of 1024 rows: read shard by shard",
    "reading": "that checkpoint of orbax, which is compressed: read, and nothing written",
    "entries": "safetensors in another folder, two entries: copied once",
}


def status(key: str) -> int:
    """Return an entry of the process's status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def write_checkpoint(path: Path, layers: int, *, half: bool = False) -> None:
    """Write the layers as a safetensors file."""
    import numpy as np

    size = LAYER // 2 if half else LAYER
    dtype = "BF16" if half else "F32"
    header = {
        f"layers.{number}.kernel": {
            "dtype": dtype,
            "shape": [WIDTH, WIDTH],
            "data_offsets": [number * size, (number + 1) * size],
        }
        for number in range(layers)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64 + 56)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for number in range(layers):
            block = np.random.default_rng(number).random((WIDTH // 8, WIDTH), np.float32) / WIDTH
            data = (block.view(np.uint32) >> 16).astype(np.uint16) if half else block
            for part in range(8):
                file.write(np.roll(data, part).data)


def write_orbax(path: Path, layers: int) -> None:
    """Write the layers as a checkpoint of orbax, in shards."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("rows",))
    by_rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    tree: dict[str, Any] = {"layers": {}}
    for number in range(layers):
        kernel = np.random.default_rng(number).random((WIDTH, WIDTH), np.float32) / WIDTH
        tree["layers"][str(number)] = {"kernel": jax.device_put(kernel, by_rows)}
    checkpointer = ocp.PyTreeCheckpointer()
    checkpointer.save(path, tree)
    checkpointer.close()


def export(way: str, folder: Path, layers: int) -> None:
    """Export in a way."""
    import jax
    import numpy as np

    from jax2onnx import save_onnx

    if way == "reading":
        from jax2onnx.weights.orbax import read_orbax

        for array in read_orbax(folder / "orbax").values():
            for _ in array.parts() if array.parts is not None else [array.read()]:
                pass
        return
    inputs = [("B", WIDTH)]
    out = folder / "out"
    source = folder / f"{'half' if way == 'cast' else 'checkpoint'}.safetensors"
    if way == "transposed":
        import equinox as eqx

        def make() -> Any:
            keys = jax.random.split(jax.random.key(0), layers)
            return eqx.nn.Sequential([eqx.nn.Linear(WIDTH, WIDTH, use_bias=False, key=key) for key in keys])

        fn = eqx.filter_vmap(eqx.filter_eval_shape(make))
        save_onnx(
            fn, inputs, out / "m.onnx", weights=source, weight_names=lambda name: name.replace("weight", "kernel")
        )
        return
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self) -> None:
            rngs = nnx.Rngs(0)
            self.layers = nnx.List([nnx.Linear(WIDTH, WIDTH, use_bias=False, rngs=rngs) for _ in range(layers)])

        def __call__(self, x: Any) -> Any:
            for layer in self.layers:
                x = nnx.relu(layer(x))
            return x

    net = nnx.eval_shape(Net)
    match way:
        case "referenced":
            save_onnx(net, inputs, folder / "m.onnx", weights=source)
        case "memmaps":
            offset = 8 + int.from_bytes(source.open("rb").read(8), "little")
            for number, layer in enumerate(net.layers):
                layer.kernel = nnx.Param(np.memmap(source, np.float32, "r", offset + number * LAYER, (WIDTH, WIDTH)))
            save_onnx(net, inputs, out / "m.onnx")
        case "orbax":
            save_onnx(net, inputs, out / "m.onnx", weights=folder / "orbax")
        case "entries":
            entries = {"one": (net, inputs), "two": (net, [(1, WIDTH)])}
            save_onnx(entries, out, weights=source)
        case _:
            save_onnx(net, inputs, out / "m.onnx", weights=source)


def child(way: str, folder: Path, layers: int) -> None:
    """Export in a way; print the memory that it took, and the time without the imports."""
    start = status("VmRSS")
    import flax.nnx

    import jax2onnx.api
    import jax2onnx.weights.orbax

    del flax, jax2onnx
    began = time.perf_counter()
    export(way, folder, layers)
    seconds = time.perf_counter() - began
    print(json.dumps({"peak": status("VmHWM") - start, "seconds": seconds}))


def measured(way: str, folder: Path, layers: int) -> dict[str, float]:
    """Run a way in a process of its own."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    os.sync()  # what was written before is no business of this run
    program = [sys.executable, __file__, str(folder), "--child", way, "--layers", str(layers)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)  # noqa: S603 - this very file
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def copied(folder: Path) -> float:
    """Return the seconds of a copy of the checkpoint, by the operating system."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    os.sync()
    began = time.perf_counter()
    shutil.copyfile(folder / "checkpoint.safetensors", folder / "out" / "copy")
    return time.perf_counter() - began


def row(way: str, runs: list[dict[str, float]], copies: list[float], folder: Path) -> str:
    """Return a row of the table."""
    seconds = statistics.median(run["seconds"] for run in runs)
    copy = statistics.median(copies)
    peak = max(run["peak"] for run in runs) / GIB
    place = folder / "m.onnx" if way == "referenced" else folder / "out"
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    written = sum(file.stat().st_size for file in files) / GIB
    size = f"{written:.2f} GiB" if written > 0.01 else f"{written * 2**20:.0f} KiB"
    times = f"{seconds:.1f} s | {copy:.1f} s | {seconds / copy:.2f}"
    return f"| {WAYS[way]} | {peak:.2f} GiB | {times} | {size} | {len(runs)} |"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gib", type=float, default=8)
    parser.add_argument("--way", action="append", choices=WAYS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--child")
    parser.add_argument("--orbax", action="store_true")
    parser.add_argument("--layers", type=int)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.folder, given.layers)
        return
    if given.orbax:
        write_orbax((given.folder / "orbax").resolve(), given.layers)
        return
    layers = math.ceil(given.gib * GIB / LAYER)
    folder = given.folder / "big-weights"
    folder.mkdir()
    rows = []
    try:
        write_checkpoint(folder / "checkpoint.safetensors", layers)
        for way in given.way or WAYS:
            if way == "cast":
                write_checkpoint(folder / "half.safetensors", layers, half=True)
            if way in {"orbax", "reading"} and not (folder / "orbax").exists():
                environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
                program = [sys.executable, __file__, str(folder), "--orbax", "--layers", str(layers)]
                subprocess.run(program, check=True, env=environment)  # noqa: S603 - this very file
            runs, copies = [], []
            for _ in range(given.rounds):
                copies.append(copied(folder))
                runs.append(measured(way, folder, layers))
            rows.append(row(way, runs, copies, folder))
            print(rows[-1], flush=True)
            (folder / "half.safetensors").unlink(missing_ok=True)
    finally:
        shutil.rmtree(folder)
    if given.write:
        PAGE.write_text(page(rows, layers * LAYER / GIB), encoding="utf-8")


def page(rows: list[str], gib: float) -> str:
    """Return the page with the table; ways that were not measured now keep their rows."""
    found = {}
    for line in [*(PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []), *rows]:
        for what in WAYS.values():
            if line.startswith(f"| {what} |"):
                found[what] = line
    head = "| weights | memory | export | copy | export / copy | written | runs |\n" + "| --- " * 7 + "|"
    table = "\n".join(found[what] for what in WAYS.values() if what in found)
    return f"""# Memory and time of big weights

Written by `python scripts/big_weights.py FOLDER --write`. A chain of dense layers with {gib:.0f} GiB of float32 weights
is exported from abstract parameters. Memory is the peak of the process above what it had before its first import.
Beside the time of the export, without the imports, is that of a copy of the checkpoint by `shutil.copyfile`. Both are
medians of runs that alternate, on a machine that did other work too.

A checkpoint of orbax is compressed. tensorstore decompresses the next shards while one is written: what reading alone
takes has a row of its own.

{head}
{table}
"""


if __name__ == "__main__":
    main()

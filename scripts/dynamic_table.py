"""Write docs/coverage/dynamic.md: how many registered examples also run with a symbolic batch.

An example whose inputs are of fixed size gets a variant: the leading dimension of its first input, and of every other
input that has the same one, becomes the symbol B (if JAX refuses that, of the first input alone). Where JAX traces the
variant, it is exported once, put through onnx's full checker and compared with JAX at several batch sizes.

    python scripts/dynamic_table.py [--jobs 2] [--every 1]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import multiprocessing
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coverage" / "dynamic.md"
MARK = "<!-- written by scripts/size_zero.py -->"
"""Where the part of the page begins that another script writes."""
SYMBOL = "B"
SIZES = (1, 2, 5)
CHECKED = ("input_params", "inputs_as_nchw", "outputs_as_nchw", "constraints", "state", "training")
"""Options of an export that the comparison needs too."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one example: ``kind`` is ok, failed, refused by JAX, or why it has no variant."""

    context: str
    example: str
    kind: str
    error: str = ""


def batched(inputs: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield the variants of input specs with a symbolic batch."""
    shapes = [_shape(spec) for spec in inputs]
    if not shapes or not shapes[0] or not isinstance(shapes[0][0], int):
        return
    size = shapes[0][0]
    alike = [bool(shape) and shape[0] == size for shape in shapes]
    yield [_with_symbol(spec) if same else spec for spec, same in zip(inputs, alike, strict=True)]
    if sum(alike) > 1:
        yield [_with_symbol(inputs[0]), *inputs[1:]]


def _shape(spec: Any) -> tuple[Any, ...]:
    import jax

    if isinstance(spec, jax.ShapeDtypeStruct):
        return tuple(spec.shape)
    if type(spec) is tuple and all(isinstance(d, int | str) for d in spec):
        return spec
    if isinstance(spec, str) and spec.endswith("]"):
        dims = [d.strip() for d in spec.partition("[")[2].rstrip("]").split(",") if d.strip()]
        return tuple(int(d) if d.isdecimal() else d for d in dims)
    return ()


def _with_symbol(spec: Any) -> Any:
    import jax

    shape = (SYMBOL, *_shape(spec)[1:])
    if isinstance(spec, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(shape, spec.dtype)
    return f"{spec.partition('[')[0]}[{', '.join(map(str, shape))}]" if isinstance(spec, str) else shape


def run_example(index: int) -> Outcome | None:
    """Run the variant of the example at ``index`` of the registry; None if this jax lacks the example."""
    import jax
    from packaging.specifiers import SpecifierSet

    from jax2onnx.plugin.loader import load
    from jax2onnx.testing import static, x64

    example = list(load().examples())[index]
    if not SpecifierSet(example.requires_jax).contains(jax.__version__, prereleases=True):
        return None
    outcome = Outcome(example.context, example.name, "")
    if not isinstance(example.inputs, list | tuple):
        return dataclasses.replace(outcome, kind="no leading dimension")
    if static(example.inputs) != list(example.inputs):
        return dataclasses.replace(outcome, kind="symbolic already")
    kind = "no leading dimension"
    with x64(enabled=example.x64), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for inputs in batched(example.inputs):
            if not _traceable(example, inputs):
                kind = "refused by JAX"
                continue
            try:
                _compare(example, inputs)
            except Exception as problem:  # noqa: BLE001 - whatever goes wrong is what the table has to tell
                text = str(problem).strip().partition("\n")[0]
                return dataclasses.replace(outcome, kind="failed", error=f"{type(problem).__name__}: {text}")
            return dataclasses.replace(outcome, kind="ok")
    return dataclasses.replace(outcome, kind=kind)


def _traceable(example: Any, inputs: Sequence[Any]) -> bool:
    """Return whether JAX traces the example at a symbolic batch, and runs it at each size."""
    import jax

    from jax2onnx.frontend.open import open_callable
    from jax2onnx.frontend.specs import parse_inputs
    from jax2onnx.frontend.trace import trace
    from jax2onnx.plugin import loader as plugins
    from jax2onnx.plugin.opening import Opening
    from jax2onnx.testing import concrete

    options = {k: v for k, v in example.options.items() if k in {"input_params", "constraints"}}
    opening = {k: v for k, v in example.options.items() if k in {"training", "state"}}
    try:
        fn = example.make()
        opened = open_callable(fn, plugins.load().hook, Opening(**opening))
        parsed = parse_inputs(opened.signature or fn, inputs, **options)
        trace(opened, parsed, plugins.load().registry().facts)
        for size in SIZES:
            avals = [jax.ShapeDtypeStruct(concrete(s.aval.shape, {SYMBOL: size}), s.aval.dtype) for s in parsed.specs]
            jax.eval_shape(
                lambda *leaves: parsed.call(
                    lambda *a, **k: opened.function({**opened.params, **opened.state}, *a, **k), leaves
                ),
                *avals,
            )
    except Exception:  # noqa: BLE001 - JAX and the frameworks refuse in many ways
        return False
    return True


def _compare(example: Any, inputs: Sequence[Any]) -> None:
    import onnx

    from jax2onnx import check, to_onnx

    fn = example.make()
    model = to_onnx(fn, inputs, **example.options)
    onnx.checker.check_model(model, full_check=True)
    options = {k: v for k, v in example.options.items() if k in CHECKED}
    options |= {"rtol": example.rtol, "atol": example.atol}
    if example.values is not None:
        check(model, fn, inputs, values=example.values(), **options)
    if example.draw:
        check(model, fn, inputs, sizes=SIZES, kinds=("ordinary",), **options)


def render(outcomes: Sequence[Outcome], libraries: str) -> str:
    """Return the page."""
    counts = Counter(o.kind for o in outcomes)
    done = counts["ok"] + counts["failed"]
    lines = [
        "# Coverage: a symbolic batch for every example",
        "",
        "Written by `scripts/dynamic_table.py`: the leading dimension of each example's inputs becomes a symbol; where",
        "JAX traces that, the export must pass onnx's full checker and agree with JAX at batch sizes "
        + ", ".join(map(str, SIZES))
        + ".",
        f"With {libraries}.",
        "",
        (
            f"Of {done} examples whose shapes allow it, **{counts['ok']} convert and agree: "
            f"{counts['ok'] / max(done, 1):.1%}**."
        ),
        "",
        "| context | ok | failed | refused by JAX | symbolic already | no leading dimension |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    columns = ("ok", "failed", "refused by JAX", "symbolic already", "no leading dimension")
    for context in sorted({o.context for o in outcomes}):
        own = Counter(o.kind for o in outcomes if o.context == context)
        lines.append(f"| {context} | " + " | ".join(str(own[c]) for c in columns) + " |")
    failures = [f"- `{o.context}.{o.example}`: {o.error}" for o in outcomes if o.kind == "failed"]
    return "\n".join([*lines, *(["", "## Failures", "", *failures] if failures else [])]) + "\n"


def main() -> None:
    """Run every example's variant, write the page."""
    from jax2onnx.plugin.loader import load

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--every", type=int, default=1, help="run a part only, each so-manieth example; write no page")
    arguments = parser.parse_args()
    os.environ["JAX2ONNX_STRICT_PLUGINS"] = "1"
    indices = range(0, len(load().examples()), arguments.every)
    outcomes: list[Outcome] = []
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(arguments.jobs, maxtasksperchild=200))
        for done, outcome in enumerate(pool.imap(run_example, indices), start=1):
            outcomes += [outcome] if outcome is not None else []
            if done % 50 == 0:
                print(f"{done} of {len(indices)} examples", file=sys.stderr)
    page = render(outcomes, ", ".join(f"{name} {version(name)}" for name in ("jax", "flax", "onnxruntime")))
    if arguments.every == 1:
        _, mark, rest = PAGE.read_text(encoding="utf-8").partition(MARK)
        PAGE.write_text(f"{page}\n{mark}{rest}" if mark else page, encoding="utf-8")
    print(page)
    sys.exit(1 if any(o.kind == "failed" for o in outcomes) else 0)


if __name__ == "__main__":
    main()

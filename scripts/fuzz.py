"""Compare random variants of every registered example with JAX.

python scripts/fuzz.py --count 1000 --seed 7 --jobs 2        each failure is printed with the steps that still show it
python scripts/fuzz.py --again "lax.add | dtype(0, 'float16') | vmap((0,), 2)"      one variant
python scripts/fuzz.py --count 1000 --write                  remember the result for docs/robustness.md

A variant is an example and a few steps. A step changes the function, its inputs or the export: other dtypes and sizes,
symbolic dims, operands that are constants, transformations of JAX, control flow, ONNX functions, opsets, settings of
JAX, and a second example that takes the results of the first one. So every registered rule takes part.

Variants that JAX itself does not run are left out. A clear refusal (an error of the export that names the case) is
counted; anything else that is not agreement is a failure. Failures that were found and mended stand in ``FOUND`` and
are tests.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import itertools
import multiprocessing
import os
import random
import re
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx import check, onnx_function, to_onnx
from jax2onnx.errors import ConversionError, InvalidModelError
from jax2onnx.frontend.specs import parse_inputs
from jax2onnx.testing import cases, static, x64

sys.path.insert(0, str(Path(__file__).parent))
from robustness import Run, remember

ROOT = Path(__file__).parents[1]
FOUND = ROOT / "packages" / "jax2onnx-examples" / "tests" / "fuzz_found.txt"

DTYPES = ("float16", "bfloat16", "float32", "float32", "float64", "int8", "int32", "int64", "uint8", "uint32", "bool")
SIZES = (0, 1, 2, 3, 5, 7)
NUMBERS = (0, 1, -1, 2, 0.5, float("nan"), float("inf"))
OPSETS = tuple(range(18, 26))
SETTINGS: dict[str, Mapping[str, Any]] = {
    "x64": {"enable_x64": True},
    "strict": {"numpy_dtype_promotion": "strict", "numpy_rank_promotion": "raise"},
    "no_jit": {"disable_jit": True},
    "debug": {"debug_nans": True},
    "precise": {"default_matmul_precision": "float32"},
}
FINITE = ("ordinary", "large")
"""Kinds of inputs for derivatives: whether infinity times zero comes about depends on the order of products."""
_FAULT = "report it"
"""How the remedy of an error begins whose cause is a bug of ours, and no refusal."""
PER_PROCESS = 250
"""How many variants one process tries: JAX keeps what it compiled."""


class RefusedByJaxError(Exception):
    """JAX does not run the variant, or the step does not apply to it."""


@dataclass(frozen=True)
class Subject:
    """A function of flat inputs, and how it is exported.

    ``values`` are the inputs to compare on, for a function that is not defined for all; else they are drawn.
    ``dims`` are the sizes that stay symbolic. ``kinds`` are the kinds of inputs to draw.
    """

    fn: Callable[..., Any]
    specs: tuple[jax.ShapeDtypeStruct, ...]
    values: tuple[tuple[Any, ...], ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    dims: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ("ordinary", "large", "special")
    rtol: float | None = None
    atol: float | None = None

    @property
    def inputs(self) -> list[Any]:
        """The input specs for the export: a size of ``dims`` is a symbol."""
        return [_spec(spec, self.dims) if self.dims else spec for spec in self.specs]


def _spec(spec: jax.ShapeDtypeStruct, dims: tuple[int, ...]) -> Any:
    if not np.issubdtype(spec.dtype, np.generic) or not any(dim in dims for dim in spec.shape):
        return spec
    return f"{spec.dtype}[{','.join(f'D{dim}' if dim in dims else str(dim) for dim in spec.shape)}]"


Step = tuple[str, tuple[Any, ...]]


# Steps: each takes a subject and arguments, and returns another subject.


def dtype(subject: Subject, index: int, name: str) -> Subject:
    """Give an input another dtype."""
    specs = list(subject.specs)
    specs[index] = specs[index].update(dtype=jnp.dtype(name))
    return replace(subject, specs=tuple(specs), values=_no_values(subject))


def all_dtypes(subject: Subject, before: str, after: str) -> Subject:
    """Give all inputs of one dtype another one."""
    if all(spec.dtype != before for spec in subject.specs):
        raise RefusedByJaxError
    specs = (spec.update(dtype=jnp.dtype(after)) if spec.dtype == before else spec for spec in subject.specs)
    return replace(subject, specs=tuple(specs), values=_no_values(subject))


def size(subject: Subject, before: int, after: int) -> Subject:
    """Change a size, wherever it stands."""
    shapes = [tuple(after if dim == before else dim for dim in spec.shape) for spec in subject.specs]
    specs = tuple(spec.update(shape=shape) for spec, shape in zip(subject.specs, shapes, strict=True))
    return replace(subject, specs=specs, values=_no_values(subject))


def symbolic(subject: Subject, *sizes: int) -> Subject:
    """Return a subject of which some sizes are symbolic."""
    if not any(dim in sizes for spec in subject.specs for dim in spec.shape):
        raise RefusedByJaxError
    return replace(subject, dims=sizes, values=_no_values(subject))


def constant(subject: Subject, index: int, number: float) -> Subject:
    """Make an input a constant, all elements of which are one number."""
    spec = subject.specs[index]
    if not np.issubdtype(spec.dtype, np.generic):
        raise RefusedByJaxError
    with np.errstate(all="ignore"):
        array = jnp.asarray(np.full(spec.shape, number).astype(spec.dtype))
    fn = subject.fn

    def with_constant(*arrays: Any) -> Any:
        return fn(*arrays[:index], array, *arrays[index:])

    return replace(subject, fn=with_constant, specs=_without(subject.specs, index), values=_no_values(subject))


def vmap(subject: Subject, indices: tuple[int, ...], count: int) -> Subject:
    """Run over a leading axis of some inputs."""
    axes = tuple(0 if i in indices else None for i in range(len(subject.specs)))
    return _stacked(subject, jax.vmap(subject.fn, in_axes=axes), indices, count)


def scan(subject: Subject, count: int) -> Subject:
    """Run in the steps of a scan."""
    fn = subject.fn

    def scanned(*stacked: Any) -> Any:
        def step(carry: Any, arrays: Any) -> Any:
            return carry + 1, fn(*arrays)

        return lax.scan(step, 0, stacked)

    return _stacked(subject, scanned, tuple(range(len(subject.specs))), count)


def cond(subject: Subject, *, swapped: bool = False) -> Subject:
    """Run in a branch; the other one gives ones."""
    fn = subject.fn

    def other(*arrays: Any) -> Any:
        return jax.tree.map(jnp.ones_like, jax.eval_shape(fn, *arrays))

    def branched(predicate: Any, *arrays: Any) -> Any:
        return lax.cond(predicate, *((other, fn) if swapped else (fn, other)), *arrays)

    predicate = jax.ShapeDtypeStruct((), jnp.bool_)
    values = subject.values and tuple((np.bool_(flag), *row) for row in subject.values for flag in (False, True))
    return replace(subject, fn=branched, specs=(predicate, *subject.specs), values=values)


def loop(subject: Subject, index: int) -> Subject:
    """Run twice in a loop, the result taking the place of an input."""
    fn = subject.fn

    def looped(*arrays: Any) -> Any:
        def body(_: Any, value: Any) -> Any:
            result = fn(*arrays[:index], value, *arrays[index + 1 :])
            return jax.tree.leaves(result)[0]

        return lax.fori_loop(0, 2, body, arrays[index])

    return replace(subject, fn=looped)


def jit(subject: Subject) -> Subject:
    """Compile the function."""
    return replace(subject, fn=jax.jit(subject.fn))


def remat(subject: Subject) -> Subject:
    """Compute the function again for its gradient."""
    return replace(subject, fn=jax.checkpoint(subject.fn))


def function(subject: Subject) -> Subject:
    """Make the function an ONNX function, called twice."""
    marked = onnx_function(subject.fn, name="Variant")

    def both(*arrays: Any) -> Any:
        return marked(*arrays), marked(*arrays[::-1]) if _are_alike(arrays) else marked(*arrays)

    return replace(subject, fn=both)


def grad(subject: Subject, index: int) -> Subject:
    """Take the gradient of the sum of the results."""
    fn = subject.fn

    def total(*arrays: Any) -> Any:
        return sum(jnp.sum(jnp.real(leaf)) for leaf in jax.tree.leaves(fn(*arrays)) if _is_inexact(leaf))

    return replace(subject, fn=jax.grad(total, argnums=index), kinds=FINITE)


def jvp(subject: Subject, index: int) -> Subject:
    """Take the derivative along an input, beside the results."""
    fn = subject.fn

    def derived(*arrays: Any) -> Any:
        def along(array: Any) -> Any:
            return fn(*arrays[:index], array, *arrays[index + 1 :])

        return jax.jvp(along, (arrays[index],), (jnp.ones_like(arrays[index]),))

    return replace(subject, fn=derived, kinds=FINITE)


def then(subject: Subject, name: str) -> Subject:
    """Give the first result to another example, as its first input."""
    fn, second = subject.fn, subject_of(name)
    first = jax.tree.leaves(jax.eval_shape(fn, *subject.specs))[0]
    if second.values is not None or first.ndim != second.specs[0].ndim or first.dtype != second.specs[0].dtype:
        raise RefusedByJaxError
    count = len(subject.specs)
    pairs = zip(second.specs[0].shape, first.shape, strict=True)
    sizes = {before: after for before, after in pairs if before > 1}
    further = [s.update(shape=tuple(sizes.get(dim, dim) for dim in s.shape)) for s in second.specs[1:]]

    def both(*arrays: Any) -> Any:
        return second.fn(jax.tree.leaves(fn(*arrays[:count]))[0], *arrays[count:])

    if further and subject.values is not None:
        raise RefusedByJaxError
    return replace(subject, fn=both, specs=(*subject.specs, *further))


def opset(subject: Subject, number: int) -> Subject:
    """Export for an opset."""
    return replace(subject, options={**subject.options, "opset": number})


def plain(subject: Subject) -> Subject:
    """Export without fusions."""
    return replace(subject, options={**subject.options, "fusions": False})


def setting(subject: Subject, name: str) -> Subject:
    """Change settings of JAX."""
    return replace(subject, settings=(*subject.settings, name))


STEPS = (
    dtype, all_dtypes, size, symbolic, constant, vmap, scan, cond, loop, jit, remat, function, grad, jvp, then, opset,
    plain, setting,
)  # fmt: skip
BY_NAME: dict[str, Callable[..., Subject]] = {step.__name__: step for step in STEPS}


def _no_values(subject: Subject) -> None:
    """Refuse a step that would need other values than those that the example gives."""
    if subject.values is not None:
        raise RefusedByJaxError


def _without(items: tuple[Any, ...], index: int) -> tuple[Any, ...]:
    return (*items[:index], *items[index + 1 :])


def _stacked(subject: Subject, fn: Callable[..., Any], indices: tuple[int, ...], count: int) -> Subject:
    """Give inputs a leading axis."""
    if not indices:
        raise RefusedByJaxError
    specs = tuple(
        spec.update(shape=(count, *spec.shape)) if i in indices else spec for i, spec in enumerate(subject.specs)
    )
    values = None
    if subject.values is not None:
        values = tuple(
            tuple(jnp.stack([jnp.asarray(v)] * count) if i in indices else v for i, v in enumerate(row))
            for row in subject.values
        )
        if not count:
            raise RefusedByJaxError
    return replace(subject, fn=fn, specs=specs, values=values)


def _are_alike(arrays: Sequence[Any]) -> bool:
    return len({(array.shape, array.dtype) for array in arrays}) == 1


def _is_inexact(leaf: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact))


@functools.cache
def examples() -> dict[str, Any]:
    """Return the examples for the installed jax that take plain arrays and no options of their own."""
    found = [case.example for case in cases()]
    return {f"{example.context}.{example.name}": example for example in found if not example.options}


def subject_of(name: str) -> Subject:
    """Return an example as a subject, its symbolic dims at their static size."""
    example = examples()[name]
    with x64(enabled=example.x64):
        made = example.make()
    if isinstance(made, tuple):  # a module of linen and its variables
        made = functools.partial(made[0].apply, made[1])
    with x64(enabled=example.x64):
        parsed = parse_inputs(made, static(example.inputs))
        given = None if example.draw else tuple(tuple(jax.tree.leaves(list(row))) for row in example.values())
    settings = ("x64",) if example.x64 else ()

    def flat(*leaves: Any) -> Any:
        return parsed.call(made, leaves)

    specs = tuple(spec.aval for spec in parsed.specs)
    return Subject(flat, specs, given, settings=settings, rtol=example.rtol, atol=example.atol)


def drawn_step(subject: Subject, draw: random.Random, names: Sequence[str]) -> Step:
    """Draw a step for a subject."""
    inputs = range(len(subject.specs))
    dims = sorted({dim for spec in subject.specs for dim in spec.shape}) or [0]
    some = tuple(i for i in inputs if draw.random() < 0.7)
    index = draw.choice(inputs) if inputs else 0
    choices: dict[str, tuple[int, Callable[[], tuple[Any, ...]]]] = {
        "dtype": (2, lambda: (index, draw.choice(DTYPES))),
        "all_dtypes": (3, lambda: (str(subject.specs[index].dtype) if inputs else "", draw.choice(DTYPES))),
        "size": (4, lambda: (draw.choice(dims), draw.choice(SIZES))),
        "symbolic": (3, lambda: tuple(dim for dim in dims if dim > 1 and draw.random() < 0.6)),
        "constant": (2, lambda: (index, draw.choice(NUMBERS))),
        "vmap": (3, lambda: (some, draw.choice((0, 1, 2, 3)))),
        "scan": (1, lambda: (draw.choice((0, 1, 3)),)),
        "cond": (1, tuple),
        "loop": (1, lambda: (index,)),
        "jit": (1, tuple),
        "remat": (1, tuple),
        "function": (1, tuple),
        "grad": (2, lambda: (index,)),
        "jvp": (1, lambda: (index,)),
        "then": (5, lambda: (draw.choice(names),)),
        "opset": (1, lambda: (draw.choice(OPSETS),)),
        "plain": (1, tuple),
        "setting": (1, lambda: (draw.choice(list(SETTINGS)),)),
    }
    (name,) = draw.choices(list(choices), [weight for weight, _ in choices.values()])
    return name, choices[name][1]()


@dataclass(frozen=True)
class Variant:
    """An example and the steps that change it."""

    example: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        steps = (f"{name}({', '.join(map(repr, arguments))})" for name, arguments in self.steps)
        return " | ".join((self.example, *steps))

    @classmethod
    def read(cls, text: str) -> Variant:
        """Return the variant that a text describes."""
        example, *steps = text.split(" | ")
        found = []
        for step in steps:
            name, _, arguments = step.strip().partition("(")
            numbers = re.sub(r"\b(nan|inf)\b", r"'\1'", f"({arguments[:-1]},)") if arguments[:-1] else "()"
            values = ast.literal_eval(numbers)
            found.append((name, tuple(float(v) if v in ("nan", "inf") else v for v in values)))
        return cls(example.strip(), tuple(found))

    def subject(self) -> Subject:
        """Return what is exported.

        Raises:
            RefusedByJaxError: a step does not apply, or JAX does not accept its result.
        """
        subject = subject_of(self.example)
        for name, arguments in self.steps:
            subject = stepped(subject, name, arguments)
        return subject


def stepped(subject: Subject, name: str, arguments: tuple[Any, ...]) -> Subject:
    """Return the subject after a step.

    Raises:
        RefusedByJaxError: the step does not apply, or JAX does not accept its result.
    """
    try:
        with configured(subject):
            after = BY_NAME[name](subject, *arguments)
        with configured(after):
            wide = any(jax.dtypes.canonicalize_dtype(spec.dtype) != spec.dtype for spec in after.specs)
            results = jax.tree.leaves(jax.eval_shape(after.fn, *after.specs))
    except Exception as error:
        raise RefusedByJaxError from error
    elements = sum(leaf.size for leaf in [*results, *after.specs])
    if wide or not results or elements > 20_000:
        raise RefusedByJaxError
    return after


@contextlib.contextmanager
def configured(subject: Subject) -> Iterator[None]:
    """Configure JAX as the subject asks for."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(x64(enabled=False))
        for name in subject.settings:
            for key, value in SETTINGS[name].items():
                stack.enter_context(getattr(jax, key)(value))
        yield


def drawn(draw: random.Random, names: Sequence[str]) -> Variant:
    """Draw a variant of one to four steps."""
    name = draw.choice(names)
    steps: list[Step] = []
    subject = subject_of(name)
    for _ in range(draw.randint(1, 4)):
        step = drawn_step(subject, draw, names)
        with contextlib.suppress(RefusedByJaxError):
            subject = stepped(subject, *step)
            steps.append(step)
    return Variant(name, tuple(steps))


def outcome(variant: Variant) -> str:
    """Export a variant, compare it with JAX, and return what came of it: one line.

    It begins with ``agrees``, ``refused by JAX``, ``refused`` or ``FAILED``.
    """
    try:
        subject = variant.subject()
    except RefusedByJaxError:
        return "refused by JAX"
    with configured(subject):
        if not _runs(subject):
            return "refused by JAX"
        try:
            model = to_onnx(subject.fn, subject.inputs, **subject.options)
        except ConversionError as error:
            told = f"{type(error).__name__}: {_line(error)}"
            is_fault = isinstance(error, InvalidModelError) or (error.remedy or "").startswith(_FAULT)
            return f"FAILED: {told}" if is_fault else f"refused: {told}"
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding
            return f"FAILED: raw {type(error).__name__}: {_line(error)} {_place(error)}"
        try:
            tolerances = {"rtol": subject.rtol, "atol": subject.atol}
            check(model, subject.fn, subject.inputs, values=subject.values, kinds=subject.kinds, **tolerances)
        except Exception as error:  # noqa: BLE001 - as above
            if isinstance(error, ConversionError) or "nothing to compare with" in str(error):
                return "refused by JAX"  # at the sizes that check draws
            return f"FAILED: check: {type(error).__name__}: {' '.join(str(error).split())[:400]}"
    return "agrees"


def _runs(subject: Subject) -> bool:
    """Return whether JAX runs and compiles the function: a rule of shapes may accept what its definition then refuses.

    Symbolic dims are tried too: their arithmetic is JAX's.
    """
    try:
        arrays = [jax.random.key(0) if _is_key(s) else jnp.zeros(s.shape, s.dtype) for s in subject.specs]
        if all(array.shape == s.shape for array, s in zip(arrays, subject.specs, strict=True)):
            subject.fn(*arrays)
        jax.jit(subject.fn).lower(*subject.specs)
    except Exception:  # noqa: BLE001 - of JAX or of the example, in any form
        return False
    return True


def _is_key(spec: jax.ShapeDtypeStruct) -> bool:
    return bool(jnp.issubdtype(spec.dtype, jax.dtypes.prng_key))


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _place(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"({Path(frame.filename).name}:{frame.lineno})"


def shrunk(variant: Variant, told: str) -> Variant:
    """Leave out the steps without which the variant fails in the same way."""
    kind = told.split(":")[:2]
    for index in reversed(range(len(variant.steps))):
        smaller = Variant(variant.example, _without(variant.steps, index))
        if outcome(smaller).split(":")[:2] == kind:
            variant = smaller
    return variant


def run(seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """Try variants drawn from a seed; return how often each outcome came, and the failures."""
    warnings.simplefilter("ignore")
    draw = random.Random(seed)  # noqa: S311 - no secret
    names = list(examples())
    counts: Counter[str] = Counter()
    failures = []
    while sum(counts[kind] for kind in ("agrees", "refused", "FAILED")) < count:
        variant = drawn(draw, names)
        told = outcome(variant)
        counts[told.partition(":")[0]] += 1
        if told.startswith("refused:"):
            counts[f"  {told}"] += 1
        if told.startswith("FAILED"):
            small = shrunk(variant, told)
            failures.append(f"{small}\n    {outcome(small)}")
            print(failures[-1], flush=True)
    return counts, failures


def main() -> int:
    """Try variants as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--again", help="a variant to try, as it was printed")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if args.again:
        told = outcome(Variant.read(args.again))
        print(told)
        return told.startswith("FAILED")
    pieces = -(-args.count // PER_PROCESS)
    seeds = [args.seed * 100_000 + piece for piece in range(pieces)]
    counts: Counter[str] = Counter()
    failures: list[str] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        for found, failed in pool.map(run, seeds, itertools.repeat(min(args.count, PER_PROCESS))):
            counts += found
            failures += failed
    for kind, number in sorted(counts.items(), key=lambda pair: -pair[1]):
        print(f"{number:7} {kind}")
    total = sum(counts[kind] for kind in ("agrees", "refused", "FAILED"))
    if args.write:
        remember(Run("fuzz", args.seed, total, counts["agrees"], counts["refused"], counts["FAILED"]))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())

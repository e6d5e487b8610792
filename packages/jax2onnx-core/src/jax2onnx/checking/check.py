"""Check: run the exported model in onnxruntime and compare it with JAX, evaluated eagerly.

Dtypes and shapes must be equal, integers and booleans too; NaN must meet NaN and infinity the same infinity. The sign
of zero is free. Floats must agree within ``atol + rtol * |expected|``, with these defaults:

========  =======  ========
dtype     rtol     atol
========  =======  ========
float64   1e-11    1e-13
float32   2e-5     1e-6
float16   4e-3     1e-4
bfloat16  1.6e-2   1e-3
float8    2 eps    eps**2
========  =======  ========

Where a result does not, JAX itself decides what the inputs determine: it is evaluated again on inputs (and parameters)
moved by two units in the last place (multiples of one half stay: ties, poles and bounds lie there). An element that JAX
itself moves is *ill-conditioned*, and is accepted within a small multiple of that movement; the report counts such
elements. So a rounding difference before a threshold or a cancellation is no error, and a coarse formula for a
well-conditioned function is one.

JAX flushes subnormal numbers to zero on the CPU and onnxruntime does not: numbers below the smallest normal one are
equal.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from jax2onnx._compat import weak
from jax2onnx.checking.inputs import KINDS, Batch, draw, finfo, nudged
from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner, runtime_name
from jax2onnx.errors import CheckError, InputSpecError
from jax2onnx.frontend.open import open_callable
from jax2onnx.frontend.specs import Inputs, parse_inputs
from jax2onnx.lowering import channels
from jax2onnx.output.names import state_of
from jax2onnx.plugin import loader as plugins
from jax2onnx.plugin.opening import Opened, Opening
from jax2onnx.program.represent import represented
from jax2onnx.program.shapes import to_channels_first

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

Array = np.ndarray[Any, Any]

TOLERANCES = {
    "float64": (1e-11, 1e-13),
    "float32": (2e-5, 1e-6),
    "float16": (4e-3, 1e-4),
    "bfloat16": (1.6e-2, 1e-3),
}
"""rtol and atol of each float dtype."""

_NUDGES = 4
_SLACK = 16.0
"""How many times JAX's own movement an ill-conditioned element may be off."""


@dataclass(frozen=True, slots=True)
class OutputReport:
    """How one output compared, over all batches.

    Attributes:
        name: the output's name.
        dtype: its dtype.
        max_abs: the largest absolute difference of finite elements.
        max_rel: the largest difference relative to the expected value, where that exceeds the absolute tolerance.
        ill_conditioned: how many elements were accepted only because JAX itself moves there.
    """

    name: str
    dtype: str
    max_abs: float
    max_rel: float
    ill_conditioned: int


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was compared, and how closely it agreed."""

    runtime: str
    batches: tuple[str, ...]
    outputs: tuple[OutputReport, ...]

    def __str__(self) -> str:
        lines = [f"agrees with JAX in {self.runtime}"]
        lines += [f"  on {batch}" for batch in self.batches]
        for o in self.outputs:
            line = f"  {o.name}: {o.dtype}, largest difference {o.max_abs:.2g} (relative {o.max_rel:.2g})"
            lines.append(line + (f", {o.ill_conditioned} ill-conditioned elements" if o.ill_conditioned else ""))
        return "\n".join(lines)


def check(
    model: onnx.ModelProto | str | os.PathLike[str],
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    values: Sequence[Any] | None = None,
    sizes: Sequence[int] | Sequence[Mapping[str, int]] | None = None,
    input_params: Mapping[str, Any] | None = None,
    inputs_as_nchw: Sequence[str] | bool = (),
    outputs_as_nchw: Sequence[str] | bool = (),
    constraints: Sequence[str] = (),
    state: Literal["drop", "io"] = "drop",
    training: bool = False,
    rtol: float | None = None,
    atol: float | None = None,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
) -> CheckReport:
    """Run an exported model in onnxruntime and compare it with JAX.

    Args:
        model: the model, or the path of one.
        fn: what was exported.
        inputs: the specs it was exported with; those that are concrete arrays are compared on, besides what is drawn.
        values: batches to compare on instead of drawn ones: each is a sequence with one (pytree of) array(s) per
            argument, or a mapping of keyword arguments.
        sizes: sizes of the symbolic dims, e.g. ``(1, 3, 7)`` (the default) or ``[{'B': 2, 'T': 5}]``.
        input_params: as ``to_onnx`` got them.
        inputs_as_nchw: as ``to_onnx`` got it.
        outputs_as_nchw: as ``to_onnx`` got it.
        constraints: as ``to_onnx`` got them.
        state: as ``to_onnx`` got it; with ``'io'`` the model steps from the state that ``fn`` has now, and its new
            state is compared too.
        training: as ``to_onnx`` got it.
        rtol: relative tolerance instead of the dtype's.
        atol: absolute tolerance instead of the dtype's.
        kinds: the kinds of inputs to draw, of ``ordinary``, ``large`` and ``special``.
        seed: seed of the drawn inputs.

    Returns:
        What was compared, and how closely it agreed.

    Raises:
        CheckError: they disagree, or onnxruntime refuses the model; the message shows the worst element.
        InputSpecError: an argument is not of an accepted form.
    """
    opened = open_callable(fn, plugins.load().hook, Opening(training=training, state=state))
    parsed = parse_inputs(opened.signature or fn, inputs, input_params=input_params, constraints=constraints)
    runner, stepped = _runner(model, parsed, opened.state)
    comparison = _Comparison(opened, parsed, stepped, (inputs_as_nchw, outputs_as_nchw), (rtol, atol))
    if values is not None:
        batches = [_given(batch, parsed) for batch in values]
    else:
        batches = draw([s.aval for s in parsed.specs], sizes, constraints=constraints, kinds=kinds, seed=seed)
        if any(s.value is not None for s in parsed.specs):
            batches.insert(0, _with_concrete(batches[0], parsed))
    if not batches:
        raise InputSpecError("values: give at least one batch, or leave it out to draw some")
    reports = [comparison.batch(runner, batch, f"{batch} (seed {seed})") for batch in batches]
    return CheckReport(
        runtime_name(), tuple(str(b) for b in batches), tuple(map(_together, zip(*reports, strict=True)))
    )


def allclose(
    model: onnx.ModelProto | str | os.PathLike[str], fn: Any, inputs: Sequence[Any] | Mapping[str, Any], **options: Any
) -> tuple[bool, str]:
    """As :func:`check`, returning whether they agree, and the report or the disagreement in words."""
    try:
        return True, str(check(model, fn, inputs, **options))
    except CheckError as error:
        return False, str(error)


def compare(
    expected: Sequence[Array],
    actual: Sequence[Array],
    names: Sequence[str],
    *,
    rtol: float | None = None,
    atol: float | None = None,
    nudge: Callable[[], Sequence[Sequence[Array]]] | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> list[OutputReport]:
    """Compare what JAX returned with what a model returned.

    Args:
        expected: JAX's results.
        actual: the model's results.
        names: names of the results.
        rtol: relative tolerance instead of the dtype's.
        atol: absolute tolerance instead of the dtype's.
        nudge: computes JAX's results on nudged inputs; called only where the tolerances do not hold.
        inputs: the inputs, for the message.

    Raises:
        CheckError: they disagree.
    """
    if len(expected) != len(actual):
        raise CheckError(f"JAX returns {len(expected)} arrays and the model {len(actual)}: {', '.join(names)}")
    moved: Sequence[Sequence[Array]] | None = None
    reports = []
    for index, (want, got, name) in enumerate(zip(expected, actual, names, strict=True)):
        if want.dtype != got.dtype or want.shape != got.shape:
            raise CheckError(
                f"{name}: JAX returns {want.dtype}{list(want.shape)}, the model {got.dtype}{list(got.shape)}"
            )
        relative, absolute = _tolerance(want.dtype, rtol, atol)
        off = _excess(want, got, relative, absolute)
        bad = off > 0
        if bad.any() and nudge is not None:
            moved = nudge() if moved is None else moved
            bad = bad & ~_ill_conditioned(want, got, [m[index] for m in moved])
        if bad.any():
            raise CheckError(
                _disagreement(name, want, got, np.where(bad, off, 0), allowed=(relative, absolute), inputs=inputs or {})
            )
        reports.append(_report(name, want, got, absolute, int((off > 0).sum())))
    return reports


def _tolerance(dtype: np.dtype[Any], rtol: float | None, atol: float | None) -> tuple[float, float]:
    if not jax.numpy.issubdtype(dtype, np.inexact):
        return 0.0, 0.0
    info = finfo(dtype)
    eps = float(info.eps)
    relative, absolute = TOLERANCES.get(np.empty(0, dtype).real.dtype.name, (2 * eps, eps**2))
    absolute = absolute if atol is None else atol
    return relative if rtol is None else rtol, max(absolute, float(info.tiny))


def _wide(array: Array) -> Array:
    """The numbers in a dtype in which differences are exact enough."""
    if jax.numpy.issubdtype(array.dtype, np.complexfloating):
        return array.astype(np.complex128)
    if jax.numpy.issubdtype(array.dtype, np.floating):
        return array.astype(np.float64)
    return array.astype(object) if array.dtype.itemsize >= 8 else array.astype(np.int64)


def _difference(a: Array, b: Array) -> Array:
    """The distance of each pair of elements: 0 if both are NaN or the same infinity, infinite if only one is."""
    x, y = _wide(a), _wide(b)
    if x.dtype.kind not in "fc":
        return np.asarray(np.abs(x - y), np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(x - y)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    return np.where(same, 0.0, np.where(np.isfinite(x) & np.isfinite(y), distance, np.inf))


def _excess(want: Array, got: Array, rtol: float, atol: float) -> Array:
    """How far each element is beyond its tolerance; 0 within it."""
    distance = _difference(want, got)
    if not rtol and not atol:
        return distance
    size = np.abs(_wide(want))
    allowed = atol + rtol * np.where(np.isfinite(size), size, 0)
    return np.where(distance > allowed, distance, 0.0)


def _ill_conditioned(want: Array, got: Array, moved: Sequence[Array]) -> Array:
    """Tell where JAX itself moves, on nudged inputs, by a good part of the difference (or to another special value)."""
    if any(m.shape != want.shape for m in moved):
        return np.zeros(want.shape, bool)
    movement = functools.reduce(np.maximum, (_difference(want, m) for m in moved), np.zeros(want.shape))
    return (movement > 0) & (_difference(want, got) <= _SLACK * movement)


def _report(name: str, want: Array, got: Array, atol: float, ill_conditioned: int) -> OutputReport:
    distance = _difference(want, got)
    finite = np.isfinite(distance)
    distance = np.where(finite, distance, 0.0)
    size = np.asarray(np.abs(_wide(want)), np.float64)
    relevant = np.isfinite(size) & (size > atol)
    relative = np.where(relevant, distance, 0.0) / np.where(relevant, size, 1.0)
    return OutputReport(
        name, str(want.dtype), float(distance.max(initial=0)), float(relative.max(initial=0)), ill_conditioned
    )


def _together(reports: Sequence[OutputReport]) -> OutputReport:
    return OutputReport(
        reports[0].name,
        reports[0].dtype,
        max(r.max_abs for r in reports),
        max(r.max_rel for r in reports),
        sum(r.ill_conditioned for r in reports),
    )


def _disagreement(
    name: str, want: Array, got: Array, excess: Array, *, allowed: tuple[float, float], inputs: Mapping[str, Any]
) -> str:
    rtol, atol = allowed
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(excess)), want.shape))
    lines = [
        f"{name}: {int((excess > 0).sum())} of {want.size} elements differ; the worst is {name}{list(worst)}:",
        f"  JAX:   {want[worst]!s}",
        f"  model: {got[worst]!s}   (allowed: {atol:.2g} + {rtol:.2g} * |JAX|)",
    ]
    lines += [
        f"  input {label}{list(worst)}: {array[worst]!s}"
        for label, array in inputs.items()
        if array.shape == want.shape and worst
    ]
    lines += [f"  input {label}: {array!s}" for label, array in inputs.items() if array.size == 1]
    return "\n".join(lines)


class _Comparison:
    """JAX's side: a pure function with its parameters, how to call it, and how the model has what it takes and gives.

    Args:
        opened: the function.
        inputs: its inputs.
        stepped: names of the state that the model takes and gives, in its order.
        images: which inputs and outputs the model has channels-first.
        tolerances: rtol and atol; None for those of the dtype.
    """

    def __init__(
        self,
        opened: Opened,
        inputs: Inputs,
        stepped: Sequence[str],
        images: tuple[Sequence[str] | bool, Sequence[str] | bool],
        tolerances: tuple[float | None, float | None],
    ) -> None:
        self._opened = opened
        self._params = {**opened.params, **opened.state}
        self._inputs = inputs
        self._stepped = stepped
        self._images = images
        self._rtol, self._atol = tolerances

    def _evaluate(self, params: Mapping[str, Any], arrays: Sequence[Any], names: Sequence[str]) -> list[Array]:
        leaves = [_like(s.aval, a) for s, a in zip(self._inputs.specs, arrays, strict=True)]
        result = self._inputs.call(functools.partial(self._opened.function, params), leaves)
        after: Mapping[str, Any] = {}
        if self._opened.state:
            result, after = result
        own = _bordered("outputs_as_nchw", self._images[1], names, jax.tree_util.tree_leaves(result))
        return own + [plain(after[n]) for n in self._stepped]

    def _feeds(self, arrays: Sequence[Any], names: Sequence[str]) -> list[Array]:
        own = _bordered("inputs_as_nchw", self._images[0], names, [jax.numpy.asarray(a) for a in arrays])
        return own + [plain(self._params[n]) for n in self._stepped]

    def _nudged(self, arrays: Sequence[Any], names: Sequence[str], seed: int) -> list[Array]:
        held = self._params.values()
        moved = map(_like, held, nudged(list(map(_array, held)), seed))
        params = dict(zip(self._params, moved, strict=True))
        return self._evaluate(params, list(nudged(arrays, seed)), names)

    def batch(self, runner: Runner, batch: Batch, label: str) -> list[OutputReport]:
        """Compare on one batch."""
        expected = self._evaluate(self._params, batch.arrays, runner.output_names)
        feeds = self._feeds(batch.arrays, runner.input_names)
        try:
            actual = runner.run(feeds)
        except RUNTIME_ERRORS as error:
            raise CheckError(f"onnxruntime cannot run the model on {label}: {error}") from error
        try:
            return compare(
                expected,
                actual,
                runner.output_names,
                rtol=self._rtol,
                atol=self._atol,
                nudge=lambda: [self._nudged(batch.arrays, runner.output_names, k) for k in range(_NUDGES)],
                inputs=dict(zip(runner.input_names, feeds, strict=True)),
            )
        except CheckError as error:
            raise CheckError(f"the model disagrees with JAX on {label}\n{error}") from None


def _like(spec: Any, array: Any) -> jax.Array:
    """Return an array of JAX whose type is weak, as a Python scalar's is, if that of ``spec`` is."""
    value = jax.numpy.asarray(array)
    return weak(value) if getattr(spec, "weak_type", False) else value  # numpy's arrays have none


def _array(value: Any) -> Any:
    return value if jax.numpy.issubdtype(jax.numpy.asarray(value).dtype, jax.dtypes.extended) else np.asarray(value)


def plain(value: Any) -> Array:
    """Return an array as a model sees it: a random key is its words, a complex number two reals."""
    return represented(value)


def _bordered(option: str, images: Sequence[str] | bool, names: Sequence[str], arrays: Sequence[Any]) -> list[Array]:  # noqa: FBT001
    """Return arrays of the program as the model has them."""
    ranks = [(name, jax.numpy.ndim(array)) for name, array in zip(names, arrays, strict=False)]
    flags = channels.chosen(option, images, ranks)
    own = [plain(a) for a in arrays]
    for i, (array, image) in enumerate(zip(arrays, flags, strict=False)):
        if image:
            own[i] = np.ascontiguousarray(own[i].transpose(to_channels_first(array.ndim, own[i].ndim)))
    return own


def _runner(
    model: onnx.ModelProto | str | os.PathLike[str], inputs: Inputs, state: Mapping[str, Any]
) -> tuple[Runner, list[str]]:
    """Load the model; return also the names of the state that it takes after the inputs."""
    try:
        runner = Runner(model)
    except RUNTIME_ERRORS as error:
        raise CheckError(f"onnxruntime cannot load the model: {error}") from error
    stepped = [state_of(n, state) for n in runner.input_names[len(inputs.specs) :]]
    if len(runner.input_names) < len(inputs.specs) or not set(stepped) <= state.keys():
        raise CheckError(
            f"the model has the inputs {', '.join(runner.input_names)}; "
            f"the specs describe {', '.join(s.name for s in inputs.specs)}"
            + ("" if state else " (pass state='io' if it was exported so)")
        )
    return runner, stepped


def _with_concrete(batch: Batch, inputs: Inputs) -> Batch:
    arrays = [a if s.value is None else s.value for s, a in zip(inputs.specs, batch.arrays, strict=True)]
    return Batch("given", batch.sizes, tuple(arrays))


def _given(batch: Any, inputs: Inputs) -> Batch:
    if isinstance(batch, str) or not isinstance(batch, Sequence | Mapping):
        raise InputSpecError("values: expected batches, each a sequence with one entry per argument, or a mapping")
    leaves = jax.tree_util.tree_leaves(batch if isinstance(batch, Mapping) else list(batch))
    if len(leaves) != len(inputs.specs):
        raise InputSpecError(f"values: a batch has {len(leaves)} arrays; there are {len(inputs.specs)} inputs")
    arrays = []
    for leaf, spec in zip(leaves, inputs.specs, strict=True):
        array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf, spec.aval.dtype)
        if len(array.shape) != len(spec.aval.shape) or array.dtype != spec.aval.dtype:
            raise InputSpecError(
                f"values: {spec.name} is {array.dtype}{list(array.shape)}, not {spec.aval.dtype}{list(spec.aval.shape)}"
            )
        arrays.append(array)
    return Batch("given", {}, tuple(arrays))

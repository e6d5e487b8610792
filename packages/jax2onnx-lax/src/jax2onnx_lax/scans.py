"""Lower ``scan``: to ``Scan`` where something is scanned, a counter included, else to ``Loop``.

An iteration of onnxruntime's ``Loop`` costs as much as a few small nodes, and more for each value that it carries; one
of ``Scan`` next to nothing. What no iteration changes is not carried, and a counter is scanned.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx.plugin import Const, has_zero, is_static, may_be_zero, scan_counts
from jax2onnx_lax.branches import choose, emit_loop, moving
from jax2onnx_lax.indexing import constant
from jax2onnx_lax.recurrent.layer import find_layer
from jax2onnx_lax.recurrent.operators import emit_operator
from jax2onnx_lax.shape import dim_scalar, expand, flip, may_be_negative
from jax2onnx_lax.unrolled import is_short

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import Atom, BoundLowerings, Eqn, LoweringContext
    from jax2onnx_lax.recurrent.layer import Layer
    from jax2onnx_lax.recurrent.operators import Run

_MOST_COUNTED = 2**12
"""Loops of up to this many iterations scan a constant; it is stored in the model."""


_WIDER = {"int4": np.dtype(np.int8), "uint4": np.dtype(np.uint8)}
"""Dtypes of 4 bits, and those in which runtimes slice them."""


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.table({"scan": scan})


def scan(
    ctx: LoweringContext,
    *operands: ir.Value,
    jaxpr: Any,
    length: Any,
    reverse: bool,
    unroll: Any = 1,
    num_consts: int = 0,
    num_carry: int = 0,
    ft_in: Any = None,
    ft_out: Any = None,
    _split_transpose: bool = False,
) -> Sequence[ir.Value]:
    """Lower ``scan`` to ``Scan``, or to ``Loop`` where nothing is scanned and no counter is known."""
    del num_consts, num_carry, ft_in, ft_out, unroll, _split_transpose
    constants, carries = scan_counts(ctx.eqn.params)
    consts, init, xs = operands[:constants], operands[constants : constants + carries], operands[constants + carries :]
    loop = _ScanLoop(ctx, jaxpr, consts, ctx.avals_out, carries=carries, length=length, reverse=reverse)
    layer = find_layer(ctx, loop.program, operands, (constants, carries), reverse=reverse)
    if layer is None:
        return _emit(loop, init, xs)
    plain = functools.partial(_plain, loop, layer, init, xs)
    return layer.results(emit_operator(ctx, layer.run, plain), init)


def _plain(loop: _ScanLoop, layer: Layer, init: Sequence[ir.Value], xs: Sequence[ir.Value]) -> list[ir.Value]:
    """Emit the results of a recurrent layer without its operator."""
    return scan_packed(loop.ctx, layer.run) if layer.is_full else layer.chosen(_emit(loop, init, xs))


def scan_packed(ctx: LoweringContext, run: Run) -> list[ir.Value]:
    """Emit what a recurrent operator returns as JAX computes it, from its packed parameters."""
    own = ctx.own()
    sums, *parameters = run.products(own)
    outputs = jax.ShapeDtypeStruct(tuple(run.shapes[1]), np.dtype(np.float32))
    init = run.carry or [own.op.Expand(own.constant(0, aval.dtype), own.shape(aval.shape)) for aval in run.state_avals]
    avals, count = [*run.state_avals, outputs], len(init)
    length = run.shapes[0][0]
    loop = _ScanLoop(own, run.step(), parameters, avals, carries=count, length=length, reverse=run.reverse)
    return list(_emit(loop, init, [sums]))[: len(run.avals)]


def _emit(loop: _ScanLoop, init: Sequence[ir.Value], xs: Sequence[ir.Value]) -> Sequence[ir.Value]:
    """Emit a loop in the way that suits its length, and what is scanned."""
    ctx, length = loop.ctx, loop.length
    # JAX takes a symbolic length to be at least 1, but a model also runs where it is 0.
    if has_zero(length):
        return loop.none(init)
    if is_static(length) and length == 1:
        return loop.once(init, xs)
    if not xs and not init:
        return loop.repeated()
    if loop.is_short():
        return loop.unrolled(init, xs)
    if not xs and not (is_static(length) and length <= _MOST_COUNTED):
        return loop.loop(init)
    if not may_be_zero(length):
        return loop.scan(init, xs)
    empty = ctx.op.LessOrEqual(ctx.dim(length), 0) if may_be_negative(length) else ctx.op.Equal(ctx.dim(length), 0)
    return choose(ctx, empty, lambda: loop.none(init), lambda: loop.scan(init, xs), avals=loop.avals)


class _ScanLoop:
    """The ways to emit one ``scan``: from initial carries and scanned inputs to carries and stacked outputs."""

    def __init__(
        self,
        ctx: LoweringContext,
        jaxpr: Any,
        consts: Sequence[ir.Value],
        avals: Sequence[Any],
        *,
        carries: int,
        length: Any,
        reverse: bool,
    ) -> None:
        self.ctx = ctx
        self.avals = avals
        self._jaxpr = jaxpr
        self._consts = consts
        self.length = length
        self._reverse = reverse
        self.program = ctx.program(jaxpr)
        self._carried = avals[:carries]
        self._scanned = [v.aval for v in self.program.inputs[len(consts) + carries :]]
        self.stacked = avals[carries:]
        self._moving = moving(self.program, len(consts), carries)

    def _body(self, carry: Sequence[ir.Value], xs: Sequence[ir.Value]) -> list[ir.Value]:
        return self.ctx.inline(self._jaxpr, *self._consts, *carry, *xs)

    def none(self, init: Sequence[ir.Value]) -> list[ir.Value]:
        """Emit what no iterations leave."""
        ctx = self.ctx
        return [*init, *[expand(ctx, ctx.constant(0, a.dtype), (), a.shape) for a in self.stacked]]

    def once(self, init: Sequence[ir.Value], xs: Sequence[ir.Value]) -> list[ir.Value]:
        """Inline the body of a single iteration."""
        ctx = self.ctx
        first = [ctx.reshape(x, (1, *a.shape), a.shape) for x, a in zip(xs, self._scanned, strict=True)]
        results = self._body(init, first)
        count = len(self._carried)
        ys = [ctx.reshape(y, a.shape[1:], a.shape) for y, a in zip(results[count:], self.stacked, strict=True)]
        return [*results[:count], *ys]

    def is_short(self) -> bool:
        """Return whether the steps take less time one after the other, without a loop."""
        counts = {"constants": len(self._consts), "carries": len(self._carried)}
        has_slices = not any(str(aval.dtype) in _WIDER for aval in self._scanned)
        return has_slices and is_short(self.program, self.length, **counts)

    def unrolled(self, init: Sequence[ir.Value], xs: Sequence[ir.Value]) -> list[ir.Value]:
        """Inline the body of each iteration after that of the one before."""
        ctx, count, state = self.ctx, len(self._carried), [*init]
        stacked: list[list[ir.Value]] = [[] for _ in self.stacked]
        steps = range(self.length)
        for step in reversed(steps) if self._reverse else steps:
            place = ctx.constant(np.asarray(step, np.int64))
            slices = [
                ctx.stamp(ctx.op.Gather(x, place, axis=0), a.shape) for x, a in zip(xs, self._scanned, strict=True)
            ]
            results = self._body(state, slices)
            state = results[:count]
            for several, y, aval in zip(stacked, results[count:], self.stacked, strict=True):
                several.append(ctx.reshape(y, aval.shape[1:], (1, *aval.shape[1:])))
        order = -1 if self._reverse else 1
        ys = [ctx.op.Concat(*several[::order], axis=0) for several in stacked]
        return [*state, *[ctx.stamp(y, aval.shape) for y, aval in zip(ys, self.stacked, strict=True)]]

    def repeated(self) -> list[ir.Value]:
        """Emit the body once where it depends on no iteration, and its results as often as there are iterations."""
        ctx = self.ctx
        repeated: list[ir.Value] = []
        for y, aval in zip(self._body([], []), self.stacked, strict=True):
            one = ctx.reshape(y, aval.shape[1:], (1, *aval.shape[1:]))
            repeated.append(ctx.stamp(ctx.op.Expand(one, ctx.shape(aval.shape)), aval.shape))
        return repeated

    def scan(self, init: Sequence[ir.Value], xs: Sequence[ir.Value]) -> list[ir.Value]:
        """Emit ``Scan``, which onnxruntime refuses to run on empty inputs."""
        ctx, count = self.ctx, len(self._carried)
        counted = self._counted(init)
        state = [place for place in self._moving if place not in counted]
        emitted = self._distinct_results()
        results = [*init]
        for place, numbers in counted.items():
            results[place] = ctx.constant(numbers[-1])
        if not state and not emitted:
            return results
        counters = [ctx.constant(numbers[:-1]) for numbers in counted.values()]
        if not xs and not counters:
            counters = [ctx.constant(np.zeros(self.length, np.bool_))]

        xs, sliced = self._sliced(xs)

        def body(values: list[ir.Value]) -> list[ir.Value]:
            inner = [*init]
            end = len(state) + len(xs)
            inputs = zip([*state, *counted], [*values[: len(state)], *values[end:]], strict=False)
            for place, value in inputs:
                inner[place] = value
            steps = zip(values[len(state) : end], self._scanned, strict=True)
            new = self._body(inner, [ctx.cast(x, aval.dtype) for x, aval in steps])
            written = [ctx.cast(new[count + k], self._dtype_in_scan(self.stacked[k].dtype)) for k in emitted]
            return [*[new[place] for place in state], *written]

        avals = [*[self._carried[place] for place in state], *sliced, *map(_element, counters)]
        scanned = [*xs, *counters]
        directions: dict[str, Any] = {}
        if self._reverse:
            directions["scan_input_directions"] = [*[1] * len(xs), *[0] * len(counters)]
            if emitted:
                directions["scan_output_directions"] = [1] * len(emitted)
        values = ctx.op.many(
            "Scan",
            *[init[place] for place in state],
            *scanned,
            outputs=len(state) + len(emitted),
            body=ctx.subgraph("scan", avals, body),
            num_scan_inputs=len(scanned),
            **directions,
        )
        for place, value in zip(state, values, strict=False):
            results[place] = ctx.stamp(value, self._carried[place].shape)
        stacked = [ctx.cast(y, self.stacked[k].dtype) for k, y in zip(emitted, values[len(state) :], strict=True)]
        ys = dict(zip(emitted, stacked, strict=True))
        outputs = self.program.outputs[count:]
        first = {output: k for k, output in reversed([*enumerate(outputs)])}
        return [*results, *[ys[first[output]] for output in outputs]]

    def _sliced(self, xs: Sequence[ir.Value]) -> tuple[Sequence[ir.Value], Sequence[Any]]:
        """Return the arrays that are scanned and what a step has of each: onnxruntime has no slices of 4 bits."""
        dtypes = [self._dtype_in_scan(aval.dtype) for aval in self._scanned]
        wide = [self.ctx.cast(x, dtype) for x, dtype in zip(xs, dtypes, strict=True)]
        sliced = [
            aval if aval.dtype == dtype else jax.ShapeDtypeStruct(aval.shape, dtype)
            for aval, dtype in zip(self._scanned, dtypes, strict=True)
        ]
        return wide, sliced

    def _dtype_in_scan(self, dtype: Any) -> Any:
        return dtype if self.ctx.target is None else _WIDER.get(str(dtype), dtype)

    def _distinct_results(self) -> list[int]:
        """Return the stacked results, of those that are the same value the first."""
        outputs = self.program.outputs[len(self._carried) :]
        return [k for k, output in enumerate(outputs) if output not in outputs[:k]]

    def _counted(self, init: Sequence[ir.Value]) -> dict[int, np.ndarray[Any, Any]]:
        """Return the carries to which each iteration adds the same number: what they are before each, and after all."""
        if not is_static(self.length) or self.length > _MOST_COUNTED:
            return {}
        makers: dict[Atom, Eqn] = {output: eqn for eqn in self.program.eqns for output in eqn.outputs}
        counted: dict[int, np.ndarray[Any, Any]] = {}
        for place in self._moving:
            first, aval = constant(init[place]), self._carried[place]
            maker = makers.get(self.program.outputs[place])
            if first is None or maker is None or aval.shape or aval.dtype.kind not in "iu":
                continue
            step = _increment(maker, self.program.inputs[len(self._consts) + place])
            if step is not None:
                bits = 8 * aval.dtype.itemsize
                numbers = [(int(first) + step * k) % 2**bits for k in range(int(self.length) + 1)]
                counted[place] = np.asarray(numbers, f"uint{bits}").astype(aval.dtype)
        return counted

    def loop(self, init: Sequence[ir.Value]) -> list[ir.Value]:
        """Emit ``Loop`` with a trip count, for a scan without scanned inputs."""
        ctx, count, state = self.ctx, len(self._carried), self._moving
        trips = ctx.stamp(dim_scalar(ctx, self.length), ())

        def step(values: list[ir.Value]) -> list[ir.Value]:
            _, going, *carry = values
            inner = [*init]
            for place, value in zip(state, carry, strict=True):
                inner[place] = value
            new = self._body(inner, [])
            return [going, *[new[place] for place in state], *new[count:]]

        start, avals = [init[place] for place in state], [self._carried[place] for place in state]
        values = emit_loop(ctx, (trips, None), start, avals, step, emitted=len(self.stacked))
        results = [*init]
        for place, value in zip(state, values, strict=False):
            results[place] = value
        return [*results, *map(self._in_order, values[len(state) :], self.stacked)]

    def _in_order(self, y: ir.Value, aval: Any) -> ir.Value:
        ctx = self.ctx
        if self._reverse:
            y = flip(ctx, y, [0])
        if not is_static(self.length) and not is_static(*aval.shape[1:]):
            # After no iteration at all onnxruntime takes the body's unknown dims for 0.
            y = ctx.op.Reshape(y, ctx.shape(aval.shape), allowzero=1)
        return y


def _element(values: ir.Value) -> Any:
    """Return the abstract value of an element of a vector."""
    assert values.dtype is not None
    return jax.ShapeDtypeStruct((), values.dtype.numpy())


def _increment(eqn: Eqn, variable: Atom) -> int | None:
    """Return the constant that an equation adds to a value, None if it does something else."""
    if eqn.primitive not in {"add", "sub"} or eqn.fused is not None:
        return None
    one, other = eqn.inputs
    if eqn.primitive == "add" and other is variable:
        one, other = other, one
    if one is not variable or not isinstance(other, Const):
        return None
    return int(other.value) if eqn.primitive == "add" else -int(other.value)

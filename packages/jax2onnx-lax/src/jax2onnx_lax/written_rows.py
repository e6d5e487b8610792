"""Stack what the steps of a scan write into an array at the counter, instead of carrying the array.

before: scan: i, x, path -> x = f(x); path[i] = x           each step copies the whole array
after:  scan: x -> x = f(x), x                              what is stacked is written once
        path = the rows that are stacked

before: scan: i, path -> path[i + 1] = f(path[i])           a step reads what the one before has written
after:  scan: last -> last = f(last), last
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import is_static, open_jaxpr, scan_counts
from jax2onnx_lax.apart import opened
from jax2onnx_lax.scan_steps import Step, Steps, Values, value_of

if TYPE_CHECKING:
    import jax

__all__ = ["stack_rows"]

_MOST_STEPS = 2**16
_Places: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
"""An integer of each step."""

_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "ge": np.greater_equal,
    "lt": np.less,
    "mul": np.multiply,
    "select_n": lambda which, *cases: np.choose(which, cases),
    "sub": np.subtract,
}
"""What indices are computed with."""
_KEEPING = frozenset({"broadcast_in_dim", "convert_element_type", "copy", "expand_dims", "reshape", "squeeze"})
"""What leaves one integer as it is."""


def stack_rows(eqn: Any) -> Callable[..., Any] | None:
    """Return the function that does the work of a ``scan`` without such arrays; None if it carries none.

    Args:
        eqn: the jaxpr's equation.
    """
    jaxpr, consts = open_jaxpr(eqn.params["jaxpr"])
    length = eqn.params["length"]
    if not is_static(length) or not 1 < length <= _MOST_STEPS or eqn.params["reverse"] or jaxpr.effects:
        return None
    if not any(one.primitive.name in _WRITES for one in jaxpr.eqns):
        return None
    constants, carries = scan_counts(eqn.params)
    body = Steps.of((jaxpr, consts), constants, carries, _opened)
    places = _known_places(body, eqn.invars, int(length))
    written = [found for number in body.carried() if (found := _written(body, jaxpr.invars, places, number))]
    return _Stacked(body, written, int(length)) if written else None


class _Nothing(NamedTuple):
    """A jaxpr that returns its operands."""

    invars: Sequence[Any]
    outvars: Sequence[Any]
    constvars: Sequence[Any] = ()
    eqns: Sequence[Any] = ()


def _opened(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Open calls, and what only makes a dtype weak."""
    if eqn.primitive.name == "convert_element_type" and eqn.invars[0].aval.dtype == eqn.outvars[0].aval.dtype:
        return _Nothing(eqn.outvars, eqn.outvars), ()
    return opened(eqn)


@dataclass(frozen=True, slots=True)
class _Written:
    """An array into which each step writes a row.

    Attributes:
        number: of the carried value.
        axis: along which the rows lie.
        places: which row each step writes, each another one.
        step: writes the row.
        row: the number of what is written, a literal as it is; it may lack the axis.
        reads: the steps that read a row, which the step before has written.
        first: which row the first step reads.
    """

    number: int
    axis: int
    places: _Places
    step: Step
    row: Any
    reads: Sequence[Step]
    first: int

    def read(self, row: jax.Array, step: Step) -> jax.Array:
        """Return what a step reads; ``gather`` drops the axis."""
        return lax.squeeze(row, [self.axis]) if step.name == "gather" else row

    def put(self, array: jax.Array, rows: jax.Array) -> jax.Array:
        """Return the array with the rows, which are stacked along the first axis, in their places."""
        axis, size, count = self.axis, array.shape[self.axis], len(self.places)
        rows = jnp.moveaxis(rows, 0, axis)
        start = int(self.places[0])
        if np.array_equal(self.places, np.arange(start, start + count)):
            before = lax.slice_in_dim(array, 0, start, axis=axis)
            after = lax.slice_in_dim(array, start + count, size, axis=axis)
            parts = [part for part in (before, rows, after) if part.shape[axis]]
            return lax.concatenate(parts, axis) if len(parts) > 1 else rows
        order = np.arange(size)
        order[self.places] = size + np.arange(count)
        return jnp.take(lax.concatenate([array, rows], axis), order, axis=axis, mode="clip")


def _known_places(body: Steps, operands: Sequence[Any], length: int) -> dict[int, _Places]:
    """Return the integers that are known for each step: counters, and what is computed of them."""
    makers = {number: step for step in body.steps for number in step.makes}
    known: dict[int, _Places] = {}
    for number, end in zip(body.carried(), body.results, strict=False):
        start, maker = operands[number], makers.get(end) if isinstance(end, int) else None
        if not hasattr(start, "val") or np.ndim(start.val) or maker is None or maker.name != "add":
            continue
        one, other = maker.reads
        step = other if one == number else one
        if number in maker.numbers() and hasattr(step, "val") and np.issubdtype(start.aval.dtype, np.signedinteger):
            counted = int(start.val) + int(step.val) * np.arange(length, dtype=np.int64)
            if abs(int(counted[-1])) < np.iinfo(start.aval.dtype).max:
                known[number] = counted
    for step in body.steps:
        found = _computed(step, known)
        if found is not None:
            known[step.makes[0]] = found
    return known


def _computed(step: Step, known: Mapping[int, _Places]) -> _Places | None:
    """Return the integer, or the condition, that each iteration computes of known ones; None if it does not."""
    if step.name not in _KEEPING and step.name not in _ARITHMETIC:
        return None
    if not all(_is_integer(v.aval) for v in (*step.eqn.invars, *step.eqn.outvars)):
        return None
    if any(isinstance(atom, int) and atom not in known for atom in step.reads):
        return None
    operands = [known[atom] if isinstance(atom, int) else np.asarray(atom.val, np.int64) for atom in step.reads]
    if step.name in _KEEPING:
        return operands[0] if len(operands) == 1 and np.ndim(operands[0]) else None
    result = np.asarray(_ARITHMETIC[step.name](*operands)).astype(np.int64)
    dtype = step.eqn.outvars[0].aval.dtype
    if dtype.kind == "i" and not np.array_equal(result.astype(dtype), result):
        return None  # it wraps around
    return result if result.ndim else None


def _is_integer(aval: Any) -> bool:
    """Return whether a value is one integer or condition."""
    return isinstance(aval.dtype, np.dtype) and aval.dtype.kind in "ib" and math.prod(aval.shape) == 1


def _written(body: Steps, variables: Sequence[Any], places: Mapping[int, _Places], number: int) -> _Written | None:
    """Return what is known of a carried value if each step does nothing with it but write and read rows so."""
    end = body.results[number - body.constants]
    users = [step for step in body.steps if number in step.numbers()]
    writers = [step for step in users if end in step.makes]
    ends = [atom for atom in body.results if isinstance(atom, int)]
    if len(writers) != 1 or ends.count(end) != 1 or number in ends or any(end in step.numbers() for step in body.steps):
        return None
    (writer,) = writers
    shape = variables[number].aval.shape
    found = _WRITES[writer.name](writer, shape) if writer.name in _WRITES and writer.reads[0] == number else None
    if found is None or writer.numbers().count(number) != 1 or not is_static(shape[found[0]]):
        return None
    axis, place, row = found
    written = places.get(place)
    if (
        written is None
        or len({*written.tolist()}) < len(written)
        or not 0 <= min(written) <= max(written) < shape[axis]
    ):
        return None
    reads = [step for step in users if step is not writer]
    read = [_read_at(step, number, axis, shape, places) for step in reads]
    if any(one is None or not np.array_equal(one[1:], written[:-1]) for one in read):
        return None
    firsts = {int(one[0]) for one in read if one is not None}
    if len(firsts) > 1:
        return None
    return _Written(number, axis, written, writer, row, reads, next(iter(firsts), 0))


def _read_at(step: Step, number: int, axis: int, shape: Sequence[Any], places: Mapping[int, _Places]) -> _Places | None:
    """Return which row each iteration reads, None if it reads anything else."""
    if step.name not in _READS or step.reads[0] != number or step.numbers().count(number) != 1:
        return None
    sizes = step.eqn.params["slice_sizes"]
    if sizes[axis] != 1 or (*sizes[:axis], *sizes[axis + 1 :]) != (*shape[:axis], *shape[axis + 1 :]):
        return None
    start = _READS[step.name](step, axis)
    found = places.get(start) if isinstance(start, int) else None
    # JAX moves a slice into the array, and fills a row that is not there.
    is_there = found is not None and 0 <= min(found) <= max(found) < shape[axis]
    return found if is_there else None


def _start_of_slice(step: Step, axis: int) -> Any:
    """Return the place that ``dynamic_slice`` reads along an axis."""
    return step.reads[1 + axis]


def _start_of_gather(step: Step, axis: int) -> Any:
    """Return the place that a ``gather`` of one row reads along an axis, None if it gathers anything else."""
    numbers = step.eqn.params["dimension_numbers"]
    is_row = (axis,) == tuple(numbers.collapsed_slice_dims) == tuple(numbers.start_index_map)
    is_one = step.eqn.invars[1].aval.shape == (1,) and not numbers.operand_batching_dims
    return step.reads[1] if is_row and is_one else None


_READS: Mapping[str, Callable[[Step, int], Any]] = {"dynamic_slice": _start_of_slice, "gather": _start_of_gather}


def _of_slices(step: Step, shape: Sequence[Any]) -> tuple[int, Any, Any] | None:
    """Return the axis, the number of the place and the row that ``dynamic_update_slice`` writes."""
    update = step.eqn.invars[1].aval.shape
    axes = [axis for axis, (size, own) in enumerate(zip(shape, update, strict=True)) if size != own]
    if len(axes) != 1 or update[axes[0]] != 1:
        return None
    # Along the other axes there is but one place for it.
    return axes[0], step.reads[2 + axes[0]], step.reads[1]


def _of_scatter(step: Step, shape: Sequence[Any]) -> tuple[int, Any, Any] | None:
    """Return the axis, the number of the place and the row that a ``scatter`` of one row writes."""
    numbers = step.eqn.params["dimension_numbers"]
    axes = tuple(numbers.inserted_window_dims)
    is_row = len(axes) == 1 and axes == tuple(numbers.scatter_dims_to_operand_dims)
    rank = len(shape) - 1
    if not is_row or numbers.operand_batching_dims or tuple(numbers.update_window_dims) != tuple(range(rank)):
        return None
    update = step.eqn.invars[2].aval.shape
    if step.eqn.invars[1].aval.shape != (1,) or update != (*shape[: axes[0]], *shape[axes[0] + 1 :]):
        return None
    return axes[0], step.reads[1], step.reads[2]


_WRITES: Mapping[str, Callable[[Step, Sequence[Any]], tuple[int, Any, Any] | None]] = {
    "dynamic_update_slice": _of_slices,
    "scatter": _of_scatter,
}


@dataclass(frozen=True, slots=True)
class _Stacked:
    """The function of a scan's operands that stacks the rows which the steps write."""

    body: Steps
    written: Sequence[_Written]
    length: int

    def __call__(self, *operands: jax.Array) -> list[jax.Array]:
        """Return the last carries, and the stacked results."""
        body = self.body
        shared = dict(enumerate(operands[: body.constants]))
        by_step: Values = {number: operands[number] for number in body.scanned()}
        arrays = {one.number: operands[one.number] for one in self.written}
        init = {number: operands[number] for number in body.carried() if number not in arrays}
        read = [one for one in self.written if one.reads]
        lasts = [lax.slice_in_dim(arrays[one.number], one.first, one.first + 1, axis=one.axis) for one in read]
        dropped = [step for one in self.written for step in (one.step, *one.reads)]
        rest = [step for step in body.steps if step not in dropped]

        def step(carry: tuple[list[Any], list[Any]], inputs: Values) -> tuple[Any, Any]:
            state, rows = carry
            given = {**shared, **dict(zip(init, state, strict=True)), **inputs}
            given |= {by.makes[0]: one.read(row, by) for one, row in zip(read, rows, strict=True) for by in one.reads}
            values = body.evaluate(rest, given)
            ends = [value_of(body.results[number - body.constants], values) for number in init]
            new = {one.number: _row(one, value_of(one.row, values), arrays[one.number].ndim) for one in self.written}
            stacked = [value_of(atom, values) for atom in body.results[body.carries :]]
            squeezed = [lax.squeeze(new[one.number], [one.axis]) for one in self.written]
            return (ends, [new[one.number] for one in read]), (squeezed, stacked)

        last, (rows, stacked) = lax.scan(step, ([*init.values()], lasts), by_step, self.length)
        results = dict(zip(init, last[0], strict=True))
        for one, several in zip(self.written, rows, strict=True):
            results[one.number] = one.put(arrays[one.number], several)
        return [*(results[number] for number in body.carried()), *stacked]


def _row(written: _Written, row: jax.Array, rank: int) -> jax.Array:
    """Return a row with the axis along which rows lie."""
    return row if row.ndim == rank else lax.expand_dims(row, [written.axis])

"""Do a while loop whose number of steps is known at conversion as a scan of so many steps.

before: while t < 1: t = t + 0.05; x = f(t, x)
after:  scan of 20 steps: t = t + 0.05; x = f(t, x)

What decides whether the loop goes on starts from known numbers, and no step makes it of others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax import lax

from jax2onnx.plugin import evaluate, is_static, open_jaxpr
from jax2onnx_lax.apart import opened
from jax2onnx_lax.hash_equations import bytes_of, is_jaxpr
from jax2onnx_lax.scan_steps import Step, Steps, Values, numbers_of, read_by

__all__ = ["literals_of", "scan_of_while"]

_MOST_COMPUTED = 2**12
"""So many equations are computed at conversion at most to count the steps of a loop."""
_MOST_BYTES = 2**10
"""What is computed of arrays of more bytes is not counted."""


def scan_of_while(eqn: Any, known: Mapping[int, Any]) -> Callable[..., Any] | None:
    """Return the function that does the work of a ``while`` in a known number of steps; None if it is not known.

    Args:
        eqn: the jaxpr's equation.
        known: the operands that depend on no input, by their positions; None for those that were not computed.
    """
    start = eqn.params["cond_nconsts"]
    end = start + eqn.params["body_nconsts"]
    condition, constants = open_jaxpr(eqn.params["cond_jaxpr"])
    jaxpr, _ = body = open_jaxpr(eqn.params["body_jaxpr"])
    if jaxpr.effects or condition.effects or condition.outvars[0].aval.shape:
        return None
    carries = len(jaxpr.invars) - (end - start)
    test = Steps.of((condition, constants), start, carries, opened)
    steps = Steps.of(body, end - start, carries, opened)
    operands = [range(start), range(start, end), range(end, end + carries)]
    length = _Count(test, steps, *operands).of(known)
    if length is None:
        return None

    def scan(*operands: Any) -> Sequence[Any]:
        def step(carry: list[Any], _: None) -> tuple[list[Any], None]:
            return list(evaluate(*body, *operands[start:end], *carry)), None

        init = list(operands[end:])
        return lax.scan(step, init, None, length)[0] if length else init

    return scan


def literals_of(eqn: Any) -> dict[int, Any]:
    """Return the operands of an equation that are literals, by their positions."""
    return {position: atom.val for position, atom in enumerate(eqn.invars) if hasattr(atom, "val")}


def _may_be_computed(step: Step) -> bool:
    """Return whether a step computes little, and calls nothing."""
    if step.name == "pure_callback" or any(map(is_jaxpr, step.eqn.params.values())):
        return False
    return all(is_static(*v.aval.shape) and bytes_of(v.aval) <= _MOST_BYTES for v in step.eqn.outvars)


class _Count:
    """Counts the steps of a loop by computing what decides whether it goes on."""

    def __init__(self, test: Steps, body: Steps, of_test: range, of_body: range, of_carries: range) -> None:
        """Note the steps of the condition and of the body, and which operands of the loop each of them reads."""
        self.test, self.body = test, body
        self.test_reads = [*of_test, *of_carries]
        self.body_reads = [*of_body, *of_carries]
        self.carries = of_carries

    def of(self, known: Mapping[int, Any]) -> int | None:
        """Return how many steps the loop has; None if that is not known, or takes long to count."""
        read = self._read(known)
        if read is None:
            return None
        deciding = [place for place, position in enumerate(self.carries) if position in read]
        test = self.test.needed(self.test.results)
        ends = [self.body.results[place] for place in deciding]
        step = self.body.needed(ends)
        if not all(map(_may_be_computed, (*test, *step))):
            return None
        arrays = {position: known[position] for position in read}
        if any(array is None for array in arrays.values()):
            return None
        most = _MOST_COMPUTED // max(len(test) + len(step), 1)
        count = 0
        try:
            while self._goes_on(test, arrays):
                if count == most:
                    return None
                values = self.body.evaluate(step, self._given(self.body_reads, arrays))
                numbers = [values[one] if isinstance(one, int) else one.val for one in ends]
                arrays.update(zip([self.carries[place] for place in deciding], numbers, strict=True))
                count += 1
        except NotImplementedError:
            # JAX computes no sizes of symbolic dims, nor primitives that another library only lowers.
            return None
        return count

    def _goes_on(self, test: Sequence[Step], arrays: Mapping[int, Any]) -> bool:
        (result,) = self.test.results
        values = self.test.evaluate(test, self._given(self.test_reads, arrays))
        return bool(values[result] if isinstance(result, int) else result.val)

    def _read(self, known: Mapping[int, Any]) -> set[int] | None:
        """Return the positions of the operands that decide; None if one of them is not known in all steps."""
        pending = self._inputs(self.test, self.test.results, self.test_reads)
        read: set[int] = set()
        while pending:
            position = pending.pop()
            if position in read:
                continue
            if position not in known:
                return None
            read.add(position)
            if position in self.carries:
                end = self.body.results[self.carries.index(position)]
                pending |= self._inputs(self.body, [end], self.body_reads)
        return read

    @staticmethod
    def _inputs(steps: Steps, wanted: Sequence[Any], positions: Sequence[int]) -> set[int]:
        """Return the positions of the operands of which wanted values are made."""
        numbers = numbers_of(wanted) | read_by(steps.needed(wanted))
        return {positions[number] for number in numbers if number < steps.inputs}

    @staticmethod
    def _given(positions: Sequence[int], arrays: Mapping[int, Any]) -> Values:
        """Return the known values of some inputs, by their numbers."""
        return {number: arrays[position] for number, position in enumerate(positions) if position in arrays}

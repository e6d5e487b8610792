"""Evaluate a program equation by equation, under several ways of rounding (:mod:`~jax2onnx.checking.rounding`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx._compat import Literal, open_jaxpr, scan_counts
from jax2onnx.program.flatten import called_jaxpr

if TYPE_CHECKING:
    from jax2onnx.checking.rounding import Rounding
    from jax2onnx.program.facts import FactTable

__all__ = ["Perturbed"]

_BUDGET = 4000
"""How many equations of loops are evaluated one by one. What a longer loop computes is changed as one equation's."""


@dataclass(slots=True)
class Perturbed:
    """A program of concrete shapes, to be evaluated under several ways of rounding.

    Attributes:
        facts: what is known of primitives.
        function: the program.
    """

    facts: FactTable
    function: Callable[..., Any]
    _traced: Any = None

    def call(self, rounding: Rounding, *arguments: Any) -> Any:
        """Return the results of the program, whose arguments have the same shapes in all calls.

        Scalar bools stay what they are while the program is traced: it may use them as Python bools.
        """
        leaves, tree = jax.tree_util.tree_flatten(arguments)
        is_fixed = [leaf.dtype == np.bool_ and not leaf.shape for leaf in leaves]
        given = [leaf for leaf, fixed in zip(leaves, is_fixed, strict=True) if not fixed]

        def flat(*values: Any) -> Any:
            rest = iter(values)
            merged = [leaf if fixed else next(rest) for leaf, fixed in zip(leaves, is_fixed, strict=True)]
            return self.function(*jax.tree_util.tree_unflatten(tree, merged))

        if self._traced is None:
            self._traced = jax.make_jaxpr(flat, return_shape=True)(*given)
        closed, shape = self._traced
        results = _Evaluation(self.facts, rounding).run(*open_jaxpr(closed), given)
        return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(shape), list(map(jnp.asarray, results)))


@dataclass(slots=True)
class _Evaluation:
    """One evaluation of a jaxpr, equation by equation.

    Attributes:
        facts: what is known of primitives.
        rounding: how equations round.
        left: how many equations of loops may still be evaluated one by one.
    """

    facts: FactTable
    rounding: Rounding
    left: int = _BUDGET

    def run(self, jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else values[atom]

        for eqn in jaxpr.eqns:
            results = self._results(eqn, list(map(read, eqn.invars)))
            values.update(zip(eqn.outvars, results, strict=True))
        return list(map(read, jaxpr.outvars))

    def _results(self, eqn: Any, operands: list[Any]) -> list[Any]:
        name = eqn.primitive.name
        facts = self.facts.of(name)
        called = called_jaxpr(eqn, facts)
        if called is not None:
            return self.run(*called, operands)
        if name in _STRUCTURED:
            found = _STRUCTURED[name](self, eqn.params, operands)
            if found is not None:
                return found
        steps = facts.steps(eqn) if facts.steps is not None else None
        if steps is not None:
            return self.run(*open_jaxpr(jax.make_jaxpr(steps)(*operands)), operands)
        return self.rounding.results(eqn, facts, operands)

    def _afford(self, jaxpr: Any, times: int) -> bool:
        """Return whether a body can be evaluated this many times, equation by equation."""
        cost = times * len(jaxpr.eqns)
        if cost > self.left:
            return False
        self.left -= cost
        return True

    def _cond(self, params: Any, operands: list[Any]) -> list[Any]:
        index, *rest = operands
        branches = params["branches"]
        chosen = branches[int(np.clip(int(index), 0, len(branches) - 1))]
        return self.run(*open_jaxpr(chosen), rest)

    def _while(self, params: Any, operands: list[Any]) -> list[Any] | None:
        condition, condition_consts = open_jaxpr(params["cond_jaxpr"])
        body, body_consts = open_jaxpr(params["body_jaxpr"])
        first = params["cond_nconsts"]
        second = first + params["body_nconsts"]
        outside, inside, carry = operands[:first], operands[first:second], operands[second:]
        if condition.outvars[0].aval.shape:
            return None  # a batch of loops, each with an end of its own
        while np.asarray(self.run(condition, condition_consts, outside + carry)[0]):
            if not self._afford(body, 1):
                return None
            carry = self.run(body, body_consts, inside + carry)
        return carry

    def _scan(self, params: Any, operands: list[Any]) -> list[Any] | None:
        body, consts = open_jaxpr(params["jaxpr"])
        length = params["length"]
        if not length or not self._afford(body, length):
            return None
        const_count, carry_count = scan_counts(params)
        fixed = operands[:const_count]
        carry = operands[const_count : const_count + carry_count]
        sequences = operands[const_count + carry_count :]
        steps = range(length - 1, -1, -1) if params["reverse"] else range(length)
        rows: list[list[Any]] = []
        for step in steps:
            elements = [sequence[step] for sequence in sequences]
            results = self.run(body, consts, fixed + carry + elements)
            carry = results[:carry_count]
            rows.append(results[carry_count:])
        if params["reverse"]:
            rows.reverse()
        stacked = [jnp.stack(list(map(jnp.asarray, column))) for column in zip(*rows, strict=True)]
        return carry + stacked


_STRUCTURED: dict[str, Callable[[_Evaluation, Any, list[Any]], list[Any] | None]] = {
    "cond": _Evaluation._cond,  # noqa: SLF001
    "scan": _Evaluation._scan,  # noqa: SLF001
    "while": _Evaluation._while,  # noqa: SLF001
}
"""Primitive -> its evaluation; None where it is one equation like any other."""

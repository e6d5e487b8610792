"""Where the sign of a zero changes a number: at a division by it, at its angle, at its bits.

onnxruntime's ``Where`` makes 0 of a -0 that it takes from its first choice, and its extrema return either zero. What
that costs to undo is spent only on values whose sign of zero comes to such a place; a result of the model is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jax2onnx.program.program import Const, Var

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.program.program import Atom, Eqn, Program

_TELLING = frozenset(
    {
        "atan2",
        "bitcast_convert_type",
        "digamma",
        "eq_to",
        "le_to",
        "lgamma",
        "lt_to",
        "polygamma",
        "pow",
        "rsqrt",
        "zeta",
    }
)
"""Primitives that turn zeros of different sign into different numbers."""

_BLIND = frozenset(
    {
        "abs",
        "acos",
        "conv_general_dilated",
        "cos",
        "cosh",
        "cumlogsumexp",
        "cumsum",
        "dot_general",
        "erfc",
        "exp",
        "exp2",
        "log",
        "logistic",
        "ragged_dot_general",
        "reduce_sum",
        "square",
    }
)
"""Primitives whose result does not depend on the sign of a zero, sums from zero among them."""

_FOLLOWED = frozenset({"Expand", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_NEVER_MINUS = frozenset({"Abs", "Exp", "Sigmoid", "Softmax"})


class SignsOfZero:
    """What is asked of one program, found out when it is first asked.

    Args:
        program: the program.
        open_up: yields the flat programs that a value of an equation's params, and the equation, stand for.
        outputs: tells whether the sign of a zero among the program's results matters to those who read them.
    """

    def __init__(
        self, program: Program, open_up: Callable[[Any, Eqn], Iterator[Program]], outputs: Callable[[], bool]
    ) -> None:
        self._program = program
        self._open_up = open_up
        self._outputs = outputs
        self._found: set[Var] | None = None

    def matter(self, eqn: Eqn) -> bool:
        """Tell whether the sign of a zero that the equation returns matters."""
        found = self._all()
        return any(v in found for v in eqn.outputs) or any(self.inside(p) for p in self._inner(eqn))

    def anywhere(self) -> bool:
        """Tell whether any sign matters."""
        return bool(self._all())

    def inside(self, program: Program) -> bool:
        """Tell whether any sign in an inner program matters, whatever becomes of its results."""
        return SignsOfZero(program, self._open_up, lambda: False).anywhere()

    def _all(self) -> set[Var]:
        if self._found is None:
            found: set[Var] = set()
            if self._outputs():
                _add(found, self._program.outputs)
            for eqn in reversed(self._program.eqns):
                _add(found, self._needed(eqn, reached=not found.isdisjoint(eqn.outputs)))
            self._found = found
        return self._found

    def _needed(self, eqn: Eqn, *, reached: bool) -> list[Atom]:
        """The operands whose sign of zero the equation turns into a number, or passes on to where one does."""
        name, inputs = eqn.primitive, eqn.inputs
        if name in _TELLING or eqn.paired is not None:
            return inputs
        if name in _BLIND:
            return []
        if name == "div":
            return inputs if reached else inputs[1:]
        if name == "integer_pow":
            even = eqn.params["y"] % 2 == 0
            return inputs if (eqn.params["y"] < 0 and not even) or (reached and not even) else []
        if name in {"add", "sub"} and any(_without_zero(a) for a in inputs):
            return []
        return inputs if reached or any(self.inside(p) for p in self._inner(eqn)) else []

    def _inner(self, eqn: Eqn) -> Iterator[Program]:
        for value in eqn.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                yield from self._open_up(part, eqn)


def _add(found: set[Var], atoms: list[Atom]) -> None:
    found.update(a for a in atoms if isinstance(a, Var) and jnp.issubdtype(a.aval.dtype, jnp.inexact))


def _without_zero(atom: Atom) -> bool:
    return isinstance(atom, Const) and bool(np.all(np.asarray(atom.value) != 0))


def may_be_minus_zero(value: ir.Value) -> bool:
    """Tell whether elements of a float may be -0, as far as its producers show."""
    while (node := value.producer()) is not None and node.op_type in _FOLLOWED and node.inputs[0] is not None:
        value = node.inputs[0]
    if value.const_value is not None:
        array = value.const_value.numpy()
        return bool(np.any((array == 0) & np.signbit(array)))
    if node is None:
        return True
    if node.op_type == "Cast":
        source = node.inputs[0]
        return source is None or source.dtype is None or source.dtype.is_floating_point()
    return node.op_type not in _NEVER_MINUS

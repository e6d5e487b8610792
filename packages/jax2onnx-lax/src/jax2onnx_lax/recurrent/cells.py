"""Recognise the cell of a recurrent layer in what is read of a loop's body, however it is written."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jax2onnx_lax.recurrent.layouts import widened
from jax2onnx_lax.recurrent.operators import GRU, GRU_RESET_EARLY, LSTM, RNN, Operator
from jax2onnx_lax.recurrent.terms import Atom, Linear, Source, Sum, UnlikeCellError, library_of

__all__ = ["Cell", "find_cell"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: what its operator is given.

    Attributes:
        operator: the operator.
        states: the positions, among what is carried, of what the operator carries; the last is its output.
        gates: the gates before their functions, in the order of the operator.
        late: what is multiplied by the reset gate in the last gate, where the operator has that apart.
        inputs: the vectors that are multiplied besides the state.
        state: the state that is multiplied.
        made: the state after it was reset, if that is what the last gate multiplies.
    """

    operator: Operator
    states: Sequence[int]
    gates: Sequence[Linear]
    late: Linear | None
    inputs: Sequence[Source]
    state: Source
    made: Source | None = None

    @property
    def is_full(self) -> bool:
        """Whether all gates multiply all elements of inputs and states by parameters, as the operator does."""
        for place, gate in enumerate(self.gates):
            state = self._state_of(place)
            over_state = gate if self.late is None or place < len(self.gates) - 1 else self.late
            if not gate.full.issuperset(self.inputs) or state not in over_state.full:
                return False
        return True

    def _state_of(self, place: int) -> Source:
        is_last = place == len(self.gates) - 1
        return self.made if is_last and self.made is not None else self.state

    def packed(self) -> list[Any]:
        """Return ``W``, ``R`` and ``B`` as the operator wants them: with one direction, and gates below each other."""
        size = self.state.size
        last = len(self.gates) - 1
        weights, recurrent, biases, late = [], [], [], []
        for place, gate in enumerate(self.gates):
            over_state = self.late if self.late is not None and place == last else gate
            weights.append(_concatenated([_matrix(gate, source, size) for source in self.inputs], 0))
            recurrent.append(_matrix(over_state, self._state_of(place), size))
            bias = _matrix(gate, None, size)[0]
            biases.append(bias)
            # Not a product with 0, which is NaN of an infinite bias.
            late.append(
                _matrix(over_state, None, size)[0] if over_state is not gate else library_of(bias).zeros_like(bias)
            )
        bias = _concatenated([*biases, *late], 0)
        return [_concatenated(weights, 1).T[None], _concatenated(recurrent, 1).T[None], bias[None]]


def _concatenated(arrays: Sequence[Any], axis: int) -> Any:
    return library_of(*arrays).concatenate(arrays, axis)


def _matrix(linear: Linear, source: Source | None, size: int) -> Any:
    """Return the matrix by which a source is multiplied."""
    count = 1 if source is None else source.size
    if source not in linear.rows:
        library = library_of(*linear.rows.values())
        return library.zeros((count, size), "float32")
    array = linear.rows[source]
    return widened(array, linear.shape, [len(linear.shape) - 1]).reshape(count, size)


def find_cell(before: Sequence[Source | None], after: Sequence[Sum | None], inputs: Sequence[Source]) -> Cell | None:
    """Return the cell that a step is.

    Args:
        before: what is carried, as sources; None for what is not a float vector.
        after: what is read of it after the step.
        inputs: the scanned vectors.
    """
    for place, (source, value) in enumerate(zip(before, after, strict=True)):
        if source is None or value is None or value.bare is source:
            continue
        for find in (_lstm, _gru, _simple):
            try:
                cell = find(place, before, after, inputs)
            except UnlikeCellError:
                continue
            if cell is not None and _is_complete(cell):
                return cell
    return None


def _is_complete(cell: Cell) -> bool:
    """Return whether inputs and states are of the same sequences, and all gates as wide as the state."""
    shape = cell.state.shape
    linears = [*cell.gates, *([] if cell.late is None else [cell.late])]
    same = all(tuple(linear.shape) == shape and linear.batch == cell.state.batch for linear in linears)
    return same and bool(cell.inputs) and all(source.shape[:-1] == shape[:-1] for source in cell.inputs)


def _of(sources: Sequence[Source], linears: Sequence[Linear]) -> list[Source]:
    """Return the inputs that are multiplied.

    Raises:
        UnlikeCellError: something else is.
    """
    found = {source for linear in linears for source in linear.rows if source is not None}
    if not found.issubset(sources):
        raise UnlikeCellError
    return [source for source in sources if source in found]


def _gate(atom: Atom, kind: str, *, negated: bool = False) -> Linear:
    """Return a gate before its function; of one from 1 down, what gives that."""
    if atom.kind != kind:
        raise UnlikeCellError
    linear: Linear = atom.operand.as_linear()
    return linear.scaled(-1.0) if negated else linear


def _product(value: Sum | None) -> tuple[Atom, ...]:
    """Return the factors of a product.

    Raises:
        UnlikeCellError: it is none.
    """
    if value is None or value.linear is not None or list(value.terms.values()) != [1.0]:
        raise UnlikeCellError
    return next(iter(value.terms))


def _lstm(
    place: int, before: Sequence[Source | None], after: Sequence[Sum | None], inputs: Sequence[Source]
) -> Cell | None:
    """``c = f * c + i * tanh(g)``, ``h = o * tanh(c)``; one of ``f`` and ``i`` may be 1 less the other."""
    state = before[place]
    assert state is not None
    for output, bounded in itertools.permutations(_pair(_product(after[place]))):
        if output.kind != "logistic" or bounded.kind != "tanh":
            continue
        for other, (cell, value) in enumerate(zip(before, after, strict=True)):
            if cell is None or value is None or other == place or not _is_same(bounded.operand, value):
                continue
            kept, added, new, _ = _mixture(value, cell)
            gates = [added, _gate(output, "logistic"), kept, _gate(new, "tanh")]
            found = _of([*inputs, state], gates)
            if cell.shape != state.shape:
                raise UnlikeCellError
            return Cell(LSTM, [other, place], gates, None, [s for s in found if s is not state], state)
    return None


def _pair(atoms: tuple[Atom, ...]) -> tuple[Atom, ...]:
    if len(atoms) != 2:
        raise UnlikeCellError
    return atoms


def _is_same(one: Sum, other: Sum) -> bool:
    return one is other or (one.linear is None and other.linear is None and one.terms == other.terms)


def _mixture(value: Sum, state: Source) -> tuple[Linear, Linear, Atom, bool]:
    """Return the gate of what is kept of a state, that of what is new, what is new, and whether one gate is both."""
    if value.linear is not None:
        raise UnlikeCellError
    terms = {frozenset(atoms): factor for atoms, factor in value.terms.items() if len(set(atoms)) == len(atoms)}
    old = [product for product in terms if any(atom.operand is state for atom in product)]
    if len(terms) != len(value.terms) or not old:
        raise UnlikeCellError
    own = next(atom for atom in old[0] if atom.operand is state)
    tanhs = {atom for product in terms for atom in product if atom.kind == "tanh"}
    gates = {atom for product in terms for atom in product if atom.kind == "logistic"}
    for new, kept, added in itertools.product(tanhs, gates, gates):
        if kept is not added and terms == {frozenset({kept, own}): 1.0, frozenset({added, new}): 1.0}:
            return _gate(kept, "logistic"), _gate(added, "logistic"), new, False
    for new, gate in itertools.product(tanhs, gates):
        both = frozenset({gate, new})
        if terms == {frozenset({gate, own}): 1.0, frozenset({new}): 1.0, both: -1.0}:
            return _gate(gate, "logistic"), _gate(gate, "logistic", negated=True), new, True
        if terms == {frozenset({own}): 1.0, frozenset({gate, own}): -1.0, both: 1.0}:
            return _gate(gate, "logistic", negated=True), _gate(gate, "logistic"), new, True
    raise UnlikeCellError


def _gru(
    place: int, before: Sequence[Source | None], after: Sequence[Sum | None], inputs: Sequence[Source]
) -> Cell | None:
    """``h = z * h + (1 - z) * tanh(n)``, where ``n`` has a product of ``r * h``, or ``r`` times one of ``h``."""
    state, value = before[place], after[place]
    assert state is not None
    assert value is not None
    kept, _, new, is_coupled = _mixture(value, state)
    if not is_coupled:
        raise UnlikeCellError
    operand: Sum = new.operand
    resets = {atoms: factor for atoms, factor in operand.terms.items() if any(atom.kind != "source" for atom in atoms)}
    plain = {atoms: factor for atoms, factor in operand.terms.items() if atoms not in resets}
    over_inputs = Sum(operand.shape, operand.linear, plain).as_linear()
    if resets:
        return _gru_of_late_reset(place, state, (kept, over_inputs), resets, inputs)
    return _gru_of_early_reset(place, state, (kept, over_inputs), inputs)


def _gru_of_late_reset(
    place: int, state: Source, parts: tuple[Linear, Linear], resets: Any, inputs: Sequence[Source]
) -> Cell:
    kept, over_inputs = parts
    if len(resets) != 1:
        raise UnlikeCellError
    ((atoms, factor),) = resets.items()
    for reset, late in itertools.permutations(_pair(atoms)):
        if reset.kind == "logistic" and late.kind == "linear" and factor == 1.0:
            gate = _gate(reset, "logistic")
            _of([state], [late.operand])
            found = _of([*inputs, state], [kept, gate])
            own = _of(inputs, [over_inputs])
            used = [source for source in inputs if source in found or source in own]
            return Cell(GRU, [place], [kept, gate, over_inputs], late.operand, used, state)
    raise UnlikeCellError


def _gru_of_early_reset(place: int, state: Source, parts: tuple[Linear, Linear], inputs: Sequence[Source]) -> Cell:
    kept, last = parts
    made = [source for source in last.rows if source is not None and source.made is not None]
    if len(made) != 1:
        raise UnlikeCellError
    for reset, own in itertools.permutations(_pair(_product(made[0].made))):
        if reset.kind == "logistic" and own.operand is state:
            gate = _gate(reset, "logistic")
            found = _of([*inputs, state], [kept, gate])
            own_inputs = _of([*inputs, made[0]], [last])
            used = [source for source in inputs if source in found or source in own_inputs]
            return Cell(GRU_RESET_EARLY, [place], [kept, gate, last], None, used, state, made[0])
    raise UnlikeCellError


def _simple(
    place: int, before: Sequence[Source | None], after: Sequence[Sum | None], inputs: Sequence[Source]
) -> Cell | None:
    """``h = tanh(x @ w + h @ u + b)``."""
    state = before[place]
    assert state is not None
    atoms = _product(after[place])
    if len(atoms) != 1:
        raise UnlikeCellError
    gate = _gate(atoms[0], "tanh")
    found = _of([*inputs, state], [gate])
    if state not in found:
        return None
    return Cell(RNN, [place], [gate], None, [source for source in found if source is not state], state)

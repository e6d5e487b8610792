"""Products whose result is transposed: the operands change places where that spares transposes.

JAX puts the free dims of the left operand first. ``jax.vmap`` of ``weights @ x`` leaves the batch of ``x`` behind the
weights' dims, and a transpose brings it to the front: ``x @ weights.T`` has it there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jax2onnx.program.program import Eqn, Program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.program.program import Atom


def exchange_operands(program: Program) -> Program:
    """Return the program in which products are transposed as seldom as may be."""
    products = {e.outputs[0]: i for i, e in enumerate(program.eqns) if e.primitive == "dot_general" and not e.paired}
    turned = {
        products[e.inputs[0]]: i
        for i, e in enumerate(program.eqns)
        if e.primitive == "transpose" and e.inputs[0] in products
    }
    if not turned:
        return program
    reads: dict[Atom, int] = {}
    for atom in (*(a for e in program.eqns for a in e.inputs), *program.outputs):
        reads[atom] = reads.get(atom, 0) + 1
    eqns: list[Eqn | None] = list(program.eqns)
    for product, transpose in turned.items():
        eqn = program.eqns[product]
        if reads[eqn.outputs[0]] == 1 and _pays(eqn, program.eqns[transpose].params["permutation"]):
            eqns[product], eqns[transpose] = None, _exchanged(eqn, program.eqns[transpose])
    return Program(program.inputs, [e for e in eqns if e is not None], program.outputs)


def _pays(eqn: Eqn, permutation: Sequence[int]) -> bool:
    """Tell whether exchanged operands give the transposed result, with fewer transposes of operands and result."""
    ranks = [len(a.aval.shape) for a in eqn.inputs]
    (lc, rc), (lb, rb) = eqn.params["dimension_numbers"]
    lf, rf = ([i for i in range(n) if i not in {*c, *b}] for n, c, b in zip(ranks, (lc, rc), (lb, rb), strict=True))
    batch, rows = len(lb), len(lb) + len(lf)
    if [*permutation] != [*range(batch), *range(rows, rows + len(rf)), *range(batch, rows)]:
        return False
    before = [[*lb, *lf, *lc], [*rb, *rc, *rf]]
    after = [[*rb, *rf, *rc], [*lb, *lc, *lf]]
    return _unsorted(after) < _unsorted(before) + 1


def _unsorted(orders: Sequence[Sequence[int]]) -> int:
    return sum([*order] != sorted(order) for order in orders)


def _exchanged(product: Eqn, transpose: Eqn) -> Eqn:
    contracted, batch = product.params["dimension_numbers"]
    params: dict[str, Any] = {**product.params, "dimension_numbers": (contracted[::-1], batch[::-1])}
    if isinstance(params.get("precision"), tuple):
        params["precision"] = params["precision"][::-1]
    return Eqn("dot_general", product.inputs[::-1], transpose.outputs, params, product.source)

"""The primitive of ``onnx_op``: an operator that the user names, what JAX computes in its place, and its lowering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np
import onnx_ir as ir
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jax2onnx.errors import ConversionError, InputSpecError, InvalidModelError, NoReferenceError
from jax2onnx.program.facts import Facts

if TYPE_CHECKING:
    from jax2onnx.plugin.context import LoweringContext

__all__ = ["FACTS", "ONNX_OP", "Operator", "bind", "computed", "lower"]

ONNX_OP = "onnx_op"
"""The name of the primitive, and of what registers it."""

Reference: TypeAlias = Callable[..., Any] | None

_WHOLE = frozenset({ir.DataType.INT32, ir.DataType.INT64})


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator with its attributes.

    Attributes:
        op_type: its name.
        domain: its domain.
        version: the version of the domain; None for the default one.
        key: what tells the attributes apart from those of another node.
        given: for each input up to the last one, whether it is given.
        attributes: the attributes.
    """

    op_type: str
    domain: str
    version: int | None
    key: Any
    given: tuple[bool, ...]
    attributes: dict[str, Any] = field(compare=False)

    def __str__(self) -> str:
        name = f"{self.domain}.{self.op_type}" if self.domain else self.op_type
        return f"{ONNX_OP}({name!r})"

    def complete(self, operands: Sequence[Any]) -> list[Any]:
        """Return the operands with None for the inputs that are left out."""
        remaining = iter(operands)
        return [next(remaining) if is_given else None for is_given in self.given]


_onnx_op_p = Primitive(ONNX_OP)
_onnx_op_p.multiple_results = True


def bind(
    operator: Operator,
    reference: Reference,
    avals: Sequence[Any],
    operands: Sequence[Any],
) -> list[Any]:
    """Return the results of an operator: JAX's, or while a program is traced those of the node that it becomes.

    Args:
        operator: the operator.
        reference: what JAX computes in its place.
        avals: the types of the results.
        operands: the inputs that are given, as arrays.
    """
    params: dict[str, Any] = {"operator": operator, "reference": reference, "avals": tuple(avals)}
    if reference is None:
        return list(_onnx_op_p.bind(*operands, **params))

    @jax.custom_jvp
    def call(*operands: Any) -> list[Any]:
        return list(_onnx_op_p.bind(*operands, **params))

    @call.defjvp
    def _derivative(primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
        def compute(*operands: Any) -> list[Any]:
            return _compute(*operands, **params)

        _, derivatives = jax.jvp(compute, tuple(primals), tuple(tangents))
        return call(*primals), derivatives

    results: list[Any] = call(*operands)
    return results


def computed(operator: Operator, reference: Reference, operands: Sequence[Any]) -> list[Any]:
    """Return what a reference computes, as a flat list.

    Raises:
        NoReferenceError: there is none.
    """
    if reference is None:
        raise NoReferenceError(
            f"{operator} has no reference, so that JAX cannot compute, batch or differentiate it; "
            "pass reference=, a JAX function of the same arrays (an export without vmap or grad needs none)"
        )
    return jax.tree_util.tree_leaves(reference(*operator.complete(operands)))


def _compute(*operands: Any, operator: Operator, reference: Reference, avals: Sequence[Any]) -> list[Any]:
    """Return what the reference computes; its types are those that are declared."""
    results = list(map(jax.numpy.asarray, computed(operator, reference, operands)))
    returned = [(result.shape, result.dtype) for result in results]
    if returned != [(aval.shape, aval.dtype) for aval in avals]:
        raise InputSpecError(
            f"{operator}: the reference returns {_types(results)}, and out= declares {_types(avals)}; change one"
        )
    return results


def _types(arrays: Sequence[Any]) -> str:
    return ", ".join(f"{array.dtype}[{','.join(map(str, array.shape))}]" for array in arrays) or "nothing"


def _differentiate(_primals: Any, _tangents: Any, *, operator: Operator, reference: Reference, avals: Any) -> Any:
    del avals
    return computed(operator, reference, _primals)  # which has none, or ``bind`` would have given JAX its derivative


def _batch(operands: Sequence[Any], axes: Sequence[Any], **params: Any) -> tuple[list[Any], list[int]]:
    """Compute the reference for each element of the batch."""

    def compute(*operands: Any) -> list[Any]:
        return _compute(*operands, **params)

    results = jax.vmap(compute, in_axes=tuple(axes))(*operands)
    return results, [0] * len(results)


_onnx_op_p.def_impl(_compute)
_onnx_op_p.def_abstract_eval(lambda *_operands, avals, **_params: list(avals))
ad.primitive_jvps[_onnx_op_p] = _differentiate
batching.primitive_batchers[_onnx_op_p] = _batch
mlir.register_lowering(_onnx_op_p, mlir.lower_fun(_compute, multiple_results=True))


FACTS = Facts(effect=True, new_sizes=True)
"""The facts of the primitive. The node is what the user asks for: it is not computed at conversion."""


def lower(
    ctx: LoweringContext,
    *operands: ir.Value,
    operator: Operator,
    reference: Reference,
    avals: Sequence[Any],
) -> list[ir.Value]:
    """Emit the node."""
    del reference
    try:
        if operator.version is not None:
            ctx.op.use(operator.domain, operator.version)
        values = _inputs(ctx, operator, operands)
        node = ctx.op.node(operator.op_type, values, operator.attributes, len(avals), operator.domain)
    except InvalidModelError as error:
        error.remedy = f"mend the call of {ONNX_OP} there"
        raise
    return [_result(ctx, operator, *pair) for pair in zip(node.outputs, ctx.avals_out, strict=True)]


def _inputs(ctx: LoweringContext, operator: Operator, operands: Sequence[ir.Value]) -> list[Any]:
    """Return the inputs of the node; a 32-bit integer where the operator only takes 64-bit ones is cast."""
    values: list[Any] = operator.complete(operands)
    places = [place for place, is_given in enumerate(operator.given) if is_given]
    wanted = ctx.op.fixed_dtypes(operator.op_type, operator.domain, len(values))
    for number, place in enumerate(places):
        dtype = wanted[place]
        value = values[place]
        if dtype in _WHOLE and value.dtype in _WHOLE and value.dtype != dtype:
            known = ctx.known(number)
            values[place] = ctx.cast(value, dtype.numpy()) if known is None else ctx.constant(known, dtype.numpy())
    return values


def _result(ctx: LoweringContext, operator: Operator, value: ir.Value, aval: Any) -> ir.Value:
    """Return a result in the dtype that is declared: JAX has 32-bit integers where an operator gives 64-bit ones."""
    if value.dtype in _WHOLE and aval.dtype in (np.int32, np.int64):
        ctx.stamp(value, aval.shape)
        return ctx.cast(value, aval.dtype)
    if value.dtype is not None and value.dtype != ir.DataType.from_numpy(np.dtype(aval.dtype)):
        given = str(value.dtype).lower()
        raise ConversionError(
            f"{operator}: the operator gives {given}, and out= declares {_types([aval])}", remedy=f"declare {given}"
        )
    return value

"""Dimensions as values: each symbolic dim expression becomes int64 arithmetic, once per model or function."""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx._compat import is_symbolic, non_negative
from jax2onnx.builder import DimSource
from jax2onnx.errors import UnsupportedCaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jax2onnx.builder import Ops


def find_sources(inputs: Sequence[tuple[ir.Value, Sequence[Any]]]) -> dict[str, DimSource]:
    """Map each symbol to the cheapest input dimension that determines it.

    Args:
        inputs: graph inputs with their shapes (ints and symbolic dims).
    """
    sources: dict[str, DimSource] = {}
    for value, shape in inputs:
        for axis, dim in enumerate(shape):
            if not is_symbolic(dim):
                continue
            linear = _linear(ast.parse(_python(dim), mode="eval").body)
            if linear is None or len(linear) - ("" in linear) != 1:
                continue
            symbol = next(s for s in linear if s)
            source = DimSource(value, axis, linear[symbol], linear.get("", 0))
            known = sources.get(symbol)
            if known is None or (known.scale, known.offset) != (1, 0) == (source.scale, source.offset):
                sources[symbol] = source
    return sources


def inferred_dims(old: Sequence[Any], new: Sequence[Any]) -> list[int] | None:
    """Return the target of a ``Reshape`` that keeps (0) or infers (-1) each symbolic dim; None if none can."""
    # A zero-size static dim makes both -1 and 0 ambiguous.
    if any(not is_symbolic(d) and int(d) == 0 for d in (*old, *new)):
        return None
    kept = [is_symbolic(d) and i < len(old) and is_symbolic(old[i]) and d == old[i] for i, d in enumerate(new)]
    left = [i for i, d in enumerate(new) if is_symbolic(d) and not kept[i]]
    # -1 cannot be inferred where a kept dim may be zero at run time.
    if len(left) > 1 or (left and any(kept)):
        return None
    return [-1 if i in left else 0 if kept[i] else int(d) for i, d in enumerate(new)]


def inserted_ones(short: Sequence[Any], long: Sequence[Any]) -> list[int] | None:
    """Return where dims of size 1 stand in ``long`` that, left out, make it ``short``; None if nothing does."""
    axes: list[int] = []
    matched = 0
    for axis, dim in enumerate(long):
        if matched < len(short) and bool(dim == short[matched]):
            matched += 1
        elif not is_symbolic(dim) and dim == 1:
            axes.append(axis)
        else:
            return None
    return axes if matched == len(short) and axes else None


def _python(dim: Any) -> str:
    return str(dim).replace("^", "**")


def _linear(node: ast.expr) -> dict[str, int] | None:
    """Coefficients of a linear expression (the empty name is the constant), or None."""
    match node:
        case ast.Constant(value=int(value)):
            return {"": value}
        case ast.Name(id=name):
            return {name: 1}
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _linear(operand)
            return None if inner is None else {k: -v for k, v in inner.items()}
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            a, b = _linear(left), _linear(right)
            if a is None or b is None:
                return None
            sign = 1 if isinstance(op, ast.Add) else -1
            return {k: a.get(k, 0) + sign * b.get(k, 0) for k in {**a, **b}}
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            a, b = _linear(left), _linear(right)
            if a is None or b is None or (set(a) | set(b)) == set():
                return None
            if set(a) == {""}:
                a, b = b, a
            return {k: v * b[""] for k, v in a.items()} if set(b) == {""} else None
    return None


def may_be_zero(dim: Any) -> bool:
    """Tell whether a dim may be 0 at run time.

    JAX takes every symbol to be at least 1; a model runs at 0 too, unless ``constraints=`` rule it out.
    """
    if not is_symbolic(dim) or _at_least(dim, 1):
        return not is_symbolic(dim) and int(dim) == 0
    return not any(_at_least(dim - 1 - bound, 0) for bound in non_negative(dim))


def _at_least(dim: Any, bound: int) -> bool:
    """Tell whether a dim is at least ``bound`` wherever the symbols are at least 0, as far as its terms show."""
    linear = _linear(_parse(_python(dim)))
    return linear is not None and linear.pop("", 0) >= bound and all(v >= 0 for v in linear.values())


class Dims:
    """Computes dimensions inside a model under construction."""

    def __init__(self, op: Ops) -> None:
        self._op = op

    def value(self, dim: Any) -> ir.Value:
        """Return the dimension as int64 of shape ``[1]``."""
        if not is_symbolic(dim):
            return self._op.constant(np.asarray([int(dim)], np.int64))
        return self._walk(_parse(_python(dim)))

    def named(self, name: str) -> ir.Value:
        """Return the dimension named by a symbol."""
        return self._walk(_parse(name))

    def _walk(self, node: ast.expr) -> ir.Value:
        """Emit an expression at the root, where every subgraph can see it, unless it is there already."""
        inner = self._op.scope
        root = inner.root
        key = ast.dump(node)
        value = root.dims.get(key)
        if value is None:
            self._op.scope = root
            try:
                value = root.dims[key] = self._emit(node)
            finally:
                self._op.scope = inner
        return value

    def _emit(self, node: ast.expr) -> ir.Value:
        op = self._op
        match node:
            case ast.Constant(value=int(value)):
                return op.constant(np.asarray([value], np.int64))
            case ast.Name(id=name):
                return self._symbol(name)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value))):
                return op.constant(np.asarray([-value], np.int64))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._arith("Neg", operand)
            case ast.BinOp(left=left, op=operator, right=right):
                if isinstance(operator, ast.Pow) and isinstance(right, ast.Constant):
                    return functools.reduce(op.Mul, [self._walk(left)] * int(str(right.value)))
                return self._arith(_OPERATORS[type(operator)], left, right)
            case ast.Call(func=ast.Name(id="floordiv"), args=[a, b]):
                # ONNX integer Div truncates; JAX floors.
                dividend, divisor = self._walk(a), self._divisor(b)
                return self._int(op.Div, self._int(op.Sub, dividend, self._int(op.Mod, dividend, divisor)), divisor)
            case ast.Call(func=ast.Name(id="mod"), args=[a, b]):
                return self._int(op.Mod, self._walk(a), self._divisor(b))
            case ast.Call(func=ast.Name(id="max" | "min" as name), args=args):
                return self._arith(name.capitalize(), *args)
        msg = f"the dimension expression {ast.unparse(node)} has no ONNX form"
        raise UnsupportedCaseError(msg, remedy="report it: dimension grammar is expected to be complete")

    def _arith(self, op_type: str, *operands: ast.expr) -> ir.Value:
        return self._int(functools.partial(self._op.emit, op_type), *[self._walk(o) for o in operands])

    def _divisor(self, node: ast.expr) -> ir.Value:
        """Return a divisor, 1 where it is 0: JAX decides at conversion what then goes unused, onnxruntime fails."""
        value = self._walk(node)
        if not _free(node):
            return value
        return self._int(lambda v: self._op.Where(self._op.Equal(v, 0), self.value(1), v), value)

    def _int(self, emit: Callable[..., ir.Value], *operands: ir.Value) -> ir.Value:
        value = emit(*operands)
        value.shape = operands[0].shape
        return value

    def _symbol(self, name: str) -> ir.Value:
        root = self._op.scope
        source = root.sources.get(name)
        if source is None and root.function:
            value = ir.Value(name=f"dim_{name}", shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.INT64))
            root.hoisted.append((value, name))
            return value
        if source is None:
            msg = f"no input determines the symbolic dimension {name!r}"
            raise UnsupportedCaseError(msg, remedy=f"give some input a dimension that is {name!r} or linear in it")
        op = self._op
        value = op.Shape(source.value, start=source.axis, end=source.axis + 1)
        value.shape = op.constant(np.zeros(1, np.int64)).shape
        if source.offset:
            value = self._int(op.Sub, value, self.value(source.offset))
        if source.scale != 1:
            value = self._int(op.Div, value, self.value(source.scale))
        return value


def _free(node: ast.expr) -> bool:
    return any(isinstance(n, ast.Name) for n in ast.walk(node))


_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}


@functools.cache
def _parse(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body

"""Dimensions as values: each symbolic dim expression becomes int64 arithmetic, once per model or function."""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx._compat import is_symbolic
from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.lowering.builder import DimSource
from jax2onnx.program.dims import linear, parse, python

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jax2onnx.lowering.builder import Ops


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
            terms = linear(parse(python(dim)))
            if terms is None or len(terms) - ("" in terms) != 1:
                continue
            symbol = next(s for s in terms if s)
            source = DimSource(value, axis, terms[symbol], terms.get("", 0))
            known = sources.get(symbol)
            if known is None or (known.scale, known.offset) != (1, 0) == (source.scale, source.offset):
                sources[symbol] = source
    return sources


class Dims:
    """Computes dimensions inside a model under construction."""

    def __init__(self, op: Ops) -> None:
        self._op = op

    def value(self, dim: Any) -> ir.Value:
        """Return the dimension as int64 of shape ``[1]``."""
        if not is_symbolic(dim):
            return self._op.constant(np.asarray([int(dim)], np.int64))
        return self._walk(parse(python(dim)))

    def named(self, name: str) -> ir.Value:
        """Return the dimension named by a symbol."""
        return self._walk(parse(name))

    def _walk(self, node: ast.expr) -> ir.Value:
        """Emit an expression at the root, where every subgraph can see it, unless it is there already."""
        root = self._op.scope.root
        key = ast.dump(node)
        value = root.dims.get(key)
        if value is None:
            with self._op.within(root):
                value = root.dims[key] = self._emit(node)
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

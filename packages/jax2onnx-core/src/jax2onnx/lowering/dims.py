"""Dimensions as values: each symbolic dim expression becomes int64 arithmetic, once per model or function."""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx._compat import ShapedArray
from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.lowering.scope import DimSource
from jax2onnx.plugin.context import graph_input
from jax2onnx.program.dims import expression, linear

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from jax2onnx.lowering.builder import Ops

__all__ = ["Dims", "find_sources"]

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "Add",
    ast.Sub: "Sub",
    ast.Mult: "Mul",
}

_DIM = ShapedArray((1,), np.dtype(np.int64))
"""The type of every dimension."""


def find_sources(inputs: Sequence[ir.Value], avals: Sequence[Any]) -> dict[str, DimSource]:
    """Map each symbol to the cheapest input dimension that determines it.

    Args:
        inputs: graph inputs.
        avals: their abstract values, whose shapes have ints and symbolic dims.
    """
    direct: dict[str, DimSource] = {}
    computed: dict[str, DimSource] = {}
    for value, aval in zip(inputs, avals, strict=True):
        for axis, dim in enumerate(aval.shape):
            coefficients = dict(linear(dim) or {})
            offset = coefficients.pop("", 0)
            if len(coefficients) != 1:
                continue
            symbol, scale = coefficients.popitem()
            is_direct = scale == 1 and offset == 0
            sources = direct if is_direct else computed
            sources.setdefault(symbol, DimSource(value, axis, scale, offset))
    return computed | direct


class Dims(ast.NodeVisitor):
    """Computes dimensions inside a model under construction."""

    def __init__(self, op: Ops) -> None:
        self._op = op

    def value(self, dim: Any) -> ir.Value:
        """Return a dimension as int64 of shape ``[1]``.

        Args:
            dim: an int, a symbolic dim or the name of a symbol.
        """
        return self.visit(expression(dim))

    def visit(self, node: ast.AST) -> ir.Value:
        """Emit an expression at the root, where every subgraph can see it, unless it is there already."""
        root = self._op.scope.root
        key = ast.dump(node)
        if key not in root.dims:
            with self._op.within(root):
                root.dims[key] = super().visit(node)
        return root.dims[key]

    def generic_visit(self, node: ast.AST) -> ir.Value:
        """Refuse an expression that the other methods do not know."""
        msg = f"the dimension expression {ast.unparse(node)} has no ONNX form"
        raise UnsupportedCaseError(msg, remedy="report it: dimension grammar is expected to be complete")

    def visit_Constant(self, node: ast.Constant) -> ir.Value:
        """Emit a number."""
        return self._constant(ast.literal_eval(node))

    def visit_Name(self, node: ast.Name) -> ir.Value:
        """Emit a symbol: read off an input, or passed by the callers of a function."""
        symbol = node.id
        scope = self._op.scope
        source = scope.sources.get(symbol)
        if source is not None:
            return self._read(source)
        if scope.function:
            value = graph_input(_DIM, f"dim_{symbol}")
            scope.hoisted.append((value, symbol))
            return value
        msg = f"no input determines the symbolic dimension {symbol!r}"
        raise UnsupportedCaseError(msg, remedy=f"give some input a dimension that is {symbol!r} or linear in it")

    def _read(self, source: DimSource) -> ir.Value:
        """Solve ``size = scale * symbol + offset`` for the symbol."""
        axis = source.axis
        value = self._op.Shape(source.value, start=axis, end=axis + 1)
        value.shape = self._constant(0).shape
        if source.offset:
            offset = self._constant(source.offset)
            value = self._node("Sub", value, offset)
        if source.scale != 1:
            scale = self._constant(source.scale)
            value = self._node("Div", value, scale)
        return value

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ir.Value:
        """Emit a negated expression."""
        if isinstance(node.operand, ast.Constant):
            return self._constant(ast.literal_eval(node))
        operand = self.visit(node.operand)
        return self._node("Neg", operand)

    def visit_BinOp(self, node: ast.BinOp) -> ir.Value:
        """Emit a sum, a difference, a product or a power."""
        left = self.visit(node.left)
        if isinstance(node.op, ast.Pow):
            exponent = ast.literal_eval(node.right)
            factors = [left] * exponent
            return functools.reduce(self._op.Mul, factors)
        right = self.visit(node.right)
        op_type = _OPERATORS[type(node.op)]
        return self._node(op_type, left, right)

    def visit_Call(self, node: ast.Call) -> ir.Value:
        """Emit one of the functions of JAX's grammar."""
        function = ast.unparse(node.func)
        if function in {"max", "min"}:
            operands = map(self.visit, node.args)
            return self._node(function.capitalize(), *operands)
        if function not in {"floordiv", "mod"}:
            return self.generic_visit(node)
        dividend = self.visit(node.args[0])
        divisor = self._divisor(node.args[1])
        remainder = self._node("Mod", dividend, divisor)
        if function == "mod":
            return remainder
        # ONNX's Div of integers truncates; JAX floors.
        multiple = self._node("Sub", dividend, remainder)
        return self._node("Div", multiple, divisor)

    def _divisor(self, node: ast.expr) -> ir.Value:
        """Return a divisor, 1 where it is 0: JAX decides at conversion what then goes unused, onnxruntime fails."""
        value = self.visit(node)
        if value.const_value is not None:
            return value
        is_zero = self._op.Equal(value, 0)
        one = self._constant(1)
        divisor = self._op.Where(is_zero, one, value)
        divisor.shape = value.shape
        return divisor

    def _node(self, op_type: str, *operands: ir.Value) -> ir.Value:
        value = self._op.emit(op_type, *operands)
        value.shape = operands[0].shape
        return value

    def _constant(self, value: int) -> ir.Value:
        vector = np.asarray([value], np.int64)
        return self._op.constant(vector)

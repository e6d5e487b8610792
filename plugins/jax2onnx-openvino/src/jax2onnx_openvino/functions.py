"""Functions of a number: those that OpenVINO computes with fewer digits than float32 has."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx_openvino.nodes import Maker, drop, finish, replaced, standard

__all__ = ["mend_erf", "mend_factors", "mend_logarithm", "mend_softplus"]


def mend_softplus(graph: ir.Graph, node: ir.Node) -> str | None:
    """Rewrite ``Softplus(x)``, whose error is 4e-6 everywhere, by a series: ``Log`` is not right near 1 either.

    It becomes ``Max(x, 0) + 2 * (z + z**3 / 3 + … + z**13 / 13)``, where ``z = e / (e + 2)`` and ``e = Exp(-Abs(x))``:
    the sum is half of ``log(1 + e)`` to the digits of float32, as z is at most a third.
    """
    x = node.inputs[0]
    assert x is not None
    make = Maker(graph, node)
    new = replaced(node)

    def number(value: float) -> ir.Value:
        assert x is not None
        assert x.dtype is not None
        return make.constant(np.array(value, x.dtype.numpy()))

    small = make.like("Exp", make.like("Neg", make.like("Abs", x)))
    z = make.like("Div", small, make.like("Add", small, number(2)))
    square = make.like("Mul", z, z)
    total = make.like("Mul", square, number(1 / 13))
    for divisor in (11, 9, 7, 5, 3):
        total = make.like("Mul", make.like("Add", total, number(1 / divisor)), square)
    logarithm = make.like("Mul", make.like("Add", total, number(1)), make.like("Mul", z, number(2)))
    finish(graph, node, new, "Add", make.like("Max", x, number(0)), logarithm)
    drop(graph, node)
    return None


def mend_logarithm(graph: ir.Graph, node: ir.Node) -> str | None:
    """Keep ``Log(Exp(x) + 1)`` from becoming ``Softplus``: rewrite it to ``Log(Abs(Exp(x) + 1))``."""
    total = node.inputs[0]
    assert total is not None
    add = total.producer()
    if standard(add) == "Add" and add is not None and any(map(_is_exponential, add.inputs)):
        node.replace_input_with(0, Maker(graph, node).like("Abs", total))
    return None


def _is_exponential(value: ir.Value | None) -> bool:
    return value is not None and standard(value.producer()) == "Exp"


_SMALL = 0.5
_TERMS = [(-1) ** n / (math.factorial(n) * (2 * n + 1)) * 2 / math.sqrt(math.pi) for n in range(7)]
"""The series of erf(x) / x in x**2; of a half, the next term is 1e-8 of the sum."""


def mend_erf(graph: ir.Graph, node: ir.Node) -> str | None:
    """Compute ``Erf`` of small numbers, whose error is 5e-7, by its series.

    Rewrite ``Erf(x)`` to ``Where(Abs(x) < 0.5, x * (1.128 - 0.376 * x**2 + …), Erf(x))``.
    """
    x = node.inputs[0]
    assert x is not None
    if x.dtype != DataType.FLOAT:
        return None
    make = Maker(graph, node)
    new = replaced(node)

    def number(value: float) -> ir.Value:
        return make.constant(np.array(value, np.float32))

    square = make.like("Mul", x, x)
    total = number(_TERMS[-1])
    for term in reversed(_TERMS[:-1]):
        total = make.op(
            "Add",
            make.op("Mul", total, square, dtype=x.dtype, shape=x.shape),
            number(term),
            dtype=x.dtype,
            shape=x.shape,
        )
    is_small = make.op("Less", make.like("Abs", x), number(_SMALL), dtype=DataType.BOOL, shape=x.shape)
    finish(graph, node, new, "Where", is_small, make.like("Mul", x, total), make.like("Erf", x))
    drop(graph, node)
    return None


_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def mend_factors(graph: ir.Graph, node: ir.Node) -> str | None:
    """Keep constant factors apart whose product float32 does not hold: OpenVINO multiplies by the product.

    Rewrite ``Mul(Mul(x, 1e30), 1e10)`` to ``Mul(Max(Mul(x, 1e30), lowest), 1e10)``.
    """
    found = _factor(node)
    if found is None:
        return None
    index, least, most = found
    operand = node.inputs[index]
    assert operand is not None
    inner = operand.producer()
    while inner is not None and (before := _factor(inner)) is not None:
        least, most = least * before[1], most * before[2]
        if least < _LEAST or most > _MOST:
            make = Maker(graph, node)
            node.replace_input_with(index, make.like("Max", operand, make.constant(np.array(-_MOST, np.float32))))
            return None
        value = inner.inputs[before[0]]
        inner = None if value is None else value.producer()
    return None


def _factor(node: ir.Node) -> tuple[int, float, float] | None:
    """Return which operand a node scales by a constant, and the least and the largest size of the factors but 0."""
    if standard(node) not in {"Mul", "Div"} or node.outputs[0].dtype != DataType.FLOAT:
        return None
    for index in (0, 1) if node.op_type == "Mul" else (0,):
        value = node.inputs[1 - index]
        tensor = None if value is None else ir.convenience.get_const_tensor(value)
        sizes = np.zeros(0) if tensor is None else np.abs(tensor.numpy().astype(np.float64))
        sizes = sizes[np.isfinite(sizes) & (sizes != 0)]
        if sizes.size:
            sizes = 1 / sizes if node.op_type == "Div" else sizes
            return index, float(sizes.min()), float(sizes.max())
    return None

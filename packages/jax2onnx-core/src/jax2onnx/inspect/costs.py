"""Costs: parameters, operations and bytes of a model by module, operator or line, from the shapes that it declares.

A symbolic dim has the size that the caller gives, else 1. A body of ``Scan`` counts once per step, one of ``Loop`` as
often as a constant says, else once; of ``If`` both branches count. What is not counted is listed with its operator.
"""

from __future__ import annotations

import ast
import math
from collections import ChainMap, Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import numpy as np
import onnx

from jax2onnx._accepted import natural_number, nearest, shown
from jax2onnx.errors import InputSpecError
from jax2onnx.inspect.flops import flops_of
from jax2onnx.inspect.summary import Body, Model, Tensor, graphs_of, initializer_of, operator_of, read_model, value_of
from jax2onnx.output.memory import memory_explained
from jax2onnx.output.sources import NAMESPACE, SOURCE

__all__ = ["By", "Cost", "Costs", "costs", "symbols_of", "with_sizes"]

By: TypeAlias = Literal["module", "operator", "line"]
Key: TypeAlias = Callable[[onnx.NodeProto, str], str]

_OTHER = "(none)"
_DEEPEST = 30
"""Calls of functions within functions, and graphs within graphs, are followed to this depth."""
_MOST_NODES = 300_000
"""After so many nodes no more bodies are entered: functions that double at each call have no end."""


@dataclass(slots=True)
class Cost:
    """What some nodes cost.

    Attributes:
        nodes: how many there are.
        parameters: numbers of the weights that they are the first to read.
        parameter_bytes: the bytes of these.
        flops: operations on numbers, a multiplication and an addition as two.
        activation_bytes: the bytes of their results.
    """

    nodes: int = 0
    parameters: int = 0
    parameter_bytes: int = 0
    flops: int = 0
    activation_bytes: int = 0

    def add(self, other: Cost) -> None:
        """Add another cost to this one."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of a model.

    Attributes:
        rows: module, operator or line -> its cost, the most operations first.
        total: the sum of all rows.
        sizes: the symbols of the model, and the size that was taken for each.
        uncounted: operator -> how many of its nodes have no count of operations, as its shapes or itself are unknown.
    """

    rows: dict[str, Cost]
    total: Cost
    sizes: dict[str, int]
    uncounted: dict[str, int]


@memory_explained()
def costs(model: Model, by: By = "module", sizes: Mapping[str, int] | None = None) -> Costs:
    """Return the costs of a model, or of the model in a file.

    Args:
        model: the model; its weights are not read.
        by: what the rows are: the paths of modules, operators, or the user's lines.
        sizes: symbol -> size; the others are 1.

    Raises:
        InputSpecError: there is no such ``by`` or no such symbol, or the file is no ONNX model.
    """
    if by not in get_args(By):
        raise InputSpecError(f"by: {shown(by)} is none of {', '.join(get_args(By))}; {nearest(by, get_args(By))}")
    proto = read_model(model)
    known = symbols_of(proto, sizes or {})
    counting = _Counting(by, known, {(f.domain, f.name): f for f in proto.functions})
    counting.body(proto.graph, _Scope(), "", 1)
    rows = dict(sorted(counting.rows.items(), key=lambda row: (-row[1].flops, -row[1].parameters, row[0])))
    total = Cost()
    for cost in rows.values():
        total.add(cost)
    return Costs(rows, total, known, dict(sorted(counting.uncounted.items())))


def symbols_of(proto: onnx.ModelProto, sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the symbols in the inputs of a model, each with the size that is given for it, else 1.

    Raises:
        InputSpecError: a size is given for something else.
    """
    symbols = set(_symbols(proto))
    for name, size in sizes.items():
        if name not in symbols:
            raise InputSpecError(f"sizes: the model has no symbol {name!r}; {nearest(name, symbols)}")
        natural_number(f"sizes[{name!r}]", size)
    return {name: sizes.get(name, 1) for name in sorted(symbols)}


def with_sizes(tensor: Tensor | None, sizes: Mapping[str, int]) -> tuple[int, ...] | None:
    """Return the shape of a value at sizes of the symbols; None if it cannot be told."""
    if tensor is None or tensor.shape is None:
        return None
    dims = [dim if isinstance(dim, int) else _size(_parsed(dim), sizes) for dim in tensor.shape]
    return None if None in dims else tuple(dim for dim in dims if dim is not None)


def _symbols(proto: onnx.ModelProto) -> Iterator[str]:
    """Yield the symbols in the shapes of the inputs."""
    for value in proto.graph.input:
        for dim in value_of(value).shape or ():
            if isinstance(dim, str):
                with_names = _parsed(dim)
                yield from (n.id for n in ast.walk(with_names) if isinstance(n, ast.Name) and n.id not in _CALLS)


def _parsed(dim: str) -> ast.AST:
    try:
        return ast.parse(dim[:200], mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Constant(value=None)


_CALLS: Mapping[str, Callable[..., int]] = {
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "max": max,
    "min": min,
}
_SIGNS: Mapping[type, Callable[[int, int], int]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: a ** min(b, 8),
}


def _size(node: ast.AST, sizes: Mapping[str, int]) -> int | None:
    """Return the value of a dim's expression; None if it cannot be told."""
    match node:
        case ast.Expression(body=body):
            return _size(body, sizes)
        case ast.Constant(value=int() as value):
            return value
        case ast.Name(id=name):
            return sizes.get(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            negated = _size(operand, sizes)
            return None if negated is None else -negated
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _SIGNS:
            return _applied(_SIGNS[type(sign)], [left, right], sizes)
        case ast.Call(func=ast.Name(id=name), args=args) if name in _CALLS:
            return _applied(_CALLS[name], args, sizes)
    return None


def _applied(function: Callable[..., int], args: Iterable[ast.AST], sizes: Mapping[str, int]) -> int | None:
    values = [_size(arg, sizes) for arg in args]
    try:
        return None if None in values else function(*values)
    except (ZeroDivisionError, TypeError):
        return None


@dataclass(slots=True)
class _Scope:
    """What names stand for in a graph: types of values, weights that nobody read yet, short constants."""

    types: ChainMap[str, Tensor] = field(default_factory=ChainMap)
    weights: ChainMap[str, Tensor] = field(default_factory=ChainMap)
    constants: ChainMap[str, int] = field(default_factory=ChainMap)

    def inner(self) -> _Scope:
        return _Scope(self.types.new_child(), self.weights.new_child(), self.constants.new_child())


@dataclass(slots=True)
class _Counting:
    by: By
    sizes: Mapping[str, int]
    functions: Mapping[tuple[str, str], onnx.FunctionProto]
    rows: dict[str, Cost] = field(default_factory=lambda: defaultdict(Cost))
    uncounted: Counter[str] = field(default_factory=Counter)
    taken: set[int] = field(default_factory=set)
    depth: int = 0
    seen: int = 0

    def body(self, body: Body, scope: _Scope, path: str, times: int) -> None:
        declared = list(body.value_info)
        if isinstance(body, onnx.GraphProto):
            declared += [*body.input, *body.output]
            for stored in body.initializer:
                scope.weights[stored.name] = scope.types[stored.name] = initializer_of(stored)
                _keep_scalar(scope, stored.name, stored)
        for value in declared:
            scope.types[value.name] = value_of(value)
        self.depth += 1
        for node in body.node:
            if node.op_type == "Constant" and node.output and node.attribute and node.attribute[0].HasField("t"):
                scope.types[node.output[0]] = initializer_of(node.attribute[0].t)
                _keep_scalar(scope, node.output[0], node.attribute[0].t)
            self._node(node, scope, path, times)
        self.depth -= 1

    def _node(self, node: onnx.NodeProto, scope: _Scope, path: str, times: int) -> None:
        told = {entry.key: entry.value for entry in node.metadata_props}
        here = "/".join(filter(None, (path, told.get(NAMESPACE, ""))))
        key = {"module": here, "operator": operator_of(node), "line": told.get(SOURCE, "")}[self.by] or _OTHER
        function = self.functions.get((node.domain, node.op_type))
        graphs = [graph for attribute in node.attribute for graph in graphs_of(attribute)]
        row = self.rows[key]
        row.nodes += 1
        self._weights(node, scope, row)
        self.seen += 1
        enters = self.depth < _DEEPEST and self.seen < _MOST_NODES
        if enters and function is not None:
            inner = _Scope()
            for name, given in zip(function.input, node.input, strict=False):
                if given in scope.types:
                    inner.types[name] = scope.types[given]
            self.body(function, inner, here, times)
            return
        row.activation_bytes += times * sum(filter(None, map(self._bytes, self._types(node.output, scope))))
        if enters and graphs:
            steps = self._steps(node, scope)
            for graph in graphs:
                self.body(graph, scope.inner(), here, times * steps)
            return
        inputs, outputs = ([self._shape(t) for t in self._types(names, scope)] for names in (node.input, node.output))
        flops = flops_of(node, inputs, outputs)
        if flops is None:
            self.uncounted[operator_of(node)] += 1
        else:
            row.flops += times * flops

    def _weights(self, node: onnx.NodeProto, scope: _Scope, row: Cost) -> None:
        for name in node.input:
            weight = scope.weights.get(name)
            if weight is not None and id(weight) not in self.taken:
                self.taken.add(id(weight))
                row.parameters += math.prod(d for d in weight.shape or () if isinstance(d, int))
                row.parameter_bytes += weight.nbytes

    def _types(self, names: Iterable[str], scope: _Scope) -> list[Tensor | None]:
        return [scope.types.get(name) if name else None for name in names]

    def _shape(self, tensor: Tensor | None) -> tuple[int, ...] | None:
        return with_sizes(tensor, self.sizes)

    def _bytes(self, tensor: Tensor | None) -> int | None:
        shape = self._shape(tensor)
        if shape is None or tensor is None:
            return None
        try:
            return math.prod(shape) * np.dtype(tensor.dtype).itemsize
        except TypeError:
            return None

    def _steps(self, node: onnx.NodeProto, scope: _Scope) -> int:
        """Return how often the body of a node runs, as far as that is known."""
        if node.op_type == "Loop" and node.input:
            return max(scope.constants.get(node.input[0], 1), 1)
        if node.op_type == "Scan":
            count = next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0)
            shape = self._shape(scope.types.get(node.input[-1])) if count else None
            return shape[0] if shape else 1
        return 1


def _keep_scalar(scope: _Scope, name: str, tensor: onnx.TensorProto) -> None:
    """Note the value of an int64, which may be how often a loop runs."""
    if tensor.data_type == onnx.TensorProto.INT64 and math.prod(tensor.dims) == 1 and not tensor.external_data:
        try:
            scope.constants[name] = int(onnx.numpy_helper.to_array(tensor).reshape(()))
        except (ValueError, TypeError):
            return

"""Keep onnxruntime from fusing a transpose and a product where its fused product is wrong, or missing.

The optimiser (1.20 to 1.32) moves transposes down to products, through casts too, and makes one ``FusedMatMul``:

- The product of a transposed matrix and a vector is wrong: it reads the matrix as if it were not transposed.
- Where a cast lies between, and the transpose moves the batch, the process ends unless both operands have as many dims.
- Before 1.26 there is no such product of float64, and the model does not load.
- Before 1.32, where the transpose moves an empty batch, the process ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.casts import like
from jax2onnx.legalise.targets.released import EMPTY_BATCHES
from jax2onnx.tidy.subgraphs import bodies, standard

if TYPE_CHECKING:
    from jax2onnx.legalise.schema import Functions
    from jax2onnx.legalise.targets import Target

__all__ = ["ProductKeeper"]

_FLOATS = frozenset({DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16})
_STOPS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Loop", "Scan"})
"""Operators that no transpose is moved through."""
_MAY_VANISH = frozenset(
    {"Add", "Concat", "Div", "Dropout", "Expand", "Identity", "Mul", "Pad", "Reshape", "Slice", "Sub", "Sum", "Tile"}
)
"""Operators that the optimiser drops where they do nothing."""


class ProductKeeper:
    """Rewrites the products of a graph, and of the graphs within it, that a transpose may reach.

    Args:
        root: the outermost graph.
        is_function: whether that graph is a function's, whose nodes the optimiser sees in place of the calls: a
            transpose may come with any of its inputs.
        functions: the domains and names of the model's functions, in any of which may be a transpose.
        target: an onnxruntime.
    """

    def __init__(self, root: ir.Graph, target: Target, functions: Functions, *, is_function: bool) -> None:
        self._functions = functions
        self._lacks_float64 = _lacks_float64(target)
        self._reached: set[ir.Value | None] = set(root.inputs if is_function else ())
        """The values that a transpose may be moved to, as far as graphs have been visited."""
        self._fails_of_none = target.lacks(EMPTY_BATCHES)
        self._moved: set[ir.Value | None] = set()
        """Those of them that may have got their first dim from another place."""

    def keep(self, graph: ir.Graph) -> None:
        """Rewrite the products of a legalised graph, then of those within: the optimiser may dissolve an ``If``."""
        for node in list(graph):
            op_type = standard(node)
            if op_type == "MatMul" and node.outputs[0].dtype in _FLOATS:
                self._keep(graph, node)
            starts = op_type in {"Transpose", "If"} or (node.domain, node.op_type) in self._functions
            if starts or (op_type not in _STOPS and not self._reached.isdisjoint(node.inputs)):
                self._reached.update(node.outputs)
                if _moves_first(node) or not self._moved.isdisjoint(node.inputs):
                    self._moved.update(node.outputs)
        for node in graph:
            if node.attributes.data:
                for body in bodies(node):
                    self.keep(body)

    def _keep(self, graph: ir.Graph, product: ir.Node) -> None:
        if self._reached.isdisjoint(product.inputs):
            return
        hides = self._lacks_float64 and product.outputs[0].dtype == DataType.DOUBLE
        for index, value in enumerate(product.inputs):
            assert value is not None
            if value not in self._reached:
                continue
            if hides:
                _hide(graph, product, index, "Sum")
            elif self._fails_of_none and value in self._moved and _may_be_empty(value):
                _hide(graph, product, index, "Max")
            elif _rank(value) > _LARGEST_MATRIX and _rank(value) != _rank(product.inputs[1 - index]):
                self._keep_batch(graph, product, index)
        matrix, vector = product.inputs
        if not hides and matrix in self._reached and _rank(matrix) > 1 and _rank(vector) == 1:
            _swap(graph, product)

    def _keep_batch(self, graph: ir.Graph, product: ir.Node, index: int) -> None:
        """Keep a transpose apart from a product if a cast, and further transposes, are all that may lie between.

        Rewrite ``MatMul(Cast(Transpose(x)), y)`` to ``MatMul(Transpose(Cast(x)), y)``. Where another transpose may come
        from above, put a node before the product that does nothing: ``MatMul(Max(Cast(f(x))), y)``.
        """
        cast = _cast_above(product.inputs[index])
        if cast is None or cast.inputs[0] is None or cast.inputs[0] not in self._reached:
            return
        transpose = cast.inputs[0].producer()
        is_direct = product.inputs[index] is cast.outputs[0]
        if not is_direct or transpose is None or not self._may_follow(graph, transpose):
            _hide(graph, product, index, "Max")
            return
        wide, original = cast.outputs[0], transpose.inputs[0]
        assert wide.dtype is not None
        assert original is not None
        first = ir.node("Cast", [original], cast.attributes, outputs=[like(original, wide.dtype)])
        second = ir.node("Transpose", first.outputs, transpose.attributes, outputs=[like(wide, wide.dtype)])
        self._reached.update(second.outputs)
        for node in (first, second):
            _insert(graph, product, node)
        product.replace_input_with(index, second.outputs[0])
        for node in (cast, transpose):
            result = node.outputs[0]
            if not result.uses() and not result.is_graph_output():
                graph.remove(node, safe=True)

    def _may_follow(self, graph: ir.Graph, node: ir.Node) -> bool:
        """Return whether a node is a transpose that may follow the cast of its result: there is none above it."""
        return standard(node) == "Transpose" and node.graph is graph and node.inputs[0] not in self._reached


_LARGEST_MATRIX = 2
"""How many dims a value has that has no batch."""


def _moves_first(node: ir.Node) -> bool:
    return standard(node) == "Transpose" and list(node.attributes.get_ints("perm", []))[:1] != [0]


def _may_be_empty(value: ir.Value) -> bool:
    """Return whether a stack of matrices may have no elements."""
    return _rank(value) > _LARGEST_MATRIX and value.shape is not None and not value.shape.is_static()


def _lacks_float64(target: Target) -> bool:
    """Return whether a runtime has a ``FusedMatMul``, but none of float64."""
    fused = (target.kernels or {}).get(("com.microsoft", "FusedMatMul"), ())
    takes_float64 = any(DataType.DOUBLE in kernel.types["T"] for kernel in fused)
    return bool(fused) and not takes_float64


def _cast_above(value: ir.Value | None) -> ir.Node | None:
    """Return the cast that a value comes from, if there are only transposes between, and operators that may vanish."""
    while value is not None and (producer := value.producer()) is not None:
        if standard(producer) == "Cast":
            return producer
        if standard(producer) == "Transpose":
            value = producer.inputs[0]
            continue
        same = [operand for operand in producer.inputs if operand is not None and operand.shape == value.shape]
        value = same[0] if same and standard(producer) in _MAY_VANISH else None
    return None


def _hide(graph: ir.Graph, product: ir.Node, index: int, op_type: str) -> None:
    """Put a node before an operand of a product that returns it, and that the optimiser does not know to do so.

    Rewrite ``MatMul(x, y)`` to ``MatMul(Max(x), y)``.
    """
    value = product.inputs[index]
    assert value is not None
    assert value.dtype is not None
    kept = ir.node(op_type, [value], outputs=[like(value, value.dtype)])
    _insert(graph, product, kept)
    product.replace_input_with(index, kept.outputs[0])


def _swap(graph: ir.Graph, product: ir.Node) -> None:
    """Exchange the operands of a product: a transposed matrix is right behind a vector.

    For ``m: float32[..., M, N]`` and ``v: float32[N]``, rewrite ``MatMul(m, v)`` to ``MatMul(v, Transpose(m))``, which
    transposes the last two dims. Where ``m`` is a transpose, the two cancel.
    """
    matrix, vector = product.inputs
    assert matrix is not None
    assert matrix.shape is not None
    assert matrix.dtype is not None
    rank = matrix.shape.rank()
    perm = [*range(rank - 2), rank - 1, rank - 2]
    transpose = ir.node("Transpose", [matrix], {"perm": perm}, outputs=[like(matrix, matrix.dtype)])
    transpose.outputs[0].shape = ir.Shape([matrix.shape[dim] for dim in perm])
    _insert(graph, product, transpose)
    product.replace_input_with(0, vector)
    product.replace_input_with(1, transpose.outputs[0])


def _insert(graph: ir.Graph, product: ir.Node, node: ir.Node) -> None:
    node.metadata_props.update(product.metadata_props)
    graph.insert_before(product, node)


def _rank(value: ir.Value | None) -> int:
    """Return how many dims a value has; 0 if that is not known."""
    return 0 if value is None or value.shape is None else value.shape.rank()

"""A small builder of graphs, with which models are written by hand."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Array = np.ndarray[Any, Any]
ALWAYS = np.ones((), bool)
"""A condition that holds."""


class Graph:
    """Collects nodes; a method call such as ``graph.Add(a, b)`` appends one, and arrays become initializers.

    An input is a shape, of float32, or the name of a dtype and then the dims: ``("uint32", 2)``.
    """

    def __init__(self, *inputs: tuple[Any, ...]) -> None:
        self.inputs = [f"x{i}" for i in range(len(inputs))]
        self._infos = [_info(name, dims) for name, dims in zip(self.inputs, inputs, strict=True)]
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._known: dict[Any, str] = {}
        self._numbers: Iterator[int] = itertools.count()

    def __getattr__(self, operator: str) -> Callable[..., Any]:
        """Return what appends a node of an operator; it returns its result, or several for ``count``."""

        def append(*operands: Any, count: int = 1, **attributes: Any) -> Any:
            names = [x if isinstance(x, str) else self.constant(np.asarray(x)) for x in operands]
            number = next(self._numbers)
            results = [f"{operator}{number}_{i}" for i in range(count)]
            self._nodes.append(helper.make_node(operator, names, results, **attributes))
            return results[0] if count == 1 else results

        return append

    def constant(self, array: Array) -> str:
        """Return the name of an initializer, of float32 where an array is of float64."""
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"constant{next(self._numbers)}"
            self._constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def loop(self, trips: Any, step: Callable[..., Sequence[Any]], *state: Any, first: Any = ALWAYS) -> Any:
        """Append a loop; a step is given a graph and a state, and returns whether there is another, and the state.

        ``first`` is whether there is a first one. Constants are the body's own, which onnxruntime prepares.
        """
        names = [f"given{next(self._numbers)}" for _ in range(len(state) + 2)]
        inner = Graph()
        inner._numbers = self._numbers
        results = [x if isinstance(x, str) else inner.constant(np.asarray(x)) for x in step(inner, *names[2:])]
        inner_results = {name for node in inner._nodes for name in node.output}
        # A result of a body is that of a node of its own.
        results = [x if x in inner_results else inner.Identity(x) for x in results]
        count, flag = (_info(name, (dtype,)) for name, dtype in zip(names, ("int64", "bool"), strict=False))
        given, outputs = ([onnx.ValueInfoProto(name=name) for name in side] for side in (names[2:], results))
        body = helper.make_graph(inner._nodes, "body", [count, flag, *given], outputs, inner._constants)
        trips, first = (x if isinstance(x, str) else np.array(x) for x in (trips, first))
        return self.Loop(trips, first, *state, body=body, count=len(state))

    def model(self, *outputs: str) -> bytes:
        """Return the model."""
        infos = [onnx.ValueInfoProto(name=name) for name in outputs]
        graph = helper.make_graph(self._nodes, "by_hand", self._infos, infos, self._constants)
        opset = helper.make_opsetid("", 21)
        return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


def _info(name: str, dims: tuple[Any, ...]) -> onnx.ValueInfoProto:
    dtype, dims = (dims[0], dims[1:]) if dims and isinstance(dims[0], str) else ("float32", dims)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims)

"""Models of some of the programs of many small steps, written by hand with as few nodes as we can think of.

They are what a person may write who knows the program, the numbers in it and onnxruntime: loops are unrolled, sums of
products are one Gemm whatever they stand for, and a gain that is the same in any run is a constant. They say what
onnxruntime's price of a node allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array = np.ndarray[Any, Any]


class Graph:
    """Collects nodes; a method call such as ``graph.Add(a, b)`` appends one, and arrays become initializers."""

    def __init__(self, *inputs: tuple[int, ...]) -> None:
        self.inputs = [f"x{i}" for i in range(len(inputs))]
        self._infos = [helper.make_tensor_value_info(n, 1, s) for n, s in zip(self.inputs, inputs, strict=True)]
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._known: dict[Any, str] = {}

    def __getattr__(self, operator: str) -> Callable[..., Any]:
        """Return what appends a node of an operator; it returns its result, or several for ``count``."""

        def append(*operands: Any, count: int = 1, **attributes: Any) -> Any:
            names = [x if isinstance(x, str) else self._constant(np.asarray(x)) for x in operands]
            results = [f"{operator}{len(self._nodes)}_{i}" for i in range(count)]
            self._nodes.append(helper.make_node(operator, names, results, **attributes))
            return results[0] if count == 1 else results

        return append

    def _constant(self, array: Array) -> str:
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"c{len(self._known)}"
            self._constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def model(self, *outputs: str) -> bytes:
        """Return the model."""
        infos = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
        graph = helper.make_graph(self._nodes, "by_hand", self._infos, infos, self._constants)
        opset = helper.make_opsetid("", 21)
        return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


def neuron() -> bytes:
    """Write each step in 9 nodes; voltages are carried in tens of millivolts, which the sigmoids take."""
    g = Graph((5,), (3, 5), (80,))
    v, gates, current = g.inputs
    parents = np.eye(5)[[0, 0, 1, 1, 3]]
    flow = np.eye(5) + 0.01 * (parents - np.eye(5))
    inflow = g.Split(g.MatMul(g.Reshape(current, [80, 1]), 0.01 * np.eye(1, 5)), count=80, axis=0, num_outputs=80)
    w = g.Mul(g.Reshape(v, [1, 5]), np.float32(0.1))
    steps = []
    for t in range(80):
        shifted, driving = g.Split(g.Sub(w, [[0.0], [1.0], [2.0], [5.0], [-7.7]]), [3, 2], count=2, axis=0)
        gates = g.Gemm(g.Sigmoid(shifted), np.eye(5), gates, alpha=0.05, beta=0.95)
        factors = g.Gather(g.Concat(gates, driving, np.ones((1, 5)), axis=0), [[0, 2], [0, 5], [0, 5], [1, 5], [3, 4]])
        currents = g.ReduceProd(factors, np.array([0]), keepdims=0)
        w = g.Gemm(np.ones((1, 2)), currents, g.Gemm(w, flow.T, inflow[t]), alpha=-0.1)
        steps.append(w)
    first = g.Mul(g.Gather(g.Concat(*steps, axis=0), np.array(0), axis=1), np.float32(10))
    return g.model(g.Reshape(g.Mul(w, np.float32(10)), [5]), gates, first)


def kalman_filter() -> bytes:
    """Write each step in 1 node: no gain depends on an observation, nor does a covariance."""
    from step_programs import kalman_model

    f, q, h, r = (np.asarray(x, np.float64) for x in kalman_model())
    cov, gains, moves, covs = np.eye(4), [], [], []
    for _ in range(30):
        cov = f @ cov @ f.T + q
        s = h @ cov @ h.T + r
        gain = np.linalg.solve(s, h @ cov).T
        cov = cov - gain @ s @ gain.T
        gains.append(gain)
        moves.append((np.eye(4) - gain @ h) @ f)
        covs.append(cov)
    g = Graph((4,), (30, 2))
    mean, ys = g.inputs
    seen = g.MatMul(g.Reshape(ys, [30, 1, 2]), np.stack(gains).swapaxes(1, 2))
    pieces = g.Split(g.Reshape(seen, [30, 4]), count=30, axis=0, num_outputs=30)
    mean = g.Reshape(mean, [1, 4])
    means = []
    for move, piece in zip(moves, pieces, strict=True):
        mean = g.Gemm(mean, move.T, piece)
        means.append(mean)
    return g.model(g.Concat(*means, axis=0), g.Identity(np.stack(covs)))


def physics() -> bytes:
    """Write each step in 11 nodes: the differences of neighbours and the sum of forces are products."""
    g = Graph((6, 3), (6, 3))
    pos, vel = g.inputs
    between = np.eye(5, 6, k=1) - np.eye(5, 6)
    sums = 0.99 * 0.01 * np.concatenate([-20 * between.T, 100 * np.eye(6)], axis=1)
    weight = np.array([0.0, 0.0, -9.8 / 100])
    for _ in range(10):
        d = g.MatMul(between, pos)
        square = g.Add(g.ReduceSumSquare(d, np.array([1]), keepdims=1), np.float32(1e-6))
        pull = g.Mul(d, g.Sub(np.float32(1), g.Pow(square, np.float32(-0.5))))
        depth = g.Max(g.Gemm(pos, np.diag([0.0, 0.0, -1.0]), weight), weight)
        vel = g.Gemm(sums, g.Concat(pull, depth, axis=0), vel, beta=0.99)
        pos = g.Gemm(vel, np.eye(3), pos, alpha=0.01)
    return g.model(pos, vel)


def sinkhorn() -> bytes:
    """Write each iteration in 4 nodes, with exponentials in place of logarithms, which may overflow."""
    g = Graph((8, 2), (9, 2))
    x, y = g.inputs
    apart = g.ReduceSumSquare(g.Sub(g.Reshape(x, [8, 1, 2]), y), np.array([2]), keepdims=0)
    kernel = g.Exp(g.Mul(apart, np.float32(-2)))
    rows, columns = g.Mul(kernel, np.float32(1 / 9)), g.Mul(kernel, np.float32(1 / 8))
    u: Any = None
    v: Any = np.ones(9, np.float32)
    for _ in range(40):
        u = g.Reciprocal(g.MatMul(rows, v))
        v = g.Reciprocal(g.MatMul(u, columns))
    return g.model(g.Log(u), g.Log(v))


def lstm() -> bytes:
    """Write the scan as ONNX's LSTM, whose gates have another order."""
    from step_programs import lstm_weights

    w, u = lstm_weights()

    def reordered(weights: Array) -> Array:
        i, f, c, o = np.split(weights, 4, axis=1)
        return np.concatenate([i, o, f, c], axis=1).T[None]

    g = Graph((32, 2, 8), (2, 16))
    xs, h = g.inputs
    start = g.Reshape(h, [1, 2, 16])
    ys = g.LSTM(xs, reordered(w), reordered(u), "", "", start, np.zeros((1, 2, 16)), hidden_size=16)
    return g.model(g.Reshape(ys, [32, 2, 16]))


MODELS: dict[str, Callable[[], bytes]] = {
    model.__name__: model for model in (neuron, kalman_filter, physics, sinkhorn, lstm)
}
"""Name of a program -> what makes the model."""


def feeds_of(arrays: Sequence[Array]) -> dict[str, Array]:
    """Return the inputs of a model by their names."""
    return {f"x{i}": array for i, array in enumerate(arrays)}

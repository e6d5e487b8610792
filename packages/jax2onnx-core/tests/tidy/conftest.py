"""Graphs in ONNX's text form: parsed, tidied, checked and run."""

from __future__ import annotations

import collections
import functools

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from jax2onnx.output.names import unique_names
from jax2onnx.tidy.initializers import UNNAMED
from jax2onnx.tidy.tidy import tidy

HEAD = '<ir_version: 10, opset_import: ["" : {opset}, "local" : 1]>\n'
OPSET = 18
ABBREVIATIONS = {
    "TO_NCHW": "Transpose<perm = [0, 3, 1, 2]>",
    "TO_NHWC": "Transpose<perm = [0, 2, 3, 1]>",
    "CONV": "Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>",
}
WEIGHTS = {"w1": (4, 3, 3, 3), "w2": (4, 4, 3, 3), "b": (4,), "dense": (256, 5), "pointwise": (4, 5)}
"""The initializers that a graph may use without declaring them."""


class Graphs:
    """What tests of rewrites do with graphs."""

    def parse_model(self, text: str, opset: int = OPSET) -> onnx.ModelProto:
        """Parse a graph, and functions of the domain ``local`` if there are any."""
        for name, operator in ABBREVIATIONS.items():
            text = text.replace(name, operator)
        return onnx.parser.parse_model(HEAD.format(opset=opset) + "agraph " + text)

    def parse(self, text: str, opset: int = OPSET) -> onnx.ModelProto:
        """Parse a graph; initializers without values get random ones, and all shapes are inferred."""
        model = self.parse_model(text, opset)
        given = {i.name for i in model.graph.initializer}
        used = {name for node in all_nodes(model.graph) for name in node.input}
        shapes = {name: shape for name, shape in WEIGHTS.items() if name in used}
        for value in model.graph.value_info:
            if value.name not in given:
                shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        generator = np.random.default_rng(0)
        for name, shape in shapes.items():
            if name not in given and name not in {i.name for i in model.graph.input}:
                array = generator.normal(size=shape).astype("float32")
                model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        del model.graph.value_info[:]
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)

    def tidied(self, model: onnx.ModelProto, **options: bool) -> onnx.ModelProto:
        """Return the model as it is after tidying; ``const_...`` are no parameters."""
        tree = ir.from_proto(model)
        for name, value in tree.graph.initializers.items():
            if name.startswith("const_"):
                value.meta[UNNAMED] = True
        tidy(tree, **options)
        unique_names(tree)  # as every export does: rewrites of several graphs leave values without names
        after = ir.to_proto(tree)
        # The full check infers shapes anew and refuses a declared one that is not true.
        onnx.checker.check_model(after, full_check=True)
        return after

    def count(self, model: onnx.ModelProto) -> dict[str, int]:
        """Return how many nodes of each operator a model has, in subgraphs too."""
        return collections.Counter(n.op_type for n in all_nodes(model.graph))

    def run(self, model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run a model as it is."""
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        return functools.partial(ort.InferenceSession(model.SerializeToString(), options).run, None)(feeds)

    def same_numbers(self, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
        """Check that two models return the same, where symbolic dims are 1 and 3."""
        for size in (1, 3):
            generator = np.random.default_rng(size)
            feeds = {}
            for value in before.graph.input:
                dims = value.type.tensor_type.shape.dim
                shape = [d.dim_value if d.HasField("dim_value") else size for d in dims]
                feeds[value.name] = generator.normal(size=shape).astype("f4")
            for want, got in zip(self.run(before, feeds), self.run(after, feeds), strict=True):
                assert want.shape == got.shape
                np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)

    def same_bits(self, before: onnx.ModelProto, after: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> None:
        """Check that two models return equal numbers, of which zeros have the same sign and NaN are where they were."""
        for want, got in zip(self.run(before, feeds), self.run(after, feeds), strict=True):
            np.testing.assert_array_equal(got, want, strict=True)
            if got.dtype.kind == "f":
                np.testing.assert_array_equal(np.signbit(got)[got == 0], np.signbit(want)[got == 0])

    def has(self, model: onnx.ModelProto, expected: dict[str, int]) -> None:
        """Check how many nodes of some operators a model has."""
        found = self.count(model)
        assert {op: found.get(op, 0) for op in expected} == expected, found

    def check(self, text: str, expected: dict[str, int], **options: bool) -> None:
        """Check how many nodes a graph has after tidying, and that its outputs and their numbers are the same."""
        before = self.parse(text)
        after = self.tidied(before, **options)
        self.has(after, expected)
        assert [o.name for o in after.graph.output] == [o.name for o in before.graph.output]
        self.same_numbers(before, after)


def all_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    nodes = list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                nodes += all_nodes(attribute.g)
    return nodes


@pytest.fixture
def graphs() -> Graphs:
    return Graphs()

"""Which ONNX functions the models define: one for each distinct block, however often it is called."""

import re
from collections import Counter

import jax
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from flax import nnx

from jax2onnx import check, onnx_function, to_onnx
from jax2onnx.testing import cases
from jax2onnx_examples.models.transformer import TransformerBlock

FUNCTIONS = {
    "000_one_function_outer": {"jax2onnx::SuperBlock": 1},
    "001_one_function_inner": {"jax2onnx::MLPFunction": 1},
    "002_two_nested_functions": {"jax2onnx::SuperBlock": 1, "jax2onnx::MLPFunction": 1},
    "003_two_simple_nested_functions": {"examples::Outer": 1, "jax2onnx::Nested": 2},
    "004_nested_function_plus_component": {"jax2onnx::BlockAndNorm": 1, "jax2onnx::Nested": 1},
    "005_nested_function_plus_component": {"jax2onnx::BlockAndAttention": 1, "jax2onnx::Nested": 1},
    "008_transformer_block": {
        "jax2onnx::TransformerBlock": 1,
        "jax2onnx::MultiHeadAttention": 1,
        "jax2onnx::FeedForward": 1,
    },
    "009_transformer_block": {"jax2onnx::attend": 1, "jax2onnx::FeedForward": 1},
    "010_transformer_block": {
        "jax2onnx::TransformerStack": 1,
        "jax2onnx::TransformerBlock": 3,
        "jax2onnx::MultiHeadAttention": 1,
        "jax2onnx::FeedForward": 1,
    },
    "011_vit_conv_embedding": {
        "jax2onnx::VisionTransformer": 1,
        "jax2onnx::ConvEmbedding": 1,
        "jax2onnx::TransformerStack": 1,
        "jax2onnx::TransformerBlock": 3,
        "jax2onnx::MultiHeadAttention": 1,
        "jax2onnx::FeedForward": 1,
    },
}
"""For each example its functions, each with the number of nodes, in the graph and in functions, that call it."""


def functions(model):
    """Return the functions a model defines, with the number of their calls."""
    defined = [f"{f.domain}::{f.name}" for f in model.functions]
    assert len(defined) == len(set(defined))
    nodes = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    calls = Counter(f"{n.domain}::{n.op_type}" for n in nodes)
    return {name: calls[name] for name in defined}


@pytest.mark.parametrize("case", cases(contexts=["examples.onnx_functions"]), ids=str)
def test_functions_of_the_example(case):
    model = to_onnx(case.example.make(), case.inputs, fusions=case.fusions)
    assert functions(model) == FUNCTIONS[case.example.name]


@onnx_function
class Block(TransformerBlock):
    pass


class Stack(nnx.Module):
    def __init__(self, blocks, heads):
        self.blocks = nnx.List(blocks(32, n, 64, rngs=nnx.Rngs(i)) for i, n in enumerate(heads))

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def export(blocks, heads):
    stack = Stack(blocks, heads)
    stack.eval()
    return stack, to_onnx(stack, [("B", 10, 32)])


def test_twelve_blocks_share_one_function_and_the_file_is_no_larger():
    stack, plain = export(TransformerBlock, [4] * 12)
    _, outlined = export(Block, [4] * 12)
    assert functions(plain) == {}
    assert functions(outlined) == {"jax2onnx::Block": 12}
    assert outlined.ByteSize() <= 1.01 * plain.ByteSize()
    names = [sorted(t.name for t in model.graph.initializer if np.prod(t.dims) > 32) for model in (plain, outlined)]
    assert "blocks.11.mlp.up.kernel" in names[1]
    x = np.random.default_rng(0).normal(size=(7, 10, 32)).astype("float32")
    for model in (plain, outlined):
        onnx.checker.check_model(model, full_check=True)
        (found,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
        np.testing.assert_allclose(found, jax.device_get(stack(x)), rtol=2e-4, atol=2e-5)


def test_blocks_of_different_configuration_are_different_functions():
    _, model = export(Block, [4, 8, 4])
    assert sorted(functions(model).values()) == [1, 2]


def test_every_module_as_a_function_shows_the_module_tree():
    (case,) = (c for c in cases("examples") if c.name == "vit_patch_embedding_dynamic" and c.fusions)
    vit = case.example.make()
    model = to_onnx(vit, case.inputs, functions="modules")
    onnx.checker.check_model(model, full_check=True)

    def called(nodes):
        return {re.sub(r"_\d+$", "", n.op_type) for n in nodes if n.domain} - {"Dropout"}

    tree = {f.name: called(f.node) for f in model.functions}
    assert called(model.graph.node) == {"PatchEmbedding", "TransformerStack", "LayerNorm", "Linear"}
    assert tree["PatchEmbedding"] == {"Linear"}
    assert tree["TransformerStack"] == {"TransformerBlock"}
    assert tree["TransformerBlock"] == {"LayerNorm", "MultiHeadAttention", "MLPBlock"}
    assert tree["MultiHeadAttention"] == {"LinearGeneral"}
    assert tree["MLPBlock"] == {"Linear"}
    check(model, vit, case.inputs)


def inputs_of(model):
    return {f.name: list(f.input) for f in model.functions}


def test_inputs_of_functions_are_named_by_parameter_and_path():
    @onnx_function
    def mixed(batch, param_0, *rest, scale):
        table = np.arange(300, dtype=np.float32)
        return batch["a"] * param_0 + batch["b"][1] * scale + rest[0] + table[:3] + table.sum()

    def fn(x):
        return jax.vmap(lambda row: mixed({"a": row, "b": [row, row + 1]}, row, row, scale=row))(x)

    model = to_onnx(fn, [("B", 3)])
    names = inputs_of(model)["mixed"]
    assert names[:5] == ["batch.a", "batch.b.1", "param_0", "rest.0", "scale"]
    assert len(set(names)) == len(names)
    check(model, fn, [("B", 3)])


def test_weights_of_functions_are_named_by_path():
    _, model = export(Block, [4, 4])
    names = inputs_of(model)["Block"]
    assert {"attention.value.kernel", "attention.key.bias", "mlp.up.kernel", "norm1.scale", "x"} <= set(names)
    assert names[-1] == "x"


def test_a_gradient_of_a_function_has_inputs_by_number():
    @onnx_function
    def square(x):
        return x * x

    grad = jax.grad(lambda x: square(x).sum())
    model = to_onnx(grad, [(3,)])
    assert all(name.startswith("input_") for f in model.functions for name in f.input)
    check(model, grad, [(3,)])

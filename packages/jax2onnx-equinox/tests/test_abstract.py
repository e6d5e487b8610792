"""Modules of equinox that are abstract or mapped from files."""

import equinox as eqx
import jax
import numpy as np

from jax2onnx import check, save_onnx, to_onnx
from jax2onnx.plugin import StoredArray

INPUTS = [("B", 32)]


def test_arrays_that_are_elsewhere(tmp_path):
    sizes, key = (32, 16, 64, 2), jax.random.key(0)
    net, abstract = eqx.nn.MLP(*sizes, key=key), eqx.filter_eval_shape(eqx.nn.MLP, *sizes, key=key)
    held = jax.tree_util.tree_leaves_with_path(eqx.filter(net, eqx.is_array))
    arrays = {jax.tree_util.keystr(path): np.asarray(array) for path, array in held}
    batched, without = eqx.filter_vmap(net), eqx.filter_vmap(abstract)
    save_onnx(without, INPUTS, tmp_path / "m.onnx", weights=arrays)
    check(tmp_path / "m.onnx", batched, INPUTS, sizes=[2], kinds=["ordinary"])
    assert to_onnx(without, INPUTS, weights=arrays) == to_onnx(batched, INPUTS)


def test_memory_maps_are_not_copied(tmp_path):
    weight = np.memmap(tmp_path / "weight", np.float32, "w+", shape=(300, 300))
    net = eqx.tree_at(lambda m: m.weight, eqx.nn.Linear(300, 300, use_bias=False, key=jax.random.key(0)), weight)
    model = to_onnx(eqx.filter_vmap(net), [("B", 300)], return_mode="ir")
    (tensor,) = [value.const_value for value in model.graph.initializers.values() if value.name == "weight"]
    assert isinstance(tensor.source, StoredArray)
    assert np.shares_memory(tensor.source.read(), weight)

"""Modules of linen whose variables are abstract or mapped from files."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx import check, save_onnx, to_onnx
from jax2onnx.plugin import StoredArray


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (3, 3))(x))
        x = nn.BatchNorm(use_running_average=True)(x)
        return nn.Dense(40)(x.reshape(x.shape[0], -1))


INPUTS = [("B", 4, 4, 3)]


def test_variables_that_are_elsewhere(tmp_path):
    net, x = Net(), jnp.zeros((1, 4, 4, 3))
    variables = net.init(jax.random.key(0), x)
    abstract = jax.eval_shape(net.init, jax.random.key(0), x)
    held = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}
    np.savez(tmp_path / "w.npz", **held)
    save_onnx((net, abstract), INPUTS, tmp_path / "m.onnx", weights=tmp_path / "w.npz")
    check(tmp_path / "m.onnx", (net, variables), INPUTS, sizes=[2], kinds=["ordinary"])
    assert to_onnx((net, abstract), INPUTS, weights=variables) == to_onnx((net, variables), INPUTS)


def test_memory_maps_are_not_copied(tmp_path):
    kernel = np.memmap(tmp_path / "kernel", np.float32, "w+", shape=(300, 300))
    model = to_onnx((nn.Dense(300, use_bias=False), {"params": {"kernel": kernel}}), [("B", 300)], return_mode="ir")
    source = model.graph.initializers["kernel"].const_value.source
    assert isinstance(source, StoredArray)
    assert np.shares_memory(source.read(), kernel)

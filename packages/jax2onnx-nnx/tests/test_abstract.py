"""Modules without arrays: their weights are in files, and are not in memory."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from flax import nnx

from jax2onnx import check, save_onnx, to_onnx
from jax2onnx.errors import InputSpecError
from jax2onnx.plugin import StoredArray


class Net(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(10, 32, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(32, 32, rngs=rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(32, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.again = self.layers[0]

    def __call__(self, tokens):
        x = self.embed(tokens)
        for layer in (*self.layers, self.again):
            x = jnp.tanh(layer(x))
        return self.embed.attend(self.drop(self.norm(x)))


class Recurrent(nnx.Module):
    def __init__(self, rngs):
        self.rnn = nnx.RNN(nnx.OptimizedLSTMCell(4, 8, rngs=rngs), rngs=rngs)

    def __call__(self, x):
        return self.rnn(x)


class Noisy(nnx.Module):
    def __init__(self, rngs):
        self.rngs = rngs

    def __call__(self, x):
        return x + jax.random.normal(self.rngs(), x.shape)


CASES = {"net": (Net, ["int32[B,3]"]), "recurrent": (Recurrent, [("B", 5, 4)])}


def made(kind):
    module, abstract = kind(nnx.Rngs(0)), nnx.eval_shape(lambda: kind(nnx.Rngs(0)))
    module.eval()
    abstract.eval()
    return module, abstract


def arrays(module):
    flat = nnx.to_flat_state(nnx.state(module, (nnx.Param, nnx.BatchStat)))
    return {"/".join(map(str, path)): np.asarray(variable[...]) for path, variable in flat}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_abstract_module(tmp_path, case):
    module, abstract = made(case[0])
    save_onnx(abstract, case[1], tmp_path / "m.onnx", weights=arrays(module))
    check(tmp_path / "m.onnx", module, case[1], sizes=[2], kinds=["ordinary"])
    check(tmp_path / "m.onnx", abstract, case[1], sizes=[2], kinds=["ordinary"], weights=arrays(module))


def test_the_model_is_that_of_the_module():
    module, abstract = made(Net)
    one, other = to_onnx(module, CASES["net"][1]), to_onnx(abstract, CASES["net"][1], weights=arrays(module))
    assert one == other


def test_a_key_on_which_results_depend():
    _, abstract = made(Noisy)
    with pytest.raises(InputSpecError, match=r"the random key 'rngs\..*' is abstract, and results depend on it"):
        to_onnx(abstract, [(3,)])


def test_memory_maps_are_not_copied(tmp_path):
    kernel = np.memmap(tmp_path / "kernel", np.float32, "w+", shape=(300, 300))
    kernel[...] = np.random.default_rng(0).normal(size=kernel.shape)
    module = nnx.eval_shape(lambda: nnx.Linear(300, 300, use_bias=False, rngs=nnx.Rngs(0)))
    module.kernel = nnx.Param(kernel)
    model = to_onnx(module, [("B", 300)], return_mode="ir")
    tensor = model.graph.initializers["kernel"].const_value
    assert isinstance(tensor.source, StoredArray)
    assert np.shares_memory(tensor.source.read(), kernel)
    save_onnx(module, [("B", 300)], tmp_path / "m.onnx")
    assert onnx.numpy_helper.to_array(onnx.load(tmp_path / "m.onnx").graph.initializer[0]).tobytes() == kernel.tobytes()
    # The model has a copy, even of a file beside it: nobody named that as weights.
    save_onnx({"one": (module, [("B", 300)])}, tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.stat().st_size == kernel.nbytes} > {"kernel"}
    kept = kernel.tobytes()
    kernel[...] = 0
    kernel.flush()
    assert onnx.numpy_helper.to_array(onnx.load(tmp_path / "one.onnx").graph.initializer[0]).tobytes() == kept


def test_checkpoints_of_orbax(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ocp = pytest.importorskip("orbax.checkpoint")
        module, abstract = made(Net)
        state = nnx.state(module, (nnx.Param, nnx.BatchStat))
        ocp.PyTreeCheckpointer().save(tmp_path / "state", state)
        ocp.PyTreeCheckpointer().save(tmp_path / "plain", {"model": nnx.to_pure_dict(state)})
        for folder in ("state", "plain"):
            save_onnx(abstract, ["int32[B,3]"], tmp_path / f"{folder}.onnx", weights=tmp_path / folder)
            check(tmp_path / f"{folder}.onnx", module, ["int32[B,3]"], sizes=[2], kinds=["ordinary"])

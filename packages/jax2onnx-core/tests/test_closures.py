# ruff: noqa: PLW0108 - lambdas over layers are what is tested
"""Framework objects that a function uses without taking them are opened as if it took them."""

import functools
import gc
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_framework import Layer, Linear, Noise

from jax2onnx import check, onnx_function, to_onnx
from jax2onnx.testing import Runner, operators

pytestmark = pytest.mark.usefixtures("toy")


class Net(Layer):
    def __init__(self, seed=0):
        self.first = Linear(3, 4, seed)
        self.noise = Noise()

    def __call__(self, x):
        return self.noise(self.first(x))

    def encode(self, x):
        return self.first(x)


NET = Net(7)
PAIR = {"left": Net(8), "right": Net(9)}
calls = 0


def through_a_global(x):
    return NET(x)


def through_a_helper(x):
    return [through_a_global(row) for row in x]


def through_itself(x, depth=2):
    return through_itself(NET(x)[:, :3], depth - 1) if depth else x


def pair(x):
    return PAIR["left"](x) + PAIR["right"](x)


def counting(x):
    global calls  # noqa: PLW0603
    calls += 1
    return NET.encode(x)


def local():
    model = Net()
    encode = model.encode
    bound = functools.partial(Net.__call__, model)

    def by_default(x, net=model):
        return net(x)

    def by_keyword(x, *, net=model):
        return net(x)

    def inner(x):
        return model(x)

    def outer(x):
        return inner(x) * 2

    @functools.wraps(inner)
    def wrapper(*args):
        return inner(*args)

    return {
        "lambda": (lambda x: model(x), "model"),
        "method": (lambda x: encode(x), "encode"),
        "partial in a cell": (lambda x: bound(x), "bound"),
        "default": (by_default, "net"),
        "keyword default": (by_keyword, "net"),
        "function in a cell": (outer, "model"),
        "wrapper": (wrapper, "model"),
        "jit": (jax.jit(lambda x: model(x)), "model"),
        "jit inside": (lambda x: jax.jit(model.encode)(x), "model"),
        "vmap": (jax.vmap(model.encode), "fun"),
        "partial of a function": (functools.partial(lambda scale, x: model(x) * scale, 2.0), "model"),
        "global": (through_a_global, "NET"),
        "helper": (through_a_helper, "NET"),
    }


@pytest.mark.filterwarnings("ignore:not in evaluation mode")
@pytest.mark.parametrize("form", local())
def test_weights_are_named_and_the_form_is_that_of_inference(form):
    fn, name = local()[form]
    model = to_onnx(fn, [(5, 3)])
    assert {f"{name}.first.weight", f"{name}.first.bias"} <= {t.name for t in model.graph.initializer}
    assert [i.name for i in model.graph.input] == ["x"]
    assert set(operators(model)) <= {"Gemm", "MatMul", "Add", "Mul", "Split", "Squeeze", "Gather", "Slice", "Unsqueeze"}
    check(model, fn, [(5, 3)], kinds=("ordinary",))


@pytest.mark.filterwarnings("ignore:not in evaluation mode")
def test_a_container_of_layers_and_recursion():
    names = {t.name for t in to_onnx(pair, [("B", 3)]).graph.initializer}
    assert {"PAIR.left.first.weight", "PAIR.right.first.weight"} <= names
    model = to_onnx(through_itself, [("B", 3)])
    assert "NET.first.weight" in {t.name for t in model.graph.initializer}
    check(model, through_itself, [("B", 3)], kinds=("ordinary",), sizes=(2,))


def test_one_warning_names_the_layer():
    net = Net()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        to_onnx(lambda x: net(x), [(2, 3)])
    (warning,) = caught
    assert warning.filename == __file__
    assert "net.noise (Noise)" in str(warning.message)


def test_training_and_state_are_those_of_the_object():
    net = Net()
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    trained = to_onnx(lambda x: net(x), [(4, 3)], training=True)
    np.testing.assert_allclose(Runner(trained).run([x])[0], jax.tree.map(jnp.asarray, net)(x), rtol=1e-5, atol=1e-6)
    step = to_onnx(lambda x: net(x), [(4, 3)], training=True, state="io")
    assert {i.name for i in step.graph.input} == {"x", "net.noise.count_"}


@pytest.mark.filterwarnings("ignore:not in evaluation mode")
def test_nothing_of_the_user_changes():
    net = Net()
    fn = lambda x: NET(net(x)[:, :3])  # noqa: E731
    cells, code, before = [c.cell_contents for c in fn.__closure__], fn.__code__, dict(fn.__globals__)
    to_onnx(fn, [(2, 3)])
    assert [c.cell_contents for c in fn.__closure__] == cells
    assert fn.__code__ is code
    assert fn.__globals__ is globals()
    assert dict(fn.__globals__) == before
    assert net.noise.training
    assert int(net.noise.count_) == int(NET.noise.count_) == 0
    gc.collect()
    assert isinstance(net.first.weight, jax.Array)
    assert not isinstance(net.first.weight, jax.core.Tracer)


@pytest.mark.filterwarnings("ignore:not in evaluation mode")
def test_a_cell_that_is_shared_stays_shared():
    net, total = Net(), 0

    def fn(x):
        nonlocal total
        total += 1
        return net(x)

    to_onnx(fn, [(2, 3)])
    assert total == 1


def test_a_function_that_assigns_globals_is_left_and_says_so():
    before = calls
    with pytest.warns(UserWarning, match="the global NET .*counting assigns globals"):
        model = to_onnx(counting, [(2, 3)])
    assert calls == before + 1
    assert not any("weight" in t.name for t in model.graph.initializer)


@pytest.mark.filterwarnings("ignore:not in evaluation mode")
def test_a_function_that_assigns_globals_may_reach_an_object_through_a_cell():
    net = Net()

    def fn(x):
        global calls  # noqa: PLW0603
        calls += 1
        return net(x)

    before = calls
    model = to_onnx(fn, [(2, 3)])
    assert calls == before + 1
    assert "net.first.weight" in {t.name for t in model.graph.initializer}


def test_a_plain_object_with_a_layer_is_left_and_says_so():
    class Pipeline:
        def __init__(self):
            self.net = Linear(3, 4)

        def __call__(self, x):
            return self.net(x)

        run = __call__

    for fn in (Pipeline(), Pipeline().run):
        with pytest.warns(UserWarning, match="the attribute net .*no plugin opens a Pipeline"):
            model = to_onnx(fn, [("B", 3)])
        check(model, fn, [("B", 3)])


class Wrapper:
    """A framework's own jit, for example."""

    def __init__(self, function):
        functools.update_wrapper(self, function)

    def __call__(self, x):
        return self.__wrapped__(x)


def test_a_layer_within_another_kind_of_wrapper_is_left_and_says_so():
    net = Linear(3, 4)
    with pytest.warns(UserWarning, match="net keeps its mode.*reached through a Wrapper"):
        to_onnx(Wrapper(lambda x: net(x) * 2), [("B", 3)])


@pytest.mark.parametrize("of", ["layer", "method"])
def test_a_layer_that_is_jitted_is_the_layer(of):
    net = Linear(3, 4)
    fn = jax.jit(net if of == "layer" else net.__call__)
    model = to_onnx(fn, [("B", 3)])
    assert {t.name for t in model.graph.initializer} == {"weight", "bias"}
    check(model, fn, [("B", 3)])


@pytest.mark.filterwarnings("ignore:not in evaluation mode")
def test_onnx_functions_over_a_closure():
    net = Net()

    @onnx_function
    def block(x):
        return net.encode(x) * 2

    model = to_onnx(lambda x: block(block(x)[:, :3]), [("B", 3)])
    assert [f.name for f in model.functions] == ["block"]
    assert "net.first.weight" in {t.name for t in model.graph.initializer}
    check(model, lambda x: block(block(x)[:, :3]), [("B", 3)], kinds=("ordinary",), sizes=(2,))

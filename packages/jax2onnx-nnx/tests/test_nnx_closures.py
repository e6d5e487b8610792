"""What else of nnx than modules a program uses without taking it: variables, pytrees, optimizers, metrics, keys."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from jax2onnx import check, to_onnx

pytestmark = [
    pytest.mark.filterwarnings("ignore:not in evaluation mode"),
    pytest.mark.filterwarnings("ignore:'.value' access is now deprecated"),
]


class Net(nnx.Module):
    def __init__(self):
        self.linear = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(4, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.norm(self.linear(x))


class Scale(nnx.Pytree):
    def __init__(self):
        self.factor = nnx.Variable(jnp.array(2.0))
        self.shift = jnp.ones(4)
        self.times = 3

    def __call__(self, x):
        return x * self.factor[...] ** self.times + self.shift


class Policy:
    """A plain class that holds nnx objects, its module not in evaluation mode."""

    def __init__(self):
        self.net = Net()
        self.scale = nnx.Param(jnp.arange(4.0))
        self.heads = {"a": nnx.Linear(4, 2, rngs=nnx.Rngs(1))}

    def act(self, x):
        return self.heads["a"](self.net(x) * self.scale[...])


def programs():
    variable = nnx.Param(jnp.arange(4.0))
    cache = {"a": [variable]}
    count = nnx.Variable(jnp.array(1))
    scale = Scale()
    rngs = nnx.Rngs(0)
    average = nnx.metrics.Average()
    metrics = nnx.MultiMetric(loss=nnx.metrics.Average("loss"), norm=nnx.metrics.Average("norm"))
    trained, frozen = Net(), Net()
    trained.eval()
    frozen.eval()
    optimizer = nnx.Optimizer(trained, optax.adam(0.1), wrt=nnx.Param)
    graph, state = nnx.split(frozen)
    policy = Policy()

    def counting(x):
        count[...] += 1
        return x * count[...]

    def averaging(x):
        average.update(values=x)
        return average.compute()

    def measuring(x):
        metrics.update(loss=x, norm=x * 2)
        return metrics.compute()

    def training_step(x):
        loss, grads = nnx.value_and_grad(lambda net: (net(x) ** 2).mean())(trained)
        optimizer.update(trained, grads)
        return loss, trained.linear.kernel[...]

    return {
        "variable": (lambda x: x * variable[...], "variable"),
        "variable in containers": (lambda x: x * cache["a"][0], "cache.a.0"),
        "variable in a partial": (functools.partial(lambda v, x: x * v, variable), "value"),
        "variable that changes": (counting, "count"),
        "beside a module": (lambda x: frozen(x) * variable, "variable frozen.linear.kernel"),
        "pytree": (lambda x: scale(x), "scale.factor scale.shift"),  # noqa: PLW0108
        "pytree itself": (scale, "factor shift"),
        "method of a pytree": (scale.__call__, "factor shift"),
        "random numbers": (lambda x: x + jax.random.normal(rngs.params(), (4,)), ""),
        "metric": (averaging, "average.count average.total"),
        "metrics": (measuring, "metrics.loss.total metrics.norm.total"),
        "optimizer": (lambda x: x * optimizer.step[...], "optimizer.step"),
        "training step": (training_step, "optimizer.opt_state.0.mu.linear.kernel trained.linear.kernel"),
        "state": (lambda x: nnx.merge(graph, state)(x) * 2, "state.linear.kernel"),
        "method of a plain class": (policy.act, "net.linear.kernel scale heads.a.kernel"),
        "plain object in a closure": (lambda x: policy.act(x), "policy.net.norm.mean policy.scale"),  # noqa: PLW0108
    }


@pytest.mark.parametrize("form", programs())
def test_what_a_program_holds_of_nnx_is_opened(form):
    fn, names = programs()[form]
    model = to_onnx(fn, [("B", 4)])
    assert set(names.split()) <= {t.name for t in model.graph.initializer}
    check(model, fn, [("B", 4)], kinds=("ordinary",), sizes=(3,))


def test_objects_of_the_user_stay_as_they_are():
    count, average = nnx.Variable(jnp.array(1)), nnx.metrics.Average()
    rngs = nnx.Rngs(0)

    def call(x):
        count[...] += 1
        average.update(values=x)
        return jax.random.normal(rngs(), (4,)) * count[...] + average.compute()

    to_onnx(call, [(3, 4)])
    assert int(count[...]) == 1
    assert int(average.count[...]) == 0
    assert int(rngs.default.count[...]) == 0


def test_state_of_what_a_program_holds():
    count, average = nnx.Variable(jnp.array(1)), nnx.metrics.Average()

    def call(x):
        count[...] += 1
        average.update(values=x)
        return x * count[...]

    model = to_onnx(call, [(3, 4)], state="io")
    assert {i.name for i in model.graph.input} == {"x", "count", "average.count", "average.total"}
    check(model, call, [(3, 4)], state="io", kinds=("ordinary",))

"""Arrays of a model whose values its Python code needs become constants; all others keep their names."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_framework import Layer

from jax2onnx import check, errors, onnx_function, to_onnx

pytestmark = pytest.mark.usefixtures("toy")

MASK = jnp.array([True, False, True, True])


class Net(Layer):
    """A layer whose code is ``body``; ``named`` is an array that no code needs the value of."""

    def __init__(self, body):
        self.body = body
        self.named = jnp.arange(1.0, 5)
        self.count = jnp.array(2)
        self.flag = jnp.array(True)  # noqa: FBT003
        self.table = jnp.linspace(0.1, 1, 4)
        self.order = jnp.array([3, 1, 0, 2])

    def __call__(self, x):
        return self.body(self, x) * self.named[0]


def conversions(net, x):
    x = x * int(net.count) * net.count.item() / math.sqrt(net.count)
    x = [x, x * 2, x * 3][net.count]
    return sum(x * i for i in range(net.count))


def python_while(net, x):
    steps = 0
    while steps < net.count:
        x, steps = x * 2, steps + 1
    return x


def in_a_scan(net, x):
    return jax.lax.scan(lambda carry, _: (carry * int(net.count), None), x, None, length=2)[0]


def differentiated(net, x):
    return jax.grad(lambda y: (y ** int(net.count)).sum())(x)


def loop_differentiated(net, x):
    def loss(y):
        return jax.lax.fori_loop(0, net.count, lambda _, z: z * 2, y).sum()

    return jax.grad(loss)(x)


def rematerialised(net, x):
    return jax.checkpoint(lambda y: y * float(net.count))(x)


BODIES = {
    "bool": (lambda net, x: x if net.flag else -x, "flag"),
    "conversions": (conversions, "count"),
    "tolist": (lambda net, x: x[:, net.order.tolist()[0]], "order"),
    "text": (lambda net, x: {"2": x}[f"{net.count}"], "count"),
    "while": (python_while, "count"),
    "numpy": (lambda net, x: x + np.outer(net.table, net.table)[1], "table"),
    "shape": (lambda net, x: x.reshape(-1, *net.order[2:3] + 4), "order"),
    "arange": (lambda net, x: x[:, : net.count] + jnp.arange(net.count), "count"),
    "pad": (lambda net, x: jnp.pad(x, ((0, 0), (0, net.count))), "count"),
    "slice": (lambda net, x: x[:, net.count :], "count"),
    "mask": (lambda net, x: x[:, net.table > 0.5], "table"),
    "nonzero": (lambda net, x: x[:, jnp.nonzero(net.order > 1)[0]], "order"),
    "repeat": (lambda net, x: jnp.repeat(x, net.order, axis=1), "order"),
    "derived": (lambda net, x: x * float(jnp.exp(jax.nn.relu(net.table).max())), "table"),
    "two": (lambda net, x: x * float(net.count * net.table.sum()), "count table"),
    "vmap": (lambda net, x: jax.vmap(lambda row: row * int(net.count))(x), "count"),
    "scan": (in_a_scan, "count"),
    "grad": (differentiated, "count"),
    "grad of a loop": (loop_differentiated, "count"),
    "remat": (rematerialised, "count"),
}


@pytest.mark.parametrize(("body", "needed"), BODIES.values(), ids=BODIES)
def test_what_python_needs_becomes_a_constant_alone(body, needed):
    net = Net(body)
    reports = []
    model = to_onnx(net, [("B", 4)], explain=reports.append)
    check(model, net, [("B", 4)])
    assert {constant.name for constant in reports[0].constants} == set(needed.split())
    names = {initializer.name for initializer in model.graph.initializer}
    assert "named" in names
    assert names.isdisjoint(needed.split())


def test_explain_names_the_array_its_type_and_the_line():
    net = Net(lambda net, x: x * int(net.count))  # the line to be named
    reports = []
    to_onnx(net, [(2, 4)], explain=reports.append)
    (constant,) = reports[0].constants
    assert (constant.name, constant.type) == ("count", "int32[]")
    source, line = constant.where.split(" ")[0].rsplit(":", 1)
    with open(source, encoding="utf-8") as file:  # noqa: PTH123
        assert "the line to be named" in file.readlines()[int(line) - 1]
    assert "count: int32[]\n    at " in str(reports[0])


def test_without_a_need_the_function_is_traced_once():
    calls = []

    def body(_, x):
        calls.append(x)
        return x

    reports = []
    to_onnx(Net(body), [(2, 4)], explain=reports.append)
    assert len(calls) == 1
    assert reports[0].constants == ()
    assert "constants" not in str(reports[0])


@pytest.mark.parametrize(
    "body",
    [
        lambda net, x: x if (net.table * x).sum() > 0 else -x,
        lambda net, x: x[: int(x[0, 0] * net.count)],
        lambda net, x: (x * int(net.count)) if x.sum() > 0 else x,
    ],
)
def test_a_value_that_depends_on_an_input_is_an_error(body):
    with pytest.raises(errors.TraceError, match="traced array") as raised:
        to_onnx(Net(body), [("B", 4)])
    assert "test_concrete.py" in raised.value.where


def test_an_error_of_the_users_stays_as_it_is():
    def body(net, x):
        if x.shape[1] > net.order.shape[0]:
            msg = "too wide"
            raise LookupError(msg)
        return x

    with pytest.raises(Exception, match="too wide"):
        to_onnx(Net(body), [("B", 5)])


def test_arrays_in_partials_and_keywords():
    def scale(settings, x, *, weights):
        return x * weights["w"] ** int(settings["power"])

    bound = functools.partial(scale, {"power": jnp.array(3)}, weights={"w": jnp.arange(1.0, 5)})
    model = to_onnx(bound, [("B", 4)])
    check(model, bound, [("B", 4)])
    assert "w" in {initializer.name for initializer in model.graph.initializer}


def test_objects_in_closures():
    net = Net(lambda net, x: x[:, : net.count] + np.asarray(net.table)[0])

    def call(x):
        return net(x) * 2

    model = to_onnx(call, [("B", 4)])
    check(model, call, [("B", 4)])
    assert [i.name for i in model.graph.initializer if "named" in i.name]


def test_constants_of_a_function_are_computed_where_python_needs_them():
    def select(x):
        return x[:, jnp.nonzero(MASK)[0]] if jnp.any(MASK) else x

    check(to_onnx(select, [("B", 4)]), select, [("B", 4)])


def test_switches_and_constants_together():
    net = Net(lambda net, x: x)

    def call(x, negate):
        scaled = net(x) * int(net.count)
        return -scaled if negate else scaled

    model = to_onnx(call, [("B", 4), "bool[]"])
    assert [i.name for i in model.graph.input] == ["x", "negate"]
    for negate in (True, False):
        x = np.ones((2, 4), np.float32)
        check(model, call, [x, np.array(negate)])


@onnx_function
class Scaled(Layer):
    def __init__(self, count):
        self.weight = jnp.arange(1.0, 5)
        self.count = jnp.array(count)

    def __call__(self, x):
        return x * self.weight * int(self.count) * float(jnp.sum(self.count * 2.0))


class Stack(Layer):
    def __init__(self):
        self.first, self.second, self.third = Scaled(2), Scaled(3), Scaled(2)

    def __call__(self, x):
        return self.third(self.second(self.first(x)))


def test_functions_hold_constants_and_differ_by_them():
    net = Stack()
    model = to_onnx(net, [("B", 4)])
    check(model, net, [("B", 4)])
    assert len(model.functions) == 2
    names = {initializer.name for initializer in model.graph.initializer}
    assert "first.weight" in names
    assert "first.count" not in names


class Counter(Layer):
    def __init__(self):
        self.calls_ = jnp.array(1)
        self.limit_ = jnp.array(3)

    def __call__(self, x):
        self.calls_ = self.calls_ + 1
        return x * int(self.limit_)


class Impatient(Counter):
    def __call__(self, x):
        self.calls_ = self.calls_ + 1
        return x * int(self.calls_)


def test_state_that_a_call_updates_is_no_constant():
    check(to_onnx(Counter(), [(2,)], state="io"), Counter(), [(2,)], state="io")
    with pytest.raises(errors.TraceError, match="calls_ is used as a Python value, and the call updates it") as raised:
        to_onnx(Impatient(), [(2,)], state="io")
    assert "state= at 'drop'" in raised.value.remedy
    check(to_onnx(Impatient(), [(2,)]), Impatient(), [(2,)])

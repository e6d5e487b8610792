# ruff: noqa: PLW0108 - lambdas over layers are what is tested
"""Framework objects that a function uses without taking them are opened as if it took them."""

import dataclasses
import functools
import gc
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_framework import Layer, Linear, Noise

from jax2onnx import check, onnx_function, to_onnx
from jax2onnx.errors import TraceError
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
    after = {name: value for name, value in fn.__globals__.items() if name != "__warningregistry__"}  # Python's own
    before.pop("__warningregistry__", None)
    assert after == before
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


class Pipeline:
    """An object of no framework that holds layers."""

    kind = "plain"

    def __init__(self, *, itself=False):
        self.net = Net()
        self.stages = [Linear(3, 3), np.tanh, Half(Linear(3, 3))]
        self.table = {"enc": self.net.encode, "scale": jnp.ones(4)}
        self.me = self if itself else None
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        first, _, half = self.stages
        return self.net(half(first(x))) + self.table["enc"](x) * self.table["scale"]

    def run(self, x):
        return self(x)

    @property
    def step(self):
        return self.run


class Half:
    __slots__ = ("__weakref__", "layer")

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, x):
        return self.layer(x) / 2


@dataclasses.dataclass(frozen=True)
class Frozen:
    net: Net
    scale: float = 2.0

    def __call__(self, x):
        return self.net(x) * self.scale


class Child(Pipeline):
    def run(self, x):
        return super().run(x) * 2


class Service:
    """A class whose methods and attributes reach layers, not its objects."""

    __slots__ = ("factor",)
    shared = Net(5)

    def __init__(self):
        self.factor = 2

    def by_global(self, x):
        return self._helper(x) * self.factor

    def _helper(self, x):
        return NET(x)

    def by_class(self, x):
        return self.shared(x)

    @property
    def helper(self):
        return NET.encode

    def by_property(self, x):
        return self.helper(x)

    @classmethod
    def of_class(cls, x):
        return NET(x) + cls.of_none(x)

    @staticmethod
    def of_none(x):
        return NET.encode(x)


class Special(Service):
    def by_global(self, x):
        return super().by_global(x) + self.of_none(x)


PIPELINE = Pipeline()


def through_a_plain_object(x):
    return PIPELINE.run(x)


def plain_objects():
    pipeline = Pipeline(itself=True)
    several = [Half(Linear(3, 3)), Half(Linear(3, 3, 1))]
    return {
        "object": (Pipeline(), "net.first"),
        "method": (pipeline.run, "net.first"),
        "property": (pipeline.step, "net.first"),
        "child": (Child().run, "net.first"),
        "frozen dataclass": (Frozen(Net()), "net.first"),
        "slots": (Half(Linear(3, 4)), "layer"),
        "lambda": (lambda x: pipeline(x), "pipeline.net.first"),
        "default": (lambda x, run=pipeline.run: run(x), "run.net.first"),
        "global": (through_a_plain_object, "PIPELINE.net.first"),
        "list": (lambda x: several[1](several[0](x)), "several.1.layer"),
        "vmap": (jax.vmap(pipeline.run), "fun.net.first"),
        "jit": (jax.jit(pipeline.run), "net.first"),
        "partial": (functools.partial(Pipeline.run, pipeline), "self.net.first"),
        "keyword": (functools.partial(lambda x, p: p.run(x), p=pipeline), "p.net.first"),
        "in a container": (functools.partial(lambda p, x: p["a"][0].run(x), {"a": [pipeline]}), "p.a.0.net.first"),
        "method in a partial": (functools.partial(lambda run, x: run(x), pipeline.run), "run.net.first"),
        "global in a method": (Service().by_global, "NET.first"),
        "super": (Special().by_global, "NET.first"),
        "class attribute": (Service().by_class, "shared.first"),
        "global in a property": (Service().by_property, "NET.first"),
        "class method": (Service.of_class, "NET.first"),
        "static method": (Service.of_none, "NET.first"),
        "wrapper": (Wrapper(lambda x: pipeline.run(x)), "pipeline.net.first"),
    }


@pytest.mark.filterwarnings("ignore:not in evaluation mode")
@pytest.mark.parametrize("form", [*range(23)])
def test_layers_in_plain_objects_are_opened(form):
    fn, name = [*plain_objects().values()][form]
    model = to_onnx(fn, [("B", 3)])
    assert f"{name}.weight" in {t.name for t in model.graph.initializer}
    check(model, fn, [("B", 3)], kinds=("ordinary",), sizes=(2,))


@pytest.mark.filterwarnings("ignore:not in evaluation mode")
def test_a_plain_object_stays_as_it_was():
    pipeline = Pipeline(itself=True)
    before, weight = dict(vars(pipeline)), pipeline.net.first.weight
    to_onnx(pipeline.run, [("B", 3)])
    assert vars(pipeline) == before
    assert pipeline.net.first.weight is weight
    assert pipeline.net.noise.training


class Wrapper:
    """A decorator that is a class."""

    def __init__(self, function):
        functools.update_wrapper(self, function)

    def __call__(self, x):
        return self.__wrapped__(x)


class Installed(Wrapper):
    """A framework's own jit, for example."""


Installed.__module__ = "jax"


def test_a_layer_within_a_librarys_wrapper_is_left_and_says_so():
    net = Linear(3, 4)
    with pytest.warns(UserWarning, match="net keeps its mode.*reached through a Installed"):
        to_onnx(Installed(lambda x: net(x) * 2), [("B", 3)])


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


class Holder:
    def __init__(self, reference):
        self.reference = reference

    def __call__(self, x):
        return x * self.reference[...]


def reads_in_a_loop(reference):
    def function(x):
        own = jax.new_ref(jnp.zeros(3))

        def step(carry, _):
            own[...] += reference[...]
            return carry * own[1], None

        return jax.lax.scan(step, x, None, length=3)[0] + own[...]

    return function


@pytest.mark.parametrize(
    "make",
    [
        lambda reference: lambda x: x + reference[...] * reference[1],
        lambda reference: jax.jit(lambda x: x - reference[:]),
        Holder,
        reads_in_a_loop,
    ],
)
def test_references_that_a_program_reads_are_arrays(make):
    reference = jax.new_ref(jnp.arange(3.0))
    function = make(reference)
    check(to_onnx(function, [("B", 3)]), function, [("B", 3)])
    assert reference[...].tolist() == [0, 1, 2]


def test_a_reference_of_the_user_is_not_written():
    reference = jax.new_ref(jnp.arange(3.0))

    @jax.jit
    def function(x):
        reference[...] += 1
        return x + reference[...]

    with pytest.raises(TraceError, match=r"writes to a jax\.Ref that it does not make itself") as raised:
        to_onnx(function, [(3,)])
    assert "test_closures.py" in str(raised.value.where)
    assert "return the new one" in str(raised.value.remedy)
    assert reference[...].tolist() == [0, 1, 2]
    to_onnx(lambda x, held: (x + held + 1, held + 1), [(3,), reference[...]])

"""The test kit, as the tests of a plugin use it: suites that pass, that find something, that have no case."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
import toy_framework
from jax.extend.core import Primitive

from jax2onnx import to_onnx
from jax2onnx.errors import CheckError, UnsupportedPrimitiveError
from jax2onnx.plugin import loader
from jax2onnx.testing import (
    FusionSuite,
    OpenerSuite,
    PluginSuite,
    RuleSuite,
    TargetSuite,
    TemporaryPlugins,
    assert_exports,
)

PLUGIN = """
def thrice(x):
    return x + x * 2.0


@hookimpl
def jax2onnx_register_lowerings(registry):
    registry.add("kit_cube", lambda ctx, x: ctx.op.Mul(ctx.op.Mul(x, x), x))
    registry.add("kit_wrong", lambda ctx, x: ctx.op.Mul(x, x))


@hookimpl
def jax2onnx_register_fusions(registry):
    from jax2onnx.plugin import Fusion

    registry.add(
        Fusion(name="thrice", reference=thrice, examples=[[(2,)]], emit={18: lambda ctx, x: ctx.op.Mul(x, 3)})
    )


@hookimpl
def jax2onnx_register_examples(registry):
    from jax2onnx.plugin import Example

    registry.add(Example(name="thrice", context="kit", component="thrice", make=lambda: thrice, inputs=[("B", 2)]))


@hookimpl
def jax2onnx_register_targets(registry):
    from jax2onnx.legalise.targets import load
    from jax2onnx.plugin import Target

    known = load("onnxruntime-cpu")
    kernels = {key: kernels for key, kernels in known.kernels.items() if key[1] != "Tan"}
    registry.add(Target("tanless", "a runtime without Tan", 20, kernels))
"""


def _bound(name):
    primitive = Primitive(name)
    primitive.def_abstract_eval(lambda x: x)
    primitive.def_impl(lambda x: x * x * x)
    if name == "kit_wrong":
        return primitive.bind
    jax.interpreters.batching.defvectorized(primitive)
    jax.interpreters.ad.defjvp(primitive, lambda tangent, x: 3 * x * x * tangent)
    return primitive.bind


cube, wrong = _bound("kit_cube"), _bound("kit_wrong")


OPTIONS = {"rtol": 1e-4, "name": "graph"}
"""Of ``check`` and of ``to_onnx``."""


class Plugin(PluginSuite):
    plugin = "kit"


class Cube(RuleSuite):
    primitive = "kit_cube"
    function = staticmethod(cube)
    shapes = ([("B", 3)],)
    dtypes = ("float32", "int32")


class Wrong(Cube):
    primitive = "kit_wrong"
    function = staticmethod(wrong)
    dtypes = ("float32",)
    opsets = (18,)
    grad = False


class Thrice(FusionSuite):
    fusion = "thrice"
    match = ((lambda x: (y := jnp.cos(x)) + y * 2, ("B", 4)),)
    no_match = ((lambda x: x + x * 2.5, (3,)),)
    ops = ("Mul",)


class Tanless(TargetSuite):
    target = "tanless"
    programs = ((jnp.sin, (3,)),)
    refused = ((jnp.tan, (3,)),)
    options = OPTIONS


class Block(toy_framework.Layer):
    def __init__(self):
        self.linear = toy_framework.Linear(3, 2)
        self.noise = toy_framework.Noise()

    def __call__(self, x):
        return self.noise(self.linear(x))


class Toy(OpenerSuite):
    make = Block
    inputs = (("B", 3),)
    names = ("linear.bias", "linear.weight")
    state = ("noise.count_",)
    options = OPTIONS


@pytest.fixture
def kit(tmp_path):
    with TemporaryPlugins(tmp_path, beside=["lax"]) as make:
        make("kit", PLUGIN, requires=["jax2onnx-core>=0.1,<0.2"])
        yield


def results(suite):
    """Return, for each trial of a suite, what it raises."""
    found = {}

    class Metafunc:
        fixturenames = ("trial",)

        @staticmethod
        def parametrize(_name, trials, ids):
            for trial in trials:
                try:
                    suite.test_trial(trial)
                    found[ids(trial)] = None
                except AssertionError as error:
                    found[ids(trial)] = str(error)

    suite.pytest_generate_tests(Metafunc)
    return found


def failed(suite):
    return {name: error for name, error in results(suite).items() if error}


@pytest.mark.parametrize("suite", [Plugin, Cube, Thrice, Tanless], ids=lambda suite: suite.__name__)
def test_a_suite_of_what_is_right_passes(kit, suite):
    found = results(suite())
    assert found
    assert set(found.values()) == {None}, found


def test_a_rule_is_tried_in_every_way(kit):
    assert list(results(Cube())) == [
        *("float32[3,3]-18", "float32[B,3]-18", "float32[3,3]-23", "float32[B,3]-23"),
        *("vmap-float32[3,3]", "grad-float32[3,3]"),
        *("int32[3,3]-18", "int32[B,3]-18", "int32[3,3]-23", "int32[B,3]-23", "vmap-int32[3,3]"),
    ]


def test_a_wrong_rule_is_found(kit):
    errors = failed(Wrong())
    assert errors.keys() == {"float32[3,3]-18", "float32[B,3]-18", "vmap-float32[3,3]"}
    assert "first difference, in a result of kit_wrong" in errors["float32[3,3]-18"]
    assert "or set vmap = False in the suite" in errors["vmap-float32[3,3]"]


def test_suites_find_what_is_missing(kit):
    class NoRule(Wrong):
        primitive = "kit_cubes"

    class NotFound(Thrice):
        match = ((lambda x: x * 3.5, (3,)),)
        no_match = ((lambda x: x + x * 2.0, (3,)),)

    class TakesAll(Tanless):
        refused = ((jnp.sin, (3,)),)

    assert "no plugin has a rule for 'kit_cubes'" in failed(NoRule())["float32[3,3]-18"]
    assert {name.partition("-(")[0] for name in failed(NotFound())} == {"match-lambda", "no-match-lambda"}
    assert {name.partition("-")[0] for name in failed(TakesAll())} == {"refused"}


@pytest.mark.parametrize("base", [PluginSuite, RuleSuite, FusionSuite, OpenerSuite, TargetSuite])
def test_a_suite_without_a_case_fails(base):
    (error,) = failed(type("TestNothing", (base,), {})()).values()
    assert error.startswith("TestNothing finds no case: ")


def test_the_opening_of_objects_is_tried(toy):
    found = results(Toy())
    assert list(found) == ["names", "names-in-a-closure", "inference", "training", "state"]
    assert set(found.values()) == {None}, found
    wrong = failed(type("Wrong", (Toy,), {"names": ("linear.weight",), "state": ()})())
    assert wrong.keys() == {"names", "names-in-a-closure", "state"}


def test_a_fusion_needs_programs_that_it_must_not_match(kit):
    assert list(failed(type("Careless", (Thrice,), {"no_match": ()})())) == ["no-match"]


def test_a_plugin_without_examples_or_bounds_is_told(tmp_path):
    with TemporaryPlugins(tmp_path, beside=["lax"]) as make:
        make("kit", "import onnx\n@hookimpl\ndef jax2onnx_finalize(model): ...\n", requires=["jax2onnx-core"])
        errors = failed(Plugin())
    assert errors.keys() == {"requires-core", "light", "examples"}
    assert "has no upper bound" in errors["requires-core"]
    assert "imports onnx" in errors["light"]


def test_the_failure_shows_value_node_and_line():
    def program(x):
        y = jax.nn.sigmoid(jnp.sin(x))
        z = jax.lax.cos(y)  # the wrong one
        return z * 2 + x

    with pytest.raises(CheckError) as raised:
        assert_exports(program, ("B", 3), lowerings={"cos": lambda ctx, x: ctx.op.Sin(x)})
    text = str(raised.value)
    assert "first difference, in a result of cos" in text
    assert "node: Sin(" in text
    assert "z = jax.lax.cos(y)  # the wrong one" in text


def test_operators_and_opsets_are_asked_for():
    model = assert_exports(jnp.sin, (3,), ops={"Sin": 1, "Cos": 0}, opsets=[18, 21])
    assert model.opset_import[0].version == 21
    assert_exports(jnp.sin, (3,), ops=["Sin"])
    with pytest.raises(AssertionError, match=r"must have Cos; it has \{'Sin': 1\}"):
        assert_exports(jnp.sin, (3,), ops=["Cos"])
    with pytest.raises(AssertionError, match="Sin 2 times"):
        assert_exports(jnp.sin, (3,), ops={"Sin": 2})


def test_isolated_plugins_are_the_only_ones(isolated_plugins):
    before = loader.load()
    assert {info.name for info in isolated_plugins("jax2onnx-jnp").infos} == {"jnp", "nn"}
    with pytest.raises(UnsupportedPrimitiveError, match="'sin'"):
        to_onnx(jnp.sin, [(3,)])
    assert isolated_plugins().infos == ()
    assert before is not loader.load()


def test_importing_the_fixtures_is_light():
    code = "import sys, jax2onnx.testing.pytest_plugin; print({'jax', 'onnx', 'numpy'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "set()\n"


def test_opset_is_a_single_one_of_opsets():
    model = assert_exports(jnp.sin, (3,), opset=18)
    assert [entry.version for entry in model.opset_import] == [18]
    with pytest.raises(AssertionError, match="not both"):
        assert_exports(jnp.sin, (3,), opset=18, opsets=[20])

"""Primitives of equinox: what becomes of errors, progress meters and debugging aids, which a model cannot have."""

import sys

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.errors import CheckError, UnsupportedCaseError
from jax2onnx.plugin import loader


def run(model, *arrays):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True)))


@pytest.mark.parametrize("mapped", [False, True])
def test_where_equinox_raises_the_model_gives_nan_and_says_so(mapped):
    def function(x):
        checked = {"x": x, "count": jnp.int32(3), "mask": x > 5}
        return eqx.error_if(checked, (x > 1).any(), "too large")

    target = jax.vmap(function) if mapped else function
    with pytest.warns(UserWarning, match="where JAX raises one, the model's results are NaN") as raised:
        model = to_onnx(target, [(2, 3) if mapped else (3,)])
    assert len(raised) == 1
    small = np.full((2, 3) if mapped else (3,), 0.5, np.float32)
    large = small.copy()
    large[0] = 2
    for found, expected in zip(run(model, small), jax.tree.leaves(target(jnp.asarray(small))), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises((RuntimeError, ValueError), match="too large"):  # a ValueError in jax 0.8
        target(jnp.asarray(large))
    count, mask, x = run(model, large)
    assert np.isnan(x).all()
    assert mask.all()
    assert (count == np.iinfo(np.int32).max).all()


def test_a_rule_of_the_users_goes_before_what_is_known_of_a_primitive():
    rules = {name: lambda ctx, x, **_params: ctx.op.Neg(x) for name in ("nontraceable", "nonbatchable")}
    model = to_onnx(lambda x: eqxi.nontraceable(eqxi.nonbatchable(x) + 1), [(3,)], lowerings=rules)
    assert [n.op_type for n in model.graph.node] == ["Neg", "Add", "Neg"]


def test_another_callback_is_refused_as_ever():
    with pytest.raises(UnsupportedCaseError, match="calls back to the Python function"):
        to_onnx(lambda x: eqx.filter_pure_callback(np.sin, x, result_shape_dtypes=x), [(3,)])


def debugged(x):
    return eqx.debug.store_dce({"x": x * 2, "y": 3}, name="test")["x"]


def metered(x):
    meter = eqxi.TextProgressMeter()
    state = meter.init()

    def body(i, carry):
        x, state = carry
        return x * 2, meter.step(state, i / 4)

    x, state = jax.lax.fori_loop(0, 4, body, (x, state))
    meter.close(state)
    return x


HAS_METERS = pytest.mark.skipif(not hasattr(eqxi, "TextProgressMeter"), reason="this equinox leaves meters to diffrax")


@pytest.mark.parametrize(
    "function",
    [debugged, pytest.param(metered, marks=HAS_METERS), pytest.param(jax.vmap(metered), marks=HAS_METERS)],
)
def test_meters_and_debugging_aids_are_left_out(function, capfd):
    with pytest.warns(UserWarning, match="progress meters and debugging aids are left out"):
        model = to_onnx(function, [(3,)])
    check(model, jax.jit(function), [(3,)])
    capfd.readouterr()


def test_marks_return_their_operands():
    def function(x):
        x = eqx.debug.announce_transform(x, announce=lambda _: None)
        return eqxi.nontraceable(x) * 2

    check(to_onnx(function, [(3,)]), function, [(3,)])


@pytest.mark.filterwarnings("ignore:jax.debug prints")
def test_a_check_of_derivatives_is_one_of_errors():
    gradient = jax.grad(lambda x: (eqx.debug.backward_nan(x) ** 2).sum())
    with pytest.warns(UserWarning, match="where JAX raises one, the model's results are NaN"):
        model = to_onnx(gradient, [(3,)])
    x = np.array([1, -2, 3], np.float32)
    np.testing.assert_array_equal(run(model, x)[0], 2 * x)


def test_a_function_that_is_not_inlined_is_called_with_the_weights_of_its_own():
    mlp = eqx.nn.MLP(3, 2, 4, depth=1, key=jax.random.key(0))
    function = eqxi.noinline(mlp)
    model = to_onnx(function, [(3,)])
    check(model, function, [(3,)])
    shapes = sorted(tuple(t.dims) for t in model.graph.initializer)
    assert shapes == [(2,), (2, 4), (4,), (4, 3)]


@pytest.mark.filterwarnings("ignore:equinox.error_if")
class TestCheck:
    """``check`` of a program that raises errors: what it draws may be refused, what is given may not."""

    @staticmethod
    def program(x):
        return eqx.error_if(2 * x, ~jnp.isfinite(x).all(), "not finite")

    def test_what_is_drawn_may_be_refused(self):
        report = check(to_onnx(self.program, [("B", 16)]), self.program, [("B", 16)])
        assert report.batches
        assert report.refused
        assert "not compared: JAX itself raises an error on special inputs" in str(report)

    def test_what_is_given_is_to_be_compared(self):
        model = to_onnx(self.program, [(3,)])
        with pytest.raises(CheckError, match=r"JAX itself raises \w+ on given inputs .*: not finite; pass values="):
            check(model, self.program, [(3,)], values=[[np.full(3, np.nan, np.float32)]])
        check(model, self.program, [(3,)], values=[[np.ones(3, np.float32)]])

    def test_a_program_that_always_raises(self):
        def program(x):
            return eqx.error_if(x, x.sum() < jnp.inf, "never")

        with pytest.raises(CheckError, match="nothing to compare with"):
            check(to_onnx(program, [(3,)]), program, [(3,)], kinds=["ordinary"])

    def test_a_wrong_number_is_still_found(self):
        model = to_onnx(lambda x: 3 * x, [(3,)])
        with pytest.raises(CheckError, match="disagrees"):
            check(model, self.program, [(3,)])


def test_every_primitive_of_equinox_is_covered():
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "equinox"]
    values = [value for module in modules for value in list(vars(module).values())]
    primitives = {value for value in values if isinstance(value, jax.extend.core.Primitive)}
    facts = loader.load().registry().facts
    known = {p.name for p in primitives if facts.of(p.name).identity or facts.of(p.name).calls}
    assert {p.name for p in primitives} - known == {"noinline"}  # by its own definition, since it needs a constant
    assert len(known) == 10

"""A third party's primitive is folded, commutes, keeps the sign of zeros and is fused by its registered facts alone."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax2onnx
from jax2onnx.pipeline.parts import at_stage
from jax2onnx.plugin import loader

PLUGIN = """
    import jax
    import numpy as np
    from jax.extend.core import Primitive

    from jax2onnx.plugin import Decline, Facts, Fusion, blind, telling


    def primitive(name, function):
        new = Primitive(name)
        new.def_impl(function)
        new.def_abstract_eval(lambda *avals, **params: avals[0])
        return new


    mix_p = primitive("mix", lambda x, y: x * y + x + y)
    sharp_p = primitive("sharp", lambda x: 1 / x)
    flat_p = primitive("flat", lambda x: x * x)
    through_p = primitive("through", lambda x, **params: x)


    def mixed(x):
        return mix_p.bind(jax.numpy.tanh(x), x)


    @hookimpl
    def jax2onnx_register_lowerings(registry):
        registry.add("mix", lambda ctx, x, y: ctx.op.Sum(ctx.op.Mul(x, y), x, y))
        registry.add("sharp", lambda ctx, x: ctx.op.Reciprocal(x))
        registry.add("flat", lambda ctx, x: ctx.op.Mul(x, x))
        registry.facts(
            {
                "mix": Facts(commutes=True, elementwise=True, fold=lambda params, x, y: x * y + x + y),
                "sharp": Facts(zeros=telling),
                "flat": Facts(zeros=blind),
                "through": Facts(calls=("program",)),
            }
        )


    @hookimpl
    def jax2onnx_register_fusions(registry):
        registry.add(
            Fusion(
                name="mixed",
                reference=mixed,
                examples=[[(2, 3)]],
                emit={18: lambda ctx, x: ctx.op.Selu(x)},
            )
        )
"""


@pytest.fixture
def facts(fake_plugin):
    fake_plugin("facts", PLUGIN, requires=["jax2onnx-lax"])
    loader.load().registry()
    return next(
        module for name, module in sys.modules.items() if name.endswith("_facts") and name.startswith("temporary_")
    )


def operators(fn, *inputs):
    return [node.op_type for node in jax2onnx.to_onnx(fn, inputs).graph.node]


def test_constants_are_folded(facts):
    def fn(x):
        return x + facts.mix_p.bind(jnp.float32(3), jnp.float32(2))

    model = jax2onnx.to_onnx(fn, [(2,)])
    assert [node.op_type for node in model.graph.node] == ["Add"]
    assert jax2onnx.check(model, fn, [(2,)])


def test_operands_are_exchanged_to_find_a_function(facts):
    assert operators(lambda x: facts.mix_p.bind(jnp.tanh(x), x), (2, 3)) == ["Selu"]
    assert operators(lambda x: facts.mix_p.bind(x, jnp.tanh(x)), (2, 3)) == ["Selu"]
    assert "Selu" not in operators(lambda x: facts.mix_p.bind(jnp.sin(x), x), (2, 3))


def test_a_scalar_is_read_as_its_broadcast(facts):
    program = at_stage(lambda x: facts.mix_p.bind(x, jnp.broadcast_to(x[0, 0], (2, 3))), [(2, 3)], "fused")
    assert program.eqns[-1].facts.elementwise


@pytest.mark.parametrize(("name", "kept"), [("sharp_p", True), ("flat_p", False)])
def test_the_sign_of_a_zero_is_kept_where_it_tells(facts, name, kept):
    primitive = getattr(facts, name)

    def fn(which, x, y):
        return primitive.bind(jnp.where(which, x, y))

    inputs = ["bool[2]", (2,), (2,)]
    model = jax2onnx.to_onnx(fn, inputs)
    # onnxruntime's Where makes 0 of a -0 in its first choice: what keeps it costs further nodes.
    assert (len(model.graph.node) > 2) is kept
    zeros = [np.asarray([True, False]), np.asarray([-0.0, 1], np.float32), np.asarray([1, -0.0], np.float32)]
    assert jax2onnx.check(model, fn, inputs, values=[zeros])


def test_a_call_is_inlined(facts):
    def fn(x):
        inner = jax.make_jaxpr(jnp.tanh)(x)
        return facts.through_p.bind(x, program=inner)

    assert operators(fn, (2,)) == ["Tanh"]


def test_facts_of_others_are_not_overwritten(fake_plugin):
    fake_plugin(
        "thief",
        """
        from jax2onnx.plugin import Facts


        @hookimpl
        def jax2onnx_register_lowerings(registry):
            registry.facts({"add": Facts(commutes=True)})
        """,
        requires=["jax2onnx-lax"],
    )
    with pytest.warns(UserWarning, match="the fact 'commutes' of 'add' is registered by both lax and thief"):
        loader.load().registry()


def test_facts_may_be_overridden(fake_plugin):
    fake_plugin(
        "owner",
        """
        from jax2onnx.plugin import Facts


        @hookimpl
        def jax2onnx_register_lowerings(registry):
            registry.facts({"sin": Facts(fold=lambda params, x: x * 0)}, override=True)
        """,
        requires=["jax2onnx-lax"],
    )
    loader.load().registry()
    program = at_stage(lambda x: x + jnp.sin(jnp.float32(1)), [(2,)], "fused")
    assert float(program.eqns[0].inputs[1].value) == 0

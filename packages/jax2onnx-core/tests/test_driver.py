"""Lowering: the rule of each equation is called with what it names, and what it returns is checked."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest
from jax import lax
from programs import REGISTRY, VECTOR, array, emitted, lowered

import jax2onnx
from jax2onnx import errors
from jax2onnx.lowering.faults import Faults
from jax2onnx.plugin.lowerings import Lowering, Lowerings

if TYPE_CHECKING:
    from collections.abc import Callable

unknown_p = jax.extend.core.Primitive("test_driver_unknown")
unknown_p.def_abstract_eval(lambda x: x)

# -- errors ----------------------------------------------------------------------------------------------------------


def negative(x: Any) -> Any:
    return -x  # the line to be named


def cumulative(x: Any) -> Any:
    return lax.cumsum(x, reverse=True)  # the line to be named


def eigenvalues(x: Any) -> Any:
    return jnp.linalg.eigvals(x)  # the line to be named


def compares(ctx: Any, x: Any) -> Any:
    return x if ctx.aval_out.shape[0] > 4 else ctx.op.Neg(x)


WRONG: dict[str, tuple[Any, str, Callable[..., Any], type[Exception], str, str]] = {
    "dtype": (
        negative,
        "neg",
        lambda ctx, x: ctx.op.Cast(x, to=int(ir.DataType.INT32)),
        errors.ConversionError,
        "the rule of neg returned INT32 where JAX has FLOAT",
        "this is a bug in the rule",
    ),
    "number_of_results": (
        negative,
        "neg",
        lambda ctx, x: (x, x),
        errors.ConversionError,
        "the rule of neg returned 2 values where JAX has 1",
        "this is a bug in the rule",
    ),
    "unknown_param": (
        cumulative,
        "cumsum",
        lambda ctx, x, *, axis: x,
        errors.UnsupportedCaseError,
        "cumsum: the rule does not know the parameter reverse=True",
        "update the plugin",
    ),
    "undecided": (
        negative,
        "neg",
        compares,
        errors.DimensionError,
        "neg: the rule cannot decide a comparison of dimensions",
        "constraints=['B >= 5']",
    ),
    "declared": (
        negative,
        "neg",
        lambda ctx, x: ctx.op.emit("Undo", x),
        errors.OpsetError,
        "operator Undo does not exist in opset",
        "no such operator",
    ),
    "complex_numbers": (
        eigenvalues,
        "eig",
        lambda ctx, x, **params: x,
        errors.UnsupportedCaseError,
        "eig: complex numbers",
        "the real and imaginary parts",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_error_of_a_rule_names_the_users_line_the_plugin_and_a_remedy(name: str) -> None:
    function, primitive, rule, error, message, remedy = WRONG[name]
    spec = jax.ShapeDtypeStruct((3, 3), jnp.complex64) if name == "complex_numbers" else ("B",)
    with pytest.raises(error, match=re.escape(message)) as raised:
        jax2onnx.to_onnx(function, [spec], lowerings={primitive: rule})
    line = function.__code__.co_firstlineno + 1
    assert f"at: {__file__}:{line} ({function.__name__})" in str(raised.value)
    assert "plugin: lowerings= argument" in str(raised.value)
    assert remedy in str(raised.value)


def test_a_warning_of_a_whole_functions_rule_names_them_too(fake_plugin: Callable[..., Any]) -> None:
    fake_plugin(
        "wrong",
        """
        from jax2onnx.plugin import Fusion


        def twice_negative(x):
            return -(x * 2.0)


        @hookimpl
        def jax2onnx_register_fusions(registry):
            rule = lambda ctx, x: ctx.op.Cast(x, to=7)
            registry.add(Fusion(name="wrong", reference=twice_negative, examples=[[(2,)]], emit={18: rule}))
        """,
        requires=["jax2onnx-lax"],
    )

    def function(x: Any) -> Any:
        return -(x * 2.0)

    with pytest.warns(UserWarning, match="the rule of wrong returned INT64 where JAX has FLOAT") as told:
        jax2onnx.to_onnx(function, [(3,)])
    assert "plugin wrong 1.0: " in str(told[0].message)
    assert f"{__file__}:{function.__code__.co_firstlineno + 1}" in str(told[0].message)


def test_a_primitive_that_needs_a_newer_opset() -> None:
    lowerings = Lowerings()
    rule = lambda ctx, x: ctx.op.Neg(x)  # noqa: E731 - as a plugin may write it
    lowerings.add(Lowering(primitive="neg", rule=rule, plugin="new", min_opset=22, via_jax=False, params=None))
    with pytest.raises(errors.OpsetError, match="'neg' needs opset 22 or newer; opset=21") as raised:
        lowered(negative, VECTOR, lowerings=lowerings)
    assert f"{__file__}:{negative.__code__.co_firstlineno + 1} (negative)" in str(raised.value)
    assert "pass opset=22 or a newer one" in str(raised.value)
    assert emitted(lowered(negative, VECTOR, lowerings=lowerings, asked=22)) == ["Neg"]


def test_a_primitive_without_a_rule_says_which_plugins_are_not_in_use() -> None:
    faults = Faults(asked=21, lowerings=Lowerings(), problems=lambda: "lax: broken")
    with pytest.raises(errors.UnsupportedPrimitiveError, match=r"primitive 'neg' \(lax: broken\)[\s\S]*list-plugins"):
        lowered(negative, VECTOR, lowerings=Lowerings(), faults=faults)


def test_a_bug_in_a_rule_names_the_rule_and_is_chained() -> None:
    with pytest.raises(errors.ConversionError, match="rule of neg failed: ValueError: not ours") as raised:
        lowered(negative, array(3), lowerings=REGISTRY.lowerings.with_user({"neg": _raise}))
    assert isinstance(raised.value.__cause__, ValueError)
    assert "report it" in str(raised.value)
    assert f"{__file__}:{negative.__code__.co_firstlineno + 1} (negative)" in str(raised.value)


def test_several_unsupported_places_are_reported_together() -> None:
    def body(carry: Any, _: Any) -> Any:
        return unknown_p.bind(carry), carry  # the second place

    def function(x: Any) -> Any:
        y = jnp.linalg.eigvals(x)  # the first place
        z, _ = jax.lax.scan(body, jnp.sin(x), None, length=2)
        return y, unknown_p.bind(z)  # the third place

    rules = {"eig": lambda ctx, x, **params: x}
    with pytest.raises(errors.UnsupportedCaseError, match="3 places of the program cannot be converted") as raised:
        jax2onnx.to_onnx(function, [(3, 3)], lowerings=rules)
    first = function.__code__.co_firstlineno
    lines = [body.__code__.co_firstlineno + 1, first + 1, first + 3]
    assert all(f"{__file__}:{line} (" in str(raised.value) for line in lines)
    assert len(raised.value.others) == 2
    jax2onnx.to_onnx(function, [(3, 3)], lowerings={"test_driver_unknown": lambda ctx, x: ctx.op.Neg(x)})


def _raise(_ctx: Any, _x: Any) -> Any:
    raise ValueError("not ours")


# -- what a rule is given --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (lambda ctx, x, *, axis, reverse: (axis, reverse), (0, True)),
        (lambda ctx, x, *, reverse, axis: (axis, reverse), (0, True)),
        (lambda ctx, x, **params: tuple(params[name] for name in ("axis", "reverse")), (0, True)),
    ],
)
def test_a_rule_gets_the_params_that_it_names(rule: Callable[..., Any], expected: Any) -> None:
    given = []

    @functools.wraps(rule)  # whose signature decides
    def wrapped(ctx: Any, x: Any, **params: Any) -> Any:
        given.append(rule(ctx, x, **params))
        return x

    lowered(cumulative, VECTOR, lowerings=REGISTRY.lowerings.with_user({"cumsum": wrapped}))
    assert given == [expected]


def test_a_known_operand_is_a_constant_of_its_dtype() -> None:
    emitting = lowered(lambda x: x * 2, array(3, dtype=jnp.float16))
    (node,) = emitting.op.scope.nodes
    tensor = node.inputs[1].const_value
    assert tensor.dtype == ir.DataType.FLOAT16
    np.testing.assert_array_equal(tensor.numpy(), np.float16(2))


def test_nodes_say_where_they_come_from() -> None:
    def scoped(x: Any) -> Any:
        with jax.named_scope("inner"):
            return -x

    (node,) = lowered(scoped, VECTOR).op.scope.nodes
    assert node.metadata_props["jax2onnx.plugin"] == "lax"
    assert node.metadata_props["namespace"] == "inner"
    assert node.metadata_props["jax2onnx.source"].startswith(f"{__file__}:")

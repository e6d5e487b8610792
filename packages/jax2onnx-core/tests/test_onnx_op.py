"""``onnx_op``: any ONNX operator from a program, computed in JAX by its reference, exported as exactly its node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from jax2onnx import check, onnx_function, onnx_op, to_onnx
from jax2onnx.errors import ConversionError, InputSpecError, InvalidModelError, NoReferenceError, OpsetError, TraceError

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx


def run(model: onnx.ModelProto, *values: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {i.name: value for i, value in zip(session.get_inputs(), values, strict=True)})


def operators(model: onnx.ModelProto) -> list[str]:
    return [f"{node.domain}:{node.op_type}".lstrip(":") for node in model.graph.node]


def imports(holder: Any) -> dict[str, int]:
    return {opset.domain: opset.version for opset in holder.opset_import}


def quick_gelu(x: Any) -> Any:
    return onnx_op(
        "QuickGelu",
        x,
        domain="com.microsoft",
        attributes={"alpha": 1},
        reference=lambda x: x * jax.nn.sigmoid(x),
    )


def unknown(x: Any, **further: Any) -> Any:
    """Apply an operator that no runtime here has."""
    return onnx_op("Twice", x, domain="my.domain", out=jax.ShapeDtypeStruct(x.shape, x.dtype), **further)


NODE = "com.microsoft:QuickGelu"
PROGRAMS: dict[str, tuple[Callable[..., Any], int]] = {
    "plain": (quick_gelu, 1),
    "jit": (jax.jit(quick_gelu), 1),
    "scan": (lambda x: jax.lax.scan(lambda c, _: (quick_gelu(c), None), x, length=2)[0], 0),
    "cond": (lambda x: jax.lax.cond(x.sum() > 0, quick_gelu, jnp.sin, x), 0),
    "vmap": (jax.vmap(quick_gelu), 0),
    "grad": (jax.grad(lambda x: quick_gelu(x).sum()), 0),
    "value_and_grad": (jax.value_and_grad(lambda x: quick_gelu(x).sum()), 1),
    "twice": (lambda x: quick_gelu(x) + quick_gelu(x), 2),
}
"""Programs, and how often the node is in the main graph of each."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_model_has_the_node_and_agrees_with_the_reference(name: str) -> None:
    program, count = PROGRAMS[name]
    model = to_onnx(program, [("B", 3)])
    assert operators(model).count(NODE) == count
    assert imports(model).get("com.microsoft") == (None if name in {"vmap", "grad"} else 1)
    x = np.array([[1, -2, 0.5], [3, 0, -0.25]], np.float32)
    for result, expected in zip(run(model, x), jax.tree_util.tree_leaves(program(x)), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_a_function_imports_the_domain_too() -> None:
    model = to_onnx(onnx_function(quick_gelu), [("B", 3)])
    (function,) = model.functions
    assert imports(function)["com.microsoft"] == 1
    check(model, quick_gelu, [("B", 3)], sizes=[2], kinds=["ordinary"])


def test_the_version_of_a_domain_is_that_asked_for_in_the_model_and_in_functions() -> None:
    model = to_onnx(onnx_function(lambda x: unknown(x, version=3)), [(2,)])
    assert imports(model)["my.domain"] == imports(model.functions[0])["my.domain"] == 3
    assert imports(to_onnx(unknown, [(2,)], domains={"my.domain": 2}))["my.domain"] == 2
    with pytest.raises(OpsetError, match=r"version 3 of the domain my\.domain is asked for beside 2"):
        to_onnx(lambda x: unknown(x, version=2) + unknown(x, version=3), [(2,)])
    with pytest.raises(OpsetError, match=r"version 17 of the domain ai\.onnx"):
        to_onnx(lambda x: onnx_op("Abs", x, version=17, reference=jnp.abs), [(2,)])


def test_the_machine_learning_domain_has_the_version_of_the_opset() -> None:
    def scaled(x: Any) -> Any:
        attributes = {"offset": [1.0], "scale": [2.0]}
        return onnx_op("Scaler", x, domain="ai.onnx.ml", attributes=attributes, reference=lambda x: (x - 1) * 2)

    for opset, version in ((18, 3), (23, 5)):
        model = to_onnx(scaled, [("B", 3)], opset=opset)
        assert imports(model)["ai.onnx.ml"] == version
        check(model, scaled, [("B", 3)], sizes=[2], kinds=["ordinary"])


def test_several_results_and_an_optional_input_that_is_left_out() -> None:
    def largest(x: Any) -> Any:
        def reference(x: Any, k: Any) -> Any:
            del k
            values, places = jax.lax.top_k(x, 2)
            return {"values": values, "places": places}

        shape = (x.shape[0], 2)
        out = {"values": jax.ShapeDtypeStruct(shape, np.float32), "places": jax.ShapeDtypeStruct(shape, np.int32)}
        found = onnx_op("TopK", x, np.array([2]), out=out, attributes={"axis": -1}, reference=reference)
        return found["values"] + onnx_op(
            "Clip", found["places"], None, 1, reference=lambda x, _, high: x.clip(max=high)
        )

    model = to_onnx(largest, [("B", 5)])
    assert operators(model)[:3] == ["TopK", "Cast", "Clip"]
    check(model, largest, [("B", 5)], sizes=[3], kinds=["ordinary"])


# -- sizes that only a run decides ------------------------------------------------------------------------------------


def nonzero(x: Any) -> Any:
    def reference(x: Any) -> Any:
        return np.stack(np.nonzero(x)).astype(np.int32)

    return onnx_op("NonZero", x, out=f"int32[{x.ndim},N]", reference=reference)


def picked(x: Any, y: Any) -> Any:
    """Compute with two results of sizes that differ, and with the sizes themselves."""
    first, second = nonzero(x > 0)[0], nonzero(y > 0)[0]
    return x[first] * first.shape[0], y[second].sum() + second.shape[0]


@pytest.mark.parametrize("spec", [[(6,), (4,)], [("N",), ("M",)]], ids=str)
def test_each_result_of_an_unknown_size_has_a_dim_of_its_own(spec: list[Any]) -> None:
    x, y = np.array([1, -1, 3, 2, -5, 0], np.float32), np.array([-1, 4, -1, -1], np.float32)
    model = to_onnx(picked, spec)
    for result, expected in zip(run(model, x, y), picked(x, y), strict=True):
        np.testing.assert_array_equal(result, expected)
    check(model, picked, spec, values=[(x, y)])
    (dim,) = model.graph.output[0].type.tensor_type.shape.dim
    assert dim.dim_param == ("N" if spec[0] == (6,) else "N_2")


def test_a_size_that_only_a_run_decides_is_refused_where_jax_needs_it() -> None:
    with pytest.raises(TraceError, match="only a run of the model decides the size N") as caught:
        to_onnx(jax.jit(nonzero), [(3,)])
    assert "test_onnx_op.py" in str(caught.value.where)
    assert nonzero(np.array([0.0, 2.0])).tolist() == [[1]]
    assert isinstance(nonzero(np.ones(2)), jax.Array)


# -- what is refused ---------------------------------------------------------------------------------------------------


def absolute(x: Any) -> Any:
    return onnx_op("Abs", x, out="float32[3]")


NEEDS = {
    "eager": lambda: unknown(jnp.ones(3)),
    "jit": lambda: jax.jit(unknown)(jnp.ones(3)),
    "vmap": lambda: to_onnx(jax.vmap(lambda x: onnx_op("Abs", x, out="float32[3]")), [(2, 3)]),
    "grad": lambda: to_onnx(jax.grad(lambda x: unknown(x).sum()), [(3,)]),
    "named": lambda: onnx_op("NonZero", jnp.ones(3), out="int32[1,N]"),
    "check": lambda: check(to_onnx(absolute, [(3,)]), absolute, [(3,)]),
}


@pytest.mark.parametrize("name", NEEDS)
def test_what_needs_a_reference_says_so(name: str) -> None:
    with pytest.raises(NoReferenceError, match="has no reference"):
        NEEDS[name]()


WRONG: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "name": (lambda x: onnx_op("", x), InputSpecError, "the name of an operator"),
    "domain": (lambda x: onnx_op("Abs", x, domain="a b"), InputSpecError, "domain: expected a name"),
    "version": (lambda x: onnx_op("Abs", x, version=0), InputSpecError, "version: expected an int from 1"),
    "attributes": (lambda x: onnx_op("Abs", x, attributes=[1]), InputSpecError, "attributes: expected a mapping"),
    "traced attribute": (lambda x: onnx_op("A", x, attributes={"a": x}), InputSpecError, "'a' is an array"),
    "no out": (lambda x: onnx_op("Abs", x), InputSpecError, "give out="),
    "spec": (lambda x: onnx_op("Abs", x, out="float33[3]"), InputSpecError, "out: 'float33' is not a dtype"),
    "dim": (lambda x: onnx_op("Abs", x, out="float32[1+]"), InputSpecError, "is not a dimension"),
    "shape": (lambda x: onnx_op("Abs", x, out=(3,)), InputSpecError, "is no spec"),
    "operator": (lambda x: onnx_op("Absolute", x, out="float32[3]"), OpsetError, "operator Absolute does not exist"),
    "meant": (lambda x: onnx_op("Asb", x, out="float32[3]"), OpsetError, "did you mean Abs"),
    "opset": (lambda x: onnx_op("Attention", x, x, x, out="float32[3]"), OpsetError, "ask for a newer opset"),
    "contrib": (
        lambda x: onnx_op("QuickGlu", x, domain="com.microsoft", out="float32[3]"),
        OpsetError,
        "did you mean QuickGelu",
    ),
    "attribute": (
        lambda x: onnx_op("LeakyRelu", x, attributes={"alfa": 1}, out="float32[3]"),
        InvalidModelError,
        "no attribute 'alfa'; did you mean 'alpha'",
    ),
    "type of attribute": (
        lambda x: onnx_op("LeakyRelu", x, attributes={"alpha": "1"}, out="float32[3]"),
        InvalidModelError,
        "'alpha' is of type FLOAT, got '1'",
    ),
    "untold type": (lambda x: unknown(x, attributes={"a": []}), InvalidModelError, "does not follow from its value"),
    "number of inputs": (lambda x: onnx_op("Abs", x, x, out="float32[3]"), InvalidModelError, "not valid ONNX"),
    "dtype": (lambda x: onnx_op("Abs", x, out="int32[3]"), ConversionError, "gives float, and out= declares int32"),
    "result": (lambda x: onnx_op("Abs", x, out="float32[4]"), InvalidModelError, "not valid ONNX"),
    "domain of a function": (
        lambda x: onnx_function(jnp.sin, name="Twice", namespace="my.domain")(x) + unknown(x),
        InvalidModelError,
        "a function of the model has this name",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_says_what_is_wrong_and_where(name: str) -> None:
    program, error, message = WRONG[name]
    with pytest.raises(error, match=message) as caught:
        to_onnx(program, [(3,)], opset=18)
    if isinstance(caught.value, ConversionError):
        assert "test_onnx_op.py" in str(caught.value.where)
        assert "report it" not in str(caught.value.remedy)


def test_a_reference_of_another_type_is_refused() -> None:
    for out in ("float32[4]", "int32[3]", ["float32[3]"] * 2, "float32[N,M]", "int32[N]"):
        with pytest.raises(InputSpecError, match="the reference returns"):
            onnx_op("Abs", jnp.ones(3), out=out, reference=jnp.abs)


# -- domains that nobody knows -----------------------------------------------------------------------------------------


def _with_rule(**options: Any) -> onnx.ModelProto:
    def rule(ctx: Any, x: Any) -> Any:
        twice = ctx.op.emit("Twice", x, domain="my.domain", numbers=[1, 2.5], name="a", table=np.ones(2, "f"))
        twice.dtype = x.dtype
        return ctx.op.Neg(twice)

    return to_onnx(lambda x: jnp.sin(x), [(2,)], lowerings={"sin": rule}, **options)  # noqa: PLW0108 - the user's line


def test_a_rule_emits_operators_of_a_domain_that_the_user_asks_for() -> None:
    with pytest.raises(InvalidModelError, match=r"no runtime is known to have the domain 'my\.domain'") as caught:
        _with_rule()
    assert caught.value.remedy == "pass domains={'my.domain': 1} if the runtime that loads the model has it"
    model = _with_rule(domains={"my.domain": 4})
    assert operators(model) == ["my.domain:Twice", "Neg"]
    assert imports(model)["my.domain"] == 4
    assert [a.type for a in model.graph.node[0].attribute] == [6, 3, 4]


STANDARD = """
Add Sub Mul Div Max Min Where Clip Relu Cast Identity Expand Reshape Squeeze Unsqueeze Flatten Transpose Pad Concat
Slice Gather GatherND MatMul Gemm Conv BatchNormalization Softmax ReduceMean ReduceSum ReduceMax Sqrt Exp Equal If
Less Shape Size Sum Split Constant ConstantOfShape ScatterND Resize TopK Loop Scan Not Neg Pow Mod DepthToSpace
"""


def test_an_operator_of_another_domain_is_no_standard_one_of_the_same_name() -> None:
    names = STANDARD.split()

    def program(x: Any) -> Any:
        for name in names:
            for further in ((), (1.0,), (1.0, x)):
                before = jnp.maximum(x.T * 2.0 + 1.0, 0.0).T
                after = onnx_op(name, before, *further, domain="my.domain", out="float32[4,4]")
                x = jnp.maximum(after.T, 0.0).reshape(2, 8).reshape(4, 4)
        return x

    model = to_onnx(program, [(4, 4)])
    foreign = [node for node in model.graph.node if node.domain]
    assert [node.op_type for node in foreign] == [name for name in names for _ in range(3)]
    assert [len(node.input) for node in foreign] == [1, 2, 3] * len(names)
    assert not any(node.attribute for node in foreign)
    kept = [node for node in model.graph.node if node.op_type == "Relu" and not node.domain]
    assert len(kept) == 6 * len(names)


def test_equal_calls_of_another_domain_stay_two() -> None:
    model = to_onnx(lambda x: unknown(x) + unknown(x), [(2,)])
    assert operators(model) == ["my.domain:Twice", "my.domain:Twice", "Add"]


def test_attributes_are_numbers_texts_lists_arrays_and_dtypes() -> None:
    attributes = {"a": 1, "b": 2.5, "c": "d", "e": [1, 2], "f": [1, 2.5], "g": ["h"], "i": jnp.ones(2), "j": None}
    model = to_onnx(lambda x: unknown(x, attributes={**attributes, "k": jnp.float32, "l": np.dtype("int8")}), [(2,)])
    types = {attribute.name: attribute.type for attribute in model.graph.node[0].attribute}
    assert types == {"a": 2, "b": 1, "c": 3, "e": 7, "f": 6, "g": 8, "i": 4, "k": 2, "l": 2}

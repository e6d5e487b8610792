"""Control flow beyond the examples: its shape in ONNX, calls, effects, and what is refused by name."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax
from jax.experimental import sparse

from jax2onnx import check, to_onnx
from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.plugin import loader
from jax2onnx.program.flatten import flatten
from jax2onnx.testing import operators

VECTOR = jax.ShapeDtypeStruct((3,), jnp.float32)


def primitives(fn, *avals) -> list[str]:
    return [
        e.primitive for e in flatten(jax.make_jaxpr(fn)(*(avals or (VECTOR,))), loader.load().registry().facts).eqns
    ]


def verified(fn, inputs, **options) -> onnx.ModelProto:
    model = to_onnx(fn, inputs)
    onnx.checker.check_model(model, full_check=True)
    check(model, fn, inputs, **options)
    return model


# -- calls -----------------------------------------------------------------------------------------------------------


@jax.custom_vjp
def _twice(x):
    return x * 2


_twice.defvjp(lambda x: (x * 2, None), lambda _, ct: (ct * 2,), optimize_remat=True)


@jax.custom_batching.custom_vmap
def _batching(x):
    return x * 2


_batching.def_vmap(lambda _, batched, x: (x * 2, batched[0]))


def _reference(x):
    ref = jax.new_ref(x)
    ref[...] = ref[...] * 2
    return ref[...]


CALLS = {
    "jit": jax.jit(lambda x: x * 2),
    "nested_jit": jax.jit(jax.jit(lambda x: x * 2)),
    "checkpoint": jax.checkpoint(lambda x: x * 2),
    "custom_vjp": _twice,
    "remat_opt": jax.checkpoint(lambda x: jax.vjp(_twice, x)[0]),
    "custom_vmap": _batching,
    "composite": lax.composite(lambda x: x * 2, "test.twice"),
    "linear_call": lambda x: jax.custom_derivatives.linear_call(lambda _, v: v * 2, lambda _, v: v * 2, None, x),
    "custom_root": lambda x: lax.custom_root(lambda v: v - 2 * x, x, lambda *_: x * 2, lambda _, v: v),
    "named_scope": jax.named_call(lambda x: x * 2, name="twice"),
    "new_ref": _reference,
    "jaxpr": lambda x: jax.core.eval_jaxpr(jax.make_jaxpr(lambda v: v * 2)(x).jaxpr, [], x)[0],
}


@pytest.mark.parametrize("name", CALLS)
def test_call_like_primitives_are_inlined(name) -> None:
    if name == "jaxpr" and not hasattr(jax.core, "eval_jaxpr"):
        assert "eval_jaxpr" not in dir(jax.core)
        return
    assert primitives(CALLS[name]) == ["mul"]


def test_gradients_of_custom_derivatives() -> None:
    assert set(primitives(jax.grad(lambda x: _twice(x).sum()))) <= {"reduce_sum", "broadcast_in_dim", "mul"}


# -- cond ------------------------------------------------------------------------------------------------------------


def test_a_known_choice_is_made_at_conversion() -> None:
    model = verified(lambda x: lax.cond(True, jnp.cos, jnp.sin, x), [(3,)])  # noqa: FBT003 - jax's own signature
    assert operators(model) == {"Cos": 1}


@pytest.mark.parametrize(
    "branches",
    [
        {"tpu": jnp.sin, "default": jnp.cos},
        {"cpu": jnp.cos, "default": jnp.sin},
        {"cpu": jnp.cos, "tpu": jnp.sin},
        {"cuda": jnp.sin, "tpu": jnp.sin, "cpu": jnp.cos, "default": jnp.sin},
        {"cuda": jnp.cos, "cpu": jnp.cos, "default": jnp.sin},
    ],
)
def test_the_choice_by_platform_is_the_one_of_a_cpu(branches) -> None:
    fn = lambda x: lax.platform_dependent(x, **branches)  # noqa: E731 - as a user writes it
    assert operators(verified(fn, [(3,)])) == {"Cos": 1}


@pytest.mark.parametrize("wrap", [jax.jit, jax.vmap, lambda f: lambda x: lax.map(f, x)])
def test_the_choice_by_platform_within(wrap) -> None:
    fn = wrap(lambda x: lax.platform_dependent(x, cpu=jnp.cos, default=jnp.sin))
    assert operators(verified(fn, [(3, 2)])).keys() <= {"Cos", "Scan"}


def test_a_choice_without_a_branch_for_a_cpu_leads_to_one() -> None:
    def fn(x, **further):
        return lax.platform_dependent(x, tpu=jnp.sin, cuda=jnp.cos, **further)

    with pytest.raises(UnsupportedCaseError, match=r"pass default= or cpu= to jax\.lax\.platform_dependent"):
        to_onnx(fn, [(3,)])
    assert operators(verified(lambda x: fn(x, cpu=jnp.cos), [(3,)])) == {"Cos": 1}
    assert operators(verified(lambda x: fn(x, default=jnp.cos), [(3,)])) == {"Cos": 1}


def test_branches_capture_instead_of_copying() -> None:
    weight = np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32)
    fn = lambda x: lax.cond(x[0] > 0, lambda: x @ weight, lambda: weight @ x)  # noqa: E731 - as a user writes it
    model = to_onnx(fn, [(200,)])
    assert sum(len(i.raw_data) for i in model.graph.initializer) < 200 * 200 * 4 + 1000
    (branching,) = [n for n in model.graph.node if n.op_type == "If"]
    assert all(not a.g.initializer for a in branching.attribute)


@pytest.mark.parametrize("count", [8, 9, 34])
def test_many_branches(count: int) -> None:
    fn = lambda i, x: lax.switch(i, [lambda v, k=k: v * k for k in range(count)], x)  # noqa: E731 - as a user writes it
    values = [[np.int32(i), np.ones(3, np.float32)] for i in (-1, 0, 3, count // 2, count - 2, count - 1, count)]
    assert operators(verified(fn, ["int32[]", (3,)], values=values))["If"] == count - 1


def test_an_index_out_of_range_takes_the_last_branch() -> None:
    def fn(i, x):
        branches = [jax.make_jaxpr(lambda v, k=k: v * k)(x) for k in range(10)]
        return lax.cond_p.bind(i, x, branches=tuple(branches))[0]

    verified(fn, ["int32[]", (3,)], values=[[np.int32(i), np.ones(3, np.float32)] for i in (-2, 2, 9, 20)])


def test_values_that_branches_only_pass_on() -> None:
    def fn(x, y, i):
        return lax.cond(i > 0, lambda: (x, y, y, 1.5, i), lambda: (y, x, y, 2.5, jnp.int32(7)))

    values = [np.array(v, np.float32) for v in ([np.nan, -0.0, np.inf], [1.0, 0.0, -np.inf])]
    given = [[*values, np.int32(i)] for i in (-1, 0, 1)]
    counts = operators(verified(fn, [(3,), (3,), "int32[]"], values=given))
    assert counts["Where"] == 3  # the choice between two numbers is a look-up
    assert counts["If"] == 0


def test_signs_of_zeros_and_bools_that_branches_pass_on() -> None:
    """onnxruntime's ``Where`` makes 0 of -0, and has no kernel of bool."""
    signs = lambda x, y, i: 1.0 / lax.cond(i > 0, lambda: x, lambda: y)  # noqa: E731 - as a user writes it
    zeros = np.array([-0.0, 0.0, -0.0], np.float32), np.array([0.0, -0.0, -0.0], np.float32)
    verified(signs, [(3,), (3,), "int32[]"], values=[[*zeros, np.int32(i)] for i in (0, 1)])

    def bools(x, y, i):
        return lax.cond(i > 0, lambda: (x > y, x), lambda: (x < y, y))

    verified(bools, [(3,), (3,), "int32[]"], values=[[*zeros, np.int32(i)] for i in (0, 1)])


def test_a_value_that_both_branches_pass_on_is_no_result_of_them() -> None:
    fn = lambda x, i: lax.cond(i > 0, lambda: (x, jnp.sin(x)), lambda: (x, jnp.cos(x)))  # noqa: E731 - as a user writes it
    model = verified(fn, [(3,), "int32[]"])
    (branching,) = [n for n in model.graph.node if n.op_type == "If"]
    assert len(branching.output) == 1


# -- while and scan --------------------------------------------------------------------------------------------------


def test_a_predicate_per_lane_stops_each_lane_by_itself() -> None:
    def collatz(n):
        return lax.while_loop(
            lambda s: s[0] > 1, lambda s: (jnp.where(s[0] % 2, 3 * s[0] + 1, s[0] // 2), s[1] + 1), (n, 0)
        )[1]

    values = [[np.array([[1, 2, 3], [27, -4, 0]], np.int32)]]
    verified(jax.vmap(jax.vmap(collatz)), ["int32[2,3]"], values=values)


def test_lanes_of_which_there_are_none() -> None:
    fn = jax.vmap(lambda v: lax.while_loop(lambda s: s < 5, lambda s: s * 2 + 1, v))
    verified(fn, [("B",)], values=[[np.zeros(0, np.float32)], [np.array([0, 3, 9], np.float32)]])


def test_a_loop_that_is_infinite_unless_its_condition_is_read() -> None:
    fn = lambda x: lax.while_loop(lambda v: v.sum() < 10, lambda v: v + 1, x)  # noqa: E731 - as a user writes it
    verified(fn, [(2,)], values=[[np.array(v, np.float32)] for v in ([0, 0], [50, 0], [9, 0.5])])


@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("reverse", [False, True])
def test_scan_of_possibly_nothing(length, reverse) -> None:
    def fn(x):
        return lax.scan(lambda c, v: (c + v, (c, v[0])), x[0], x[1:], reverse=reverse)

    model = to_onnx(fn, [("T", "N")])
    assert {"If", "Scan"} <= operators(model).keys()
    assert "If" not in operators(to_onnx(fn, [("T", "N")], constraints=["T >= 2"]))
    x = np.random.default_rng(0).standard_normal((length, 3)).astype(np.float32)
    check(model, fn, [("T", "N")], values=[[x]])


def test_weights_of_a_scan_are_captured_not_carried() -> None:
    weight = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32) * np.float32(0.3)
    fn = lambda xs: lax.scan(lambda c, x: (jnp.tanh(c @ weight + x), c), jnp.zeros(4), xs)  # noqa: E731
    verified(fn, [("T", 4)])
    model = to_onnx(fn, [("T", 4)], constraints=["T >= 1"])
    (scan,) = [n for n in model.graph.node if n.op_type == "Scan"]
    assert len(scan.input) == 2


def test_names_are_unique_across_nested_graphs() -> None:
    def fn(x):
        def row(c, v):
            return lax.cond(v.sum() > 0, lambda: lax.fori_loop(0, 2, lambda _, w: w * 2 + v, c), lambda: c - v), c

        return lax.scan(row, x[0], x)

    model = verified(fn, [(4, 3)])
    names: list[str] = []

    def visit(graph: onnx.GraphProto) -> None:
        names.extend(i.name for i in (*graph.input, *graph.initializer))
        for node in graph.node:
            names.extend(o for o in node.output if o)
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    visit(attribute.g)

    visit(model.graph)
    assert len(names) == len(set(names))


def test_symbolic_sizes_inside_a_body() -> None:
    def fn(x):
        return lax.fori_loop(0, 3, lambda _, v: v + jnp.arange(v.shape[1], dtype=v.dtype) * v.shape[0], x)

    verified(fn, [("B", "N")])


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "bfloat16", "float16"])
def test_carries_of_any_dtype(dtype) -> None:
    def fn(x):
        flip = (lambda v: ~v) if dtype == "bool" else (lambda v: v + v)
        return lax.scan(lambda c, v: (flip(c), lax.select(v[0] == v[0], c, v)), x[0], x)

    verified(fn, [jax.ShapeDtypeStruct((3, 2), np.dtype(dtype))])


# -- effects ---------------------------------------------------------------------------------------------------------


def test_prints_are_left_out_with_one_warning() -> None:
    def fn(x):
        jax.debug.print("x {}", x)
        jax.debug.callback(lambda _: None, x)
        return lax.fori_loop(0, 2, lambda i, v: (jax.debug.print("{}", i), v * 2)[1], x)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = to_onnx(fn, [(3,)])
    (warning,) = caught
    assert "jax.debug" in str(warning.message)
    assert "Scan" in operators(model)


def _kernel(x_ref, o_ref):
    o_ref[...] = x_ref[...] * 2


def _pallas(x):
    pallas = pytest.importorskip("jax.experimental.pallas")
    return pallas.pallas_call(_kernel, out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype))(x)


def host_sine(x):
    return np.sin(x)


REFUSED = {
    "pure_callback": (lambda x: jax.pure_callback(host_sine, VECTOR, x), "host_sine"),
    "io_callback": (lambda x: jax.experimental.io_callback(host_sine, VECTOR, x), "host_sine"),
    "ffi_call": (lambda x: jax.ffi.ffi_call("some_target", VECTOR)(x), "some_target"),  # noqa: PLW0108 - a line of the user's
    "pallas_call": (_pallas, "_kernel"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_model_cannot_hold_is_refused_by_name(name) -> None:

    fn, named = REFUSED[name]
    with pytest.raises(UnsupportedCaseError, match=named) as error:
        to_onnx(fn, [(3,)])
    assert "test_control.py" in str(error.value)
    assert name in str(error.value.remedy)


AUTO = (jax.sharding.AxisType.Auto,)
SPEC = jax.sharding.PartitionSpec("i")


def test_communication_between_devices_is_refused_by_axis() -> None:
    mesh = jax.sharding.AbstractMesh((2,), ("i",), axis_types=AUTO)
    fn = jax.shard_map(lambda x: lax.psum(x, "i"), mesh=mesh, in_specs=SPEC, out_specs=SPEC, check_vma=False)
    with pytest.raises(UnsupportedCaseError, match="between devices"):
        to_onnx(fn, [(4,)])


def test_communication_of_one_device() -> None:
    mesh = jax.make_mesh((1,), ("i",), axis_types=AUTO)

    def on_device(x):
        gathered = lax.all_gather(x, "i")
        total = lax.psum(x, "i") + lax.pmax(x, "i") + lax.pmean(x, "i") + lax.ppermute(x, "i", [(0, 0)])
        exchanged = lax.all_to_all(gathered, "i", 0, 1)[:, 0]
        return total + lax.psum_scatter(gathered, "i") + exchanged + lax.axis_index("i")

    verified(jax.shard_map(on_device, mesh=mesh, in_specs=SPEC, out_specs=SPEC, check_vma=False), [(3, 2)])


def test_sparse_matrices() -> None:
    dense = np.array([[1, 0, 2], [0, 3, 0]], np.float32)
    coo = sparse.BCOO.fromdense(dense)
    csr = sparse.BCSR.from_bcoo(coo)

    def fn(x):
        doubled = (coo * 2).sum_duplicates(nse=3).todense()
        return coo @ x, coo.T.todense(), doubled, csr @ x, sparse.CSR.fromdense(dense) @ x

    verified(fn, [(3, 2)])


@pytest.mark.parametrize("reduce", [lax.psum, lax.pmax, lax.pmin, lax.pmean])
def test_reductions_over_an_axis_of_vmap(reduce) -> None:
    verified(jax.vmap(lambda x: reduce(x, "i") * 2, axis_name="i"), [(4, 3)])


def test_other_collectives_over_an_axis_of_vmap() -> None:
    def fn(x):
        shifted = lax.ppermute(x, "i", [(0, 1), (1, 2), (2, 3), (3, 0)])
        return shifted + lax.all_gather(x, "i").sum(0) + lax.axis_index("i")

    verified(jax.vmap(fn, axis_name="i"), [(4, 3)])


# -- loops that carry nothing ----------------------------------------------------------------------------------------


def _held(x):
    return lax.scan(lambda carry, _: (carry, jnp.tanh(carry @ jnp.eye(3))), x, None, length=4)


def _branched(x):
    return lax.cond(
        x.sum() > 0,
        lambda: lax.scan(lambda carry, _: (carry, jnp.sin(carry)), x, None, length=3)[1],
        lambda: jnp.zeros((3, 3)),
    )


CARRY_NOTHING = {
    "no carry": lambda x: lax.scan(lambda _, __: (None, jnp.cos(x)), None, None, length=3)[1],
    "no carry and no input": lambda x: (
        lax.scan(lambda c, _: (c, jnp.pad(jnp.ones(2), 1)), None, None, length=3)[1][:, :3] * x
    ),
    "a carry that stays": _held,
    "two carries that stay": lambda x: lax.scan(lambda c, _: (c, c[0] * c[1]), (x, x + 1), None, length=3)[1],
    "in a branch": _branched,
    "in a loop": lambda x: lax.map(lambda v: lax.scan(lambda c, _: (c, v * 2), None, None, length=2)[1], x),
    "mapped": jax.vmap(lambda v: lax.scan(lambda c, _: (c, jnp.sin(c)), v, None, length=3)[1]),
    "backwards": lambda x: lax.scan(lambda c, _: (c, {"a": x, "b": x > 0}), None, None, length=4, reverse=True)[1],
    "complex": lambda x: lax.scan(lambda c, _: (c, x * 1j), None, None, length=2)[1],
    "no results either": lambda x: (lax.scan(lambda c, _: (c, None), None, None, length=2), x)[1],
}


@pytest.mark.parametrize("name", CARRY_NOTHING)
def test_a_loop_that_carries_nothing_computes_its_body_once(name):
    model = verified(CARRY_NOTHING[name], [(3,)])
    assert "Loop" not in operators(model)

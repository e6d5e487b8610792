"""Layers as whole functions: every variant is found, agrees with JAX, and is left alone where it would not."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

FLAGS = list(itertools.product((True, False), repeat=2))


def trained(layer: nnx.Module) -> nnx.Module:
    rng = np.random.default_rng(3)
    graph, state = nnx.split(layer)

    def draw(leaf):
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(0.3 + rng.random(leaf.shape), leaf.dtype) if floating else leaf

    layer = nnx.merge(graph, jax.tree.map(draw, state))
    layer.eval()
    return layer


def exported(fn, inputs, **options):
    """Export, check against JAX, and return the counts of the operators."""
    model = to_onnx(fn, inputs, **options)
    check(model, fn, inputs)
    return operators(model)


def spec(*shape, dtype):
    return jax.ShapeDtypeStruct(shape, np.dtype(dtype))


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("scale", "bias"), FLAGS)
def test_layer_norm(scale, bias, fast) -> None:
    layer = trained(nnx.LayerNorm(6, use_scale=scale, use_bias=bias, use_fast_variance=fast, rngs=rngs()))
    assert exported(layer, [("B", 5, 6)]) == {"LayerNormalization": 1}


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("scale", "bias"), FLAGS)
def test_group_norm(scale, bias, fast) -> None:
    options = {"use_scale": scale, "use_bias": bias, "use_fast_variance": fast}
    layer = trained(nnx.GroupNorm(6, num_groups=3, rngs=rngs(), **options))
    counts = exported(layer, [("B", 4, 5, 6)])
    assert counts["InstanceNormalization"] == 1
    assert (counts.get("Mul", 0), counts.get("Add", 0)) == (int(scale), int(bias))


def test_group_norm_of_the_specification_is_one_operator() -> None:
    layer = trained(nnx.GroupNorm(6, num_groups=3, rngs=rngs()))
    model = to_onnx(layer, [("B", 4, 5, 6)], target="onnx")
    assert operators(model) == {"Transpose": 2, "GroupNormalization": 1}


def test_group_norm_of_equal_large_values_has_no_nan() -> None:
    layer = trained(nnx.GroupNorm(4, num_groups=2, rngs=rngs()))
    model = to_onnx(layer, [(2, 3, 4)])
    check(model, layer, [(2, 3, 4)], values=[[np.full((2, 3, 4), v, np.float32)] for v in (0, 1000.1, -3e4)], atol=1e-4)


@pytest.mark.parametrize(("scale", "bias"), FLAGS)
@pytest.mark.parametrize(
    ("shape", "axis", "transposes"), [(("B", 6), -1, 0), (("B", 4, 6), -1, 2), (("B", 6, 4), 1, 0)]
)
def test_batch_norm(scale, bias, shape, axis, transposes) -> None:
    layer = trained(nnx.BatchNorm(6, axis=axis, use_scale=scale, use_bias=bias, rngs=rngs()))
    counts = exported(layer, [shape])
    assert counts.pop("Transpose", 0) == transposes
    assert counts == {"BatchNormalization": 1}


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("opset", [22, 23])
def test_rms_norm(scale, opset) -> None:
    layer = trained(nnx.RMSNorm(6, use_scale=scale, rngs=rngs()))
    counts = exported(layer, [("B", 5, 6)], opset=opset)
    assert counts.get("RMSNormalization", 0) == (opset >= 23)


@pytest.mark.parametrize("axes", [(1, 2), (2,), (1, 2, 3)])
def test_layer_norm_over_several_axes(axes) -> None:
    layer = trained(nnx.LayerNorm(6, reduction_axes=axes, rngs=rngs()))
    counts = exported(layer, [("B", 4, "T", 6)])
    assert counts.get("LayerNormalization", 0) == (axes == (1, 2, 3))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("make", "operator"),
    [
        (nnx.LayerNorm, "LayerNormalization"),
        (nnx.RMSNorm, "RMSNormalization"),
        (nnx.BatchNorm, "Sub"),  # flax rounds after each of its steps: no operator does
        (functools.partial(nnx.GroupNorm, num_groups=3), "InstanceNormalization"),
    ],
)
def test_small_floats(make, operator, dtype) -> None:
    layer = trained(make(6, dtype=jnp.dtype(dtype), rngs=rngs()))
    assert exported(layer, [spec("B", 4, 6, dtype=dtype)])[operator] == 1


@pytest.mark.parametrize("shape", [("B", 6), ("B", "T", 6), (6,)])
def test_linear(shape) -> None:
    layer = trained(nnx.Linear(6, 4, rngs=rngs()))
    counts = exported(layer, [shape])
    assert counts in ({"Gemm": 1}, {"MatMul": 1, "Add": 1})


@pytest.mark.parametrize("shape", [("B", "T"), (3,), ()])
def test_embed(shape) -> None:
    layer = trained(nnx.Embed(10, 4, rngs=rngs()))
    assert exported(layer, [spec(*shape, dtype=np.int32)]) == {
        "Clip": 1,
        "Gather": 1,
        "Equal": 1,
        "Unsqueeze": 1,
        "Where": 1,
    }


def test_embed_of_ids_that_cannot_hold_the_bounds() -> None:
    layer = trained(nnx.Embed(300, 4, rngs=rngs()))
    exported(layer, [spec(3, dtype=np.int8)])


HEADS = ("B", 8, 4, 16)


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("attend", [nnx.dot_product_attention, jax.nn.dot_product_attention])
def test_attention(attend, opset) -> None:
    counts = exported(attend, [HEADS] * 3, opset=opset)
    if opset >= 23:
        assert counts == {"Reshape": 4, "Attention": 1}
    else:
        assert counts == {"Transpose": 4, "MatMul": 2, "Mul": 1, "Softmax": 1}


@pytest.mark.parametrize("keys", [8, 9, "S"])
def test_causal_attention(keys) -> None:
    attend = functools.partial(nnx.dot_product_attention, is_causal=True)
    counts = exported(attend, [HEADS, ("B", keys, 4, 16), ("B", keys, 4, 16)])
    guards = 1 if keys == "S" else 0  # of no keys at all
    assert (counts["MatMul"], counts["Softmax"], counts["Where"]) == (2, 1, 1 + guards)
    assert "Attention" not in counts


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), ("B", 1, 8, 8), ("B", 4, 8, 8), ("B", 1, 1, 8)])
@pytest.mark.parametrize("bias", [False, True])
def test_masked_attention(shape, bias) -> None:
    def attend(q, k, v, mask, *more):
        return nnx.dot_product_attention(q, k, v, mask=mask, bias=more[0] if more else None)

    counts = exported(attend, [HEADS] * 3 + [spec(*shape, dtype=bool)] + [(1, 4, 8, 8)] * bias)
    assert (counts["MatMul"], counts["Softmax"], counts["Where"], counts.get("Add", 0)) == (2, 1, 1, int(bias))


def test_a_row_that_is_masked_entirely_attends_to_all_keys_alike() -> None:
    def attend(q, k, v, mask):
        return nnx.dot_product_attention(q, k, v, mask=mask)

    rng = np.random.default_rng(0)
    inputs = [(1, 3, 2, 4)] * 3 + [spec(1, 1, 3, 3, dtype=bool)]
    mask = np.array([[[[True, False, True], [False, False, False], [True, True, True]]]])
    values = [[*[rng.standard_normal((1, 3, 2, 4)).astype(np.float32) for _ in range(3)], mask]]
    check(to_onnx(attend, inputs), attend, inputs, values=values)


def test_heads_of_a_layer_stay_side_by_side() -> None:
    layer = trained(nnx.MultiHeadAttention(4, 16, decode=False, rngs=rngs()))
    assert exported(layer, [("B", "T", 16)]) == {"MatMul": 4, "Add": 4, "Attention": 1}


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize(
    ("shape", "window", "strides", "padding"),
    [
        (("B", 7, 8, 3), (2, 2), None, "VALID"),
        (("B", 7, 8, 3), (3, 2), (2, 1), "SAME"),
        (("B", 7, 3), (3,), (2,), ((1, 2),)),
        (("B", 5, 4, 4, 3), (2, 2, 2), (2, 2, 2), "VALID"),
    ],
)
def test_avg_pool(shape, window, strides, padding, include) -> None:
    pool = functools.partial(
        nnx.avg_pool, window_shape=window, strides=strides, padding=padding, count_include_pad=include
    )
    padded = include and padding == "SAME"  # onnxruntime 1.24 miscounts padding of several dims
    assert exported(pool, [shape]) == {"Transpose": 2, "AveragePool": 1} | ({"Pad": 1} if padded else {})
    assert operators(to_onnx(pool, [shape], target="onnx")) == {"Transpose": 2, "AveragePool": 1}


CELLS = {nnx.LSTMCell: "LSTM", nnx.OptimizedLSTMCell: "LSTM", nnx.GRUCell: "GRU", nnx.SimpleCell: "RNN"}


def recurrent(cell, *, features: int = 3, hidden: int = 4, dtype=jnp.float32, **options):
    """Return a layer whose parameters have both signs; those that are not a layer's are the cell's."""
    own = {name: options.pop(name) for name in ("activation_fn", "gate_fn", "residual") if name in options}
    made = cell(features, hidden, dtype=dtype, rngs=rngs(), **own)
    rng = np.random.default_rng(4)
    graph, params, rest = nnx.split(nnx.RNN(made, **options), nnx.Param, ...)
    return nnx.merge(graph, jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), params), rest)


def starting(layer, count):
    """Return the layer as a function of a sequence and its initial states."""

    def call(x, *carry):
        return layer(x, initial_carry=carry if count > 1 else carry[0])

    return call


@pytest.mark.parametrize(
    ("cell", "shape", "options"),
    [
        (nnx.LSTMCell, ("T", 3), {"unroll": 3}),
        (nnx.OptimizedLSTMCell, ("A", "B", 5, 3), {"return_carry": True}),
        (nnx.GRUCell, ("T", "B", 3), {"time_major": True, "reverse": True, "keep_order": True}),
        (nnx.SimpleCell, ("A", 2, 5, 3), {"return_carry": True, "unroll": 2}),
    ],
)
def test_recurrent(cell, shape, options) -> None:
    counts = exported(recurrent(cell, **options), [shape])
    assert counts[CELLS[cell]] == 1


@pytest.mark.parametrize(
    ("cell", "batch"),
    [(nnx.LSTMCell, ()), (nnx.OptimizedLSTMCell, ("B",)), (nnx.GRUCell, ("A", 2)), (nnx.SimpleCell, (2,))],
)
def test_recurrent_from_initial_states(cell, batch) -> None:
    count = 2 if CELLS[cell] == "LSTM" else 1
    call = starting(recurrent(cell, return_carry=True), count)
    counts = exported(call, [(*batch, "T", 3), *[(*batch, 4)] * count])
    assert counts[CELLS[cell]] == 1


def test_gru_from_large_states() -> None:
    """A gate that is off multiplies the state by more than nothing in onnxruntime's kernel."""
    call = starting(recurrent(nnx.GRUCell, return_carry=True), 1)
    inputs = [(50, 2, 3), (50, 4)]
    rng = np.random.default_rng(0)
    values = [[rng.normal(size=s).astype(np.float32) * f for s, f in zip(inputs, (1, f), strict=True)] for f in (1, 9)]
    check(to_onnx(call, inputs), call, inputs, values=values)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("states", ["zeros", "given"])
def test_recurrent_of_no_steps_or_no_sequences(cell, states) -> None:
    """onnxruntime's kernels end the process on an empty batch, and leave final states unset after no steps."""
    count = 2 if CELLS[cell] == "LSTM" else 1
    layer = recurrent(cell, return_carry=True)
    carry = [("B", 4)] * count if states == "given" else []
    call, inputs = (starting(layer, count) if carry else layer), [("B", "T", 3), *carry]
    sizes = [{"B": b, "T": t} for b, t in ((0, 5), (2, 0), (0, 0))]
    check(to_onnx(call, inputs), call, inputs, sizes=sizes, kinds=("ordinary",))


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_on_numbers_that_are_not_ordinary(cell) -> None:
    """onnxruntime's kernels make numbers of NaN; infinities that cancel make NaN of some gates only."""
    layer = recurrent(cell, return_carry=True)
    # Each sequence is on its own: one run shows what becomes of them all.
    cases = [(bad, at) for bad in (np.nan, np.inf, -np.inf, 1e37, 1e20) for at in ((0, 0), (2, 1), 3)]
    x = np.random.default_rng(0).normal(size=(len(cases) + 1, 6, 3)).astype(np.float32)
    for sequence, (bad, at) in zip(x, cases, strict=False):
        sequence[at] = bad
    check(to_onnx(layer, [x.shape]), layer, [x.shape], values=[[x]])


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_in_plain_onnx_is_one_operator(cell) -> None:
    model = to_onnx(recurrent(cell), [("B", "T", 3)], target="onnx")
    assert operators(model) == {"Transpose": 2, CELLS[cell]: 1, "Squeeze": 1}


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_parameters_are_stored_once_and_named(cell) -> None:
    layer = recurrent(cell, features=120, hidden=150)
    model = to_onnx(layer, [("B", "T", 120)])
    size = sum(a.size for a in jax.tree.leaves(nnx.state(layer, nnx.Param)))
    stored = {i.name: int(np.prod(i.dims)) for i in model.graph.initializer if np.prod(i.dims) > 100}
    assert {name[-3:] for name in stored if name.endswith("]")} == {"[W]", "[R]", "[B]"}
    assert sum(stored.values()) < 1.05 * size


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        (nnx.LSTMCell, {"activation_fn": nnx.relu}),
        (nnx.OptimizedLSTMCell, {"gate_fn": nnx.hard_sigmoid}),
        (nnx.GRUCell, {"activation_fn": nnx.sigmoid}),
        (nnx.SimpleCell, {"activation_fn": nnx.relu}),
    ],
)
def test_another_cell_stays_a_scan(cell, options) -> None:
    counts = exported(recurrent(cell, **options), [(2, 5, 3)])
    assert counts["Scan"] == 1
    assert not set(counts) & set(CELLS.values())


def test_a_residual_connection_is_part_of_the_matrix() -> None:
    """What is added before the function of the gate is the product with one more matrix of ones."""
    assert exported(recurrent(nnx.SimpleCell, residual=True), [(2, 5, 3)])["RNN"] == 1


def test_recurrent_in_float16_stays_a_scan() -> None:
    counts = operators(to_onnx(recurrent(nnx.GRUCell, dtype=jnp.float16), [spec(2, 5, 3, dtype=np.float16)]))
    assert counts["Scan"] == 1
    assert "GRU" not in counts


def test_recurrent_parameters_that_are_not_ordinary_stay_a_scan() -> None:
    layer = recurrent(nnx.GRUCell)
    layer.cell.dense_i.kernel[...] = layer.cell.dense_i.kernel[...].at[0, 0].set(jnp.inf)
    assert "GRU" not in exported(layer, [(2, 5, 3)])


def test_recurrent_in_a_function_gets_its_parameters_as_inputs() -> None:
    class Twice(nnx.Module):
        def __init__(self) -> None:
            self.first, self.second = recurrent(nnx.GRUCell, hidden=3), recurrent(nnx.GRUCell, hidden=3)

        def __call__(self, x):
            return self.second(self.first(x))

    model = to_onnx(Twice(), [("B", "T", 3)], functions="modules")
    check(model, Twice(), [("B", "T", 3)])
    assert any(n.op_type == "If" for f in model.functions for n in f.node)


class Normed(nnx.Module):
    def __init__(self, layer: nnx.Module, features: int, *, shared: bool = False) -> None:
        self.layer = trained(layer)
        self.norm = trained(nnx.BatchNorm(features, rngs=rngs()))
        self.shared = shared

    def __call__(self, x):
        y = self.layer(x)
        return self.norm(y) + y if self.shared else nnx.relu(self.norm(y))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("layer", "spec"),
    [
        (lambda bias: nnx.Conv(3, 8, (3, 3), use_bias=bias, rngs=rngs()), ("B", 9, 9, 3)),
        (lambda bias: nnx.Conv(4, 8, (3,), feature_group_count=2, use_bias=bias, rngs=rngs()), ("B", 9, 4)),
        (lambda bias: nnx.Linear(4, 8, use_bias=bias, rngs=rngs()), ("B", 4)),
    ],
)
def test_batch_norm_is_folded_on_request(layer, spec, bias) -> None:
    model = Normed(layer(bias), 8)
    counts = exported(model, [spec], fold_batch_norm=True)
    folds = bias or len(spec) > 2  # a MatMul takes no bias
    assert counts.get("BatchNormalization", 0) == int(not folds)
    assert exported(model, [spec])["BatchNormalization"] == 1


def test_batch_norm_of_what_is_used_elsewhere_stays() -> None:
    model = Normed(nnx.Conv(3, 8, (3, 3), rngs=rngs()), 8, shared=True)
    assert exported(model, [("B", 9, 9, 3)], fold_batch_norm=True)["BatchNormalization"] == 1

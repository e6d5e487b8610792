"""Numbers of 4 and 8 bits: products that overflow, extrema without infinities, sizes and loops of 4-bit integers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from jax import lax
from releases import installed

from jax2onnx import check, onnx_function, onnx_op, to_onnx

FOUR_BITS = {onnx.TensorProto.INT4, onnx.TensorProto.UINT4}
FLOATS = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
SMALL = (1, 2, -1, 0.5)
LARGE = (200, 240, -240, 30)


def _outer(x, y):
    return jnp.einsum("i,j->ij", x, y)


def _contracted(x, y):
    return jnp.dot(jnp.stack([x, y]), jnp.stack([y, x]).T)


def _wide(x, y):
    return lax.dot(x[:, None], y[None], preferred_element_type=jnp.float32)


def _whole(x, y):
    return lax.dot(x[:, None], y[None], preferred_element_type=jnp.int32)


def _windows(x, y):
    # The kernel is finite: a runtime multiplies it by the zeros of the padding, which JAX leaves out.
    return jnp.convolve(y, x[:2])


def _pooled(x, y):
    return lax.reduce_window(jnp.concatenate([x, y]), x.dtype.type(-3), lax.max, (2,), (1,), "SAME")


def _extrema(x, y):
    return x.max(), x.min(), jnp.concatenate([x, y]).max(), lax.cummax(x), jnp.minimum(x, y)


FUNCTIONS = (_outer, _contracted, _wide, _whole, _windows, _pooled, _extrema)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_float8(function, dtype) -> None:
    """What overflows is infinite or, where there is no infinity, NaN."""
    inputs = [f"{dtype}[N]", f"{dtype}[N]"]
    pairs = [(SMALL, LARGE), (LARGE, LARGE), (SMALL, (np.nan, 1, -0.0, 2)), (SMALL, SMALL)]
    values = [[np.asarray(one).astype(jnp.dtype(dtype)) for one in pair] for pair in pairs]
    check(to_onnx(function, inputs), function, inputs, values=values)


@pytest.mark.parametrize("dtype", FLOATS)
def test_order_of_float8(dtype) -> None:
    """The NaN of a kind without -0 has the bits of -0, and is the first, not the last."""

    def orders(x):
        pairs = lax.sort((x[::-1], x), num_keys=2)
        return jnp.sort(x), jnp.argsort(x, descending=True), pairs, jnp.argmax(x), jnp.argmin(x)

    bits = np.array([0x80, 0x7F, 0xFF, 0, 0x81, 1, 0x38, 0xB8, 0x80, 0x40], np.uint8)
    numbers = bits.view(jnp.dtype(dtype))
    check(to_onnx(orders, [f"{dtype}[N]"]), orders, [f"{dtype}[N]"], values=[[numbers], [numbers[1:2]], [numbers[3:]]])


@pytest.mark.parametrize("dtype", FLOATS)
def test_extrema_of_no_elements(dtype) -> None:
    def run(x):
        return lax.reduce_max(x, (0,)), lax.reduce_min(x, (0,))

    values = [[np.zeros((size, 2), jnp.dtype(dtype))] for size in (0, 3)]
    check(to_onnx(run, [f"{dtype}[N,2]"]), run, [f"{dtype}[N,2]"], values=values)


@pytest.mark.parametrize("dtype", ["int4", "uint4"])
@pytest.mark.parametrize(
    "function",
    [jnp.sort, lax.cummax, lambda x: x.astype(jnp.complex64), lambda x: jnp.broadcast_to(x[None], (3, *x.shape)) + x],
    ids=["sort", "cummax", "complex", "broadcast"],
)
def test_sizes_of_4_bit_integers(function, dtype) -> None:
    """onnxruntime's optimiser lets Shape read the first array of some dims, of which it has no kernel for 4 bits."""
    values = [[np.arange(size).astype(jnp.dtype(dtype))] for size in (1, 7)]
    check(to_onnx(function, [f"{dtype}[N]"]), function, [f"{dtype}[N]"], values=values)


@pytest.mark.parametrize("dtype", ["int4", "uint4"])
def test_loops_of_4_bit_integers(dtype) -> None:
    def run(x, n):
        return lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * 2 + 1, s[1]), (0, x, x))

    inputs = [f"{dtype}[N]", "int32[]"]
    values = [[np.arange(5).astype(jnp.dtype(dtype)), np.int32(n)] for n in (0, 1, 3)]
    check(to_onnx(run, inputs), run, inputs, values=values)


def test_a_fill_value_may_be_a_size() -> None:
    def run(x):
        return jnp.intersect1d(x, jnp.array([2.0, 3.0]), size=4, fill_value=9, return_indices=True)

    values = [[np.asarray([0, 2, 0, 3, 3, 2, 0, 5][:size], np.float32)] for size in (1, 2, 5, 8)]
    check(to_onnx(run, ["float32[N]"]), run, ["float32[N]"], values=values)


def _quantized(x):
    return onnx_op("QuantizeLinear", x, jnp.float32(0.5), jnp.asarray(1, jnp.int4), reference=_quantized_reference)


def _quantized_reference(x, scale, zero):
    return jnp.clip(jnp.round(x / scale) + zero.astype(jnp.int32), -8, 7).astype(jnp.int4)


def _halved(x):
    return x.reshape(2, -1).T + 1


@onnx_function
def _scaled(x, w):
    return x @ (w.astype(jnp.float32) * 0.5), w


@onnx_function
def _scaled_within(x, w):
    y, v = _scaled(x, w)
    return lax.cond(x[0, 0] > 0, lambda: _scaled(x, w)[0], lambda: y), v


BETWEEN = {
    "sums": lambda x: (x + x, (x + x).astype(jnp.int8) * 3),
    "moved": lambda x: ((x * 2)[None].T, jnp.negative((x * 2).astype(jnp.int8))),
    "called": lambda x: jnp.negative(onnx_function(_halved)(x + 1).astype(jnp.int8)),
    "in a loop": lambda x: lax.fori_loop(
        0, 3, lambda i, c: (c.astype(x.dtype) * 3).astype(jnp.int8), x.astype(jnp.int8)
    ),
    "quantised": lambda x: jnp.negative(_quantized(x.astype(jnp.float32)).astype(jnp.int8)),
}


def _computed(model):
    """Return the integers of 4 bits that a model computes, but for its results."""
    model = onnx.shape_inference.infer_shapes(onnx.inliner.inline_local_functions(model), strict_mode=True)
    made = {name for node in model.graph.node if node.op_type != "Constant" for name in node.output}
    return [v.name for v in model.graph.value_info if v.name in made and v.type.tensor_type.elem_type in FOUR_BITS]


@pytest.mark.parametrize("dtype", ["int4", "uint4"])
@pytest.mark.parametrize("name", BETWEEN)
def test_before_1_31_integers_of_4_bits_give_their_memory_to_bytes(name, dtype) -> None:
    """A model for these releases computes none; inputs, constants and results have memory of their own."""
    program, specs = BETWEEN[name], [f"{dtype}[6]"]
    model = to_onnx(program, specs)
    assert not _computed(model)
    check(model, program, specs)


@pytest.mark.parametrize("name", ["moved", "called", "quantised"])
def test_from_1_31_on_they_are_computed(name) -> None:
    assert _computed(to_onnx(BETWEEN[name], ["int4[6]"], target="onnxruntime>=1.31"))


def test_browsers_compute_none_before_1_31() -> None:
    def program(x):
        return BETWEEN["called"](x.astype("int4"))

    assert not _computed(to_onnx(program, ["int8[6]"], target="web"))


IN_FEW_BITS = pytest.param(
    "onnxruntime>=1.31",
    marks=pytest.mark.skipif(installed(onnxruntime, "<1.31"), reason="the target is a newer onnxruntime"),
)


@pytest.mark.parametrize("target", ["onnxruntime", IN_FEW_BITS])
@pytest.mark.parametrize("dtype", ["int4", "uint4", *FLOATS])
def test_functions_pass_on_operands_of_few_bits(dtype, target) -> None:
    """onnxruntime knows no dtypes of an operand that a function only passes on, and refused these."""
    weights = np.arange(12).reshape(4, 3).astype(jnp.dtype(dtype))

    def program(x, w):
        y, v = _scaled_within(x, weights)
        z, u = _scaled_within(x, w[::-1])
        return y + z, v.astype(jnp.float32), u.astype(jnp.float32)

    specs = ["float32[2,4]", f"{dtype}[4,3]"]
    check(to_onnx(program, specs, target=target), program, specs, kinds=["ordinary"])


def test_weights_of_functions_stay_in_4_bits_unless_a_call_computes_them() -> None:
    weights = np.arange(64 * 128).reshape(64, 128).astype(jnp.int4)

    def read(x):
        y, w = _scaled(x, weights)
        return y, w.astype(jnp.int8)

    def computed(x):
        y, w = _scaled(x, weights)
        z, v = _scaled(x, jnp.where(x[0, 0] > 0, w, w[::-1]))
        return y + z, jnp.negative(v.astype(jnp.int8)), jnp.negative(w.astype(jnp.int8))

    for function in (read, computed):
        model = to_onnx(function, ["float32[2,64]"])
        check(model, function, ["float32[2,64]"])
        casts = [node for node in model.graph.node if node.op_type == "Cast" and set(node.input) & _stored(model)]
        assert bool(casts) is (function is computed)


def _stored(model):
    """Return the names of the initializers in 4 bits."""
    return {tensor.name for tensor in model.graph.initializer if tensor.data_type in FOUR_BITS}

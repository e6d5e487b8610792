"""Programs that reduce, sort, multiply and convolve arrays of symbolic dims, each exported once, at many sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from jax import lax
from releases import installed

from jax2onnx.testing import Sized, run_sized, select

LONGER = (5, 6, 9, 17)
_SORTS_NOTHING = installed(onnxruntime, ">=1.31")
"""Before onnxruntime 1.31, TopK divides by the number of rows: the process ends where there is none."""


def filled(*symbols):
    """Return the sizes at which a program that sorts is compared: 0 only where onnxruntime can sort nothing."""
    numbers = [(2, 3), (5, 2), (3, 7), (7, 9), (4, 4), (6, 5)]
    return {} if _SORTS_NOTHING else {"sizes": [dict(zip(symbols, pair, strict=False)) for pair in numbers]}


KERNEL = np.linspace(-1, 1, 3 * 3 * 2 * 4, dtype=np.float32).reshape(3, 3, 2, 4)
NHWC = ("NHWC", "HWIO", "NHWC")


def standardised(x):
    return (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-3)


def layer_norm(x):
    mean, square = x.mean(-1, keepdims=True), (x * x).mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(square - mean**2 + 1e-5)


def masked_mean(x, mask):
    return (x * mask[..., None]).sum(1) / jnp.maximum(mask.sum(1), 1)[:, None]


def conv(strides=(1, 1), padding="SAME", **kwargs):
    return lambda x: lax.conv_general_dilated(x, KERNEL, strides, padding, dimension_numbers=NHWC, **kwargs)


def causal_conv(x):
    return lax.conv_general_dilated(x, KERNEL[0], (1,), [(2, 0)], dimension_numbers=("NWC", "WIO", "NWC"))


def depthwise(x):
    return lax.conv_general_dilated(
        x, KERNEL[:, :, :1, :2], (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=2
    )


def upsampled(x):
    return lax.conv_transpose(x, KERNEL, (2, 2), "SAME", dimension_numbers=NHWC)


def pool(strides, padding):
    return lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 3, 1), strides, padding)


def mean_pool(x):
    window, strides = (1, 2, 2, 1), (1, 2, 2, 1)
    ones = lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, window, strides, "SAME")
    return lax.reduce_window(x, 0.0, lax.add, window, strides, "SAME") / ones


def symmetric(x):
    return x @ x.swapaxes(-1, -2) + 3 * jnp.eye(x.shape[-2])


def nearest(x, y):
    return jnp.argmin(((x[:, None] - y[None]) ** 2).sum(-1), axis=1)


def power(x):
    return jnp.abs(jnp.fft.rfft(x)) ** 2


def spectrum(x):
    transformed = jnp.fft.fft(x)
    return transformed.real, transformed.imag


def round_trip(x):
    return jnp.fft.ifft(jnp.fft.fft(x)).real


def cross_entropy(logits, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)[..., 0].mean()


def softmax_of_time(x):
    return jax.nn.softmax(x, axis=1)


def weight_gradient(x, y):
    return jax.grad(lambda w: ((x @ w - y) ** 2).mean())(jnp.ones((3, 2)))


def ranks(x):
    return jnp.argsort(jnp.argsort(x, axis=-1), axis=-1)


def quantile(x):
    return jnp.median(x, axis=0)


REDUCTIONS = [
    Sized("mean_of_dynamic_axis", lambda x: x.mean(1), [("B", "T", 3)]),
    Sized("mean_of_everything", jnp.mean, [("B", "T")]),
    Sized("mean_of_integers", lambda x: x.mean(0), ["int32[B,3]"]),
    Sized("variance", lambda x: x.var(0), [("B", 3)]),
    Sized("variance_of_a_sample", lambda x: x.var(0, ddof=1), [("B", 3)], ["B >= 2"], sizes=LONGER),
    Sized("standardised", standardised, [("B", "T", 2)], heavy=True),
    Sized("layer_norm", layer_norm, [("B", "T", 6)]),
    Sized("layer_norm_of_dynamic_width", layer_norm, [("B", "D")], heavy=True),
    Sized("masked_mean", masked_mean, [("B", "T", 3), ("B", "T")]),
    Sized("sum", lambda x: (x.sum(0), x.sum((0, 1)), x.sum(-1)), [("B", "T", 2)]),
    Sized("product", lambda x: x.prod(0), [("B", 2)]),
    Sized("max", lambda x: x.max(1), [("B", "T")], ["T >= 1"]),
    Sized("max_refuses_none", lambda x: x.max(0), [("T", 2)], empty=False),
    Sized("min_with_initial", lambda x: x.min(1, initial=1.0), [("B", "T")]),
    Sized("max_of_integers", lambda x: x.max(1), ["int32[B,T]"], ["T >= 1"]),
    Sized("any_all", lambda x: ((x > 0).any(1), (x > -1).all(0)), [("B", "T")]),
    Sized("argmax", lambda x: jnp.argmax(x, 1), [("B", "T")], ["T >= 1"]),
    Sized("argmin_refuses_none", lambda x: jnp.argmin(x, 0), [("T", 2)], empty=False),
    Sized("argmax_of_everything", jnp.argmax, [("B", "T")], ["B >= 1", "T >= 1"]),
    Sized("norm", lambda x: jnp.linalg.norm(x, axis=1), [("B", "T")]),
    Sized("logsumexp", lambda x: jax.nn.logsumexp(x, axis=1), [("B", "T")], ["T >= 1"], heavy=True),
    Sized("softmax", jax.nn.softmax, [("B", "T")], ["T >= 1"]),
    Sized("softmax_of_time", softmax_of_time, [("B", "T", 3)], ["T >= 1"]),
    Sized("log_softmax", jax.nn.log_softmax, [("B", "T")], ["T >= 1"]),
    Sized("cross_entropy", cross_entropy, [("B", 10), "int32[B]"]),
    Sized("count_nonzero", lambda x: jnp.count_nonzero(x > 0, axis=0), [("B", 2)]),
    Sized("cumsum", lambda x: jnp.cumsum(x, axis=1), [("B", "T")]),
    Sized("cumsum_reversed", lambda x: lax.cumsum(x, axis=0, reverse=True), [("T", 2)]),
    Sized("cumsum_of_integers", jnp.cumsum, ["int32[B,T]"]),
    Sized("cumprod", lambda x: jnp.cumprod(x, axis=0), [("T", 2)]),
    Sized("cummax", lambda x: lax.cummax(x, axis=0), [("T", 2)]),
    Sized("cumlogsumexp", lambda x: lax.cumlogsumexp(x, axis=0), [("T", 2)]),
    Sized("sort", lambda x: jnp.sort(x, axis=1), [("B", "T")], **filled("B", "T")),
    Sized("sort_descending", lambda x: jnp.sort(x, axis=0, descending=True), [("T", 2)]),
    Sized("argsort", lambda x: jnp.argsort(x, axis=1), [("B", "T")], **filled("B", "T")),
    Sized("sort_with_values", lambda x, y: lax.sort((x, y), num_keys=1), ["int32[T]", ("T",)]),
    Sized("ranks", ranks, [("B", "T")], **filled("B", "T")),
    Sized("median", quantile, [("T", 3)], ["T >= 1"]),
    Sized("top_k", lambda x: lax.top_k(x, 2), [("B", "T")], ["T >= 2"], **filled("B", "T")),
    Sized("top_k_of_dynamic_batch", lambda x: lax.top_k(x, 3)[0], [("B", 5)], **filled("B")),
    Sized("positions_in_sorted", lambda x, y: (x[None] < y[:, None]).sum(1), [("T",), ("B",)]),
]
PRODUCTS = [
    Sized("dense", lambda x: x @ np.ones((3, 4), np.float32) + 1, [("B", 3)]),
    Sized("dense_of_sequence", lambda x: x @ np.ones((3, 4), np.float32), [("B", "T", 3)]),
    Sized("matrix_vector", lambda x, y: x @ y, [("B", 3), (3,)]),
    Sized("matrix_dynamic_vector", lambda x, y: x @ y, [("B", "T"), ("T",)]),
    Sized("vector_matrix", lambda x, y: x @ y, [("T",), ("T", 3)]),
    Sized("vector_matrix_of_dynamic_width", lambda x, y: x @ y, [(3,), (3, "B")]),
    Sized("vector_vector", lambda x, y: x @ y, [("T",), ("T",)]),
    Sized("batched_matrix_vector", lambda x, y: x @ y, [("B", "T", 3), (3,)]),
    Sized("broadcast_batch", jnp.matmul, [(1, 2, 3), ("B", 3, 4)]),
    Sized("broadcast_batch_right", jnp.matmul, [("B", 2, 3), (1, 3, 4)]),
    Sized("matrix_of_batches", lambda x, y: x @ y, [(2, 3), ("B", 3, "T")]),
    Sized("batches", lambda x, y: x @ y, [("B", "T", 3), ("B", 3, "S")]),
    Sized("contraction", lambda x, y: x.T @ y, [("T", "A"), ("T", "B")]),
    Sized("gram", lambda x: x @ x.T, [("T", 3)]),
    Sized("einsum_attention", lambda q, k: jnp.einsum("bthd,bshd->bhts", q, k), [("B", "T", 2, 3), ("B", "S", 2, 3)]),
    Sized("einsum_values", lambda w, v: jnp.einsum("bhts,bshd->bthd", w, v), [("B", 2, "T", "S"), ("B", "S", 2, 3)]),
    Sized("einsum_two_contracted", lambda x, y: jnp.einsum("abt,abs->ts", x, y), [("A", "B", "T"), ("A", "B", "S")]),
    Sized("einsum_bilinear", lambda x, y: jnp.einsum("bi,bj->bij", x, y), [("B", "I"), ("B", "J")]),
    Sized("einsum_trace", lambda x: jnp.einsum("tt->", x), [("T", "T")]),
    Sized("einsum_three", lambda x, y, z: jnp.einsum("bi,ij,bj->b", x, y, z), [("B", 3), (3, 4), ("B", 4)]),
    Sized("tensordot", lambda x, y: jnp.tensordot(x, y, axes=([0, 1], [1, 0])), [("A", "B", 2), ("B", "A")]),
    Sized("integers", lambda x, y: x @ y, ["int32[B,T]", "int32[T,3]"]),
    Sized("kron", jnp.kron, [("B", 2), (3, "T")]),
    Sized("weight_gradient", weight_gradient, [("B", 3), ("B", 2)], ["B >= 1"]),
    Sized("vmapped_dot", jax.vmap(jnp.dot), [("B", "T"), ("B", "T")]),
    Sized("nearest", nearest, [("B", 3), ("K", 3)], ["K >= 1"]),
    Sized("cholesky", lambda x: jnp.linalg.cholesky(symmetric(x)), [("B", 3, 3)], heavy=True),
    Sized("solve", lambda x, y: jnp.linalg.solve(symmetric(x), y), [("B", 3, 3), ("B", 3, 2)], heavy=True),
    Sized("inverse", lambda x: jnp.linalg.inv(symmetric(x)), [("B", 2, 2)], heavy=True),
    Sized("determinant", lambda x: jnp.linalg.det(symmetric(x)), [("B", 3, 3)], heavy=True),
    Sized("eigenvalues", lambda x: jnp.linalg.eigvalsh(symmetric(x)), [("B", 3, 3)], heavy=True),
    Sized("singular_values", lambda x: jnp.linalg.svd(x, compute_uv=False), [("B", 3, 2)], heavy=True),
    Sized("qr", lambda x: jnp.abs(jnp.linalg.qr(x)[1]), [("B", 3, 2)], heavy=True),
    Sized("matrix_power", lambda x: jnp.linalg.matrix_power(x, 3), [("B", 2, 2)]),
]
SIGNALS = [
    Sized("conv_same", conv(), [("B", "H", "W", 2)], ["H >= 1", "W >= 1"]),
    Sized("conv_of_batch", conv(), [("B", 6, 5, 2)], ["B >= 1"]),
    Sized("conv_same_strided", conv((2, 2)), [("B", "H", "W", 2)], ["H >= 1", "W >= 1"]),
    Sized("conv_valid", conv(padding="VALID"), [("B", "H", "W", 2)], ["H >= 3", "W >= 3"]),
    Sized("conv_valid_strided", conv((2, 3), "VALID"), [("B", "H", "W", 2)], ["H >= 3", "W >= 3"]),
    Sized("conv_dilated", conv(rhs_dilation=(2, 2)), [("B", "H", "W", 2)], ["H >= 1", "W >= 1"]),
    Sized("conv_padded", conv((2, 1), [(1, 1), (0, 2)]), [("B", "H", "W", 2)], ["H >= 1", "W >= 1"]),
    Sized("conv_depthwise", depthwise, [("B", "H", "W", 2)], ["H >= 1", "W >= 1"]),
    Sized("conv_causal", causal_conv, [("B", "T", 2)], ["B >= 1", "T >= 1"]),
    Sized("conv_transposed", upsampled, [("B", "H", "W", 2)], ["H >= 1", "W >= 1"]),
    Sized("max_pool_same", pool((1, 2, 2, 1), "SAME"), [("B", "H", "W", 2)], ["H >= 1", "W >= 1"]),
    Sized("max_pool_valid", pool((1, 2, 1, 1), "VALID"), [("B", "H", "W", 2)], ["H >= 2", "W >= 3"]),
    Sized("mean_pool_same", mean_pool, [("B", "H", "W", 2)], ["H >= 1", "W >= 1"]),
    Sized("global_pool", lambda x: x.mean((1, 2)), [("B", "H", "W", 2)]),
    Sized("cumulative_window", lambda x: lax.reduce_window(x, 0.0, lax.add, (3,), (1,), "SAME"), [("T",)], ["T >= 1"]),
    Sized("resize", lambda x: jax.image.resize(x, (x.shape[0], 8, 6, 2), "bilinear"), [("B", 4, 3, 2)], heavy=True),
    Sized("upsample", lambda x: jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), [("B", "H", "W", 2)]),
    Sized("space_to_depth", lambda x: x.reshape(x.shape[0], 2, 3, 2, 3), [("B", 6, 6)]),
    Sized("fft_of_batch", spectrum, [("B", 8)]),
    Sized("fft_of_dynamic_length", spectrum, [("B", "T")], ["T >= 1"]),
    Sized("rfft_of_dynamic_length", power, [("B", "T")], ["T >= 1"]),
    Sized("fft_round_trip", round_trip, [("T",)], ["T >= 1"], heavy=True),
]


@pytest.mark.parametrize("program", select([*REDUCTIONS, *PRODUCTS, *SIGNALS]), ids=str)
def test_program(program):
    run_sized(program)

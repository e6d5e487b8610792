"""Examples of :mod:`jax2onnx_lax.window`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example

_IMAGE = ("B", 9, 8, 3)
_REDUCERS: dict[str, tuple[Callable[..., Any], float]] = {
    "max": (lax.max, -np.inf),
    "min": (lax.min, np.inf),
    "sum": (lax.add, 0),
}
_Make = Callable[[], Callable[..., Any]]


def _window(
    reducer: Callable[..., Any],
    initial: Any,
    size: Sequence[int],
    *rest: Any,
) -> Callable[..., Any]:
    """Reduce windows; ``rest`` are strides, padding, base dilation and window dilation, as far as they are given."""
    defaults: list[Any] = [(1,) * len(size), "VALID", None, None]
    arguments = [*rest, *defaults[len(rest) :]]
    return lambda x: lax.reduce_window(x, np.asarray(initial).astype(x.dtype), reducer, size, *arguments)


def _make(*arguments: Any) -> _Make:
    return lambda: _window(*arguments)


def _example(name: str, make: _Make, inputs: Sequence[Any], **rest: Any) -> Example:
    return Example(name=name, context="lax", component="jax.lax.reduce_window", make=make, inputs=inputs, **rest)


def _typed(dtype: Any, *shape: Any) -> list[jax.ShapeDtypeStruct]:
    return [jax.ShapeDtypeStruct(shape, dtype)]


def _edges(dtype: Any = "float32") -> Callable[[], Sequence[Sequence[Any]]]:
    """Images of which one has a NaN, one nothing but minus infinity, one plus infinity."""

    def values() -> Sequence[Sequence[Any]]:
        x = np.random.default_rng(0).normal(size=(3, *_IMAGE[1:])).astype(dtype)
        odd = x.copy()
        odd[0, 1, 2], odd[1], odd[2, 5, 5, 1], odd[2, 0, 0, 0] = np.nan, -np.inf, np.inf, -0.0
        return [[x], [odd], [-odd]]

    return values


def _integers(dtype: Any) -> Callable[[], Sequence[Sequence[Any]]]:
    def values() -> Sequence[Sequence[Any]]:
        limits = np.iinfo(dtype)
        shape = (3, *_IMAGE[1:])
        x = np.random.default_rng(0).integers(limits.min, limits.max, shape, dtype, endpoint=True)
        return [[x], [np.full_like(x, limits.min)], [np.full_like(x, limits.max)]]

    return values


def _float_examples(name: str, reducer: Callable[..., Any], initial: float) -> list[Example]:
    pool = {"sum": "AveragePool"}.get(name, "MaxPool")
    one = {pool: 1}
    pads = ((0, 0), (1, 2), (0, 1), (0, 0))
    cases: list[tuple[str, tuple[Any, ...], Sequence[Any], dict[str, int] | None]] = [
        ("", ((1, 2, 2, 1), (1, 2, 2, 1)), _IMAGE, one),
        ("_same_symbolic", ((1, 3, 3, 1), (1, 2, 2, 1), "SAME"), ("B", "H", "W", 3), one),
        ("_padding", ((1, 3, 2, 1), (1, 2, 1, 1), pads), _IMAGE, one),
        ("_wide_padding", ((1, 3, 2, 1), (1, 2, 1, 1), ((0, 0), (4, 2), (0, 3), (0, 0))), _IMAGE, {pool: 0}),
        ("_negative_padding", ((1, 3, 2, 1), (1, 2, 1, 1), ((0, 0), (-1, 2), (0, -2), (0, 0))), _IMAGE, {pool: 0}),
        ("_window_dilation", ((1, 3, 2, 1), (1, 2, 1, 1), "VALID", None, (1, 2, 3, 1)), _IMAGE, one),
        ("_padding_window_dilation", ((1, 3, 2, 1), (1, 2, 1, 1), pads, None, (1, 2, 3, 1)), _IMAGE, {pool: 0}),
        ("_base_dilation", ((1, 3, 2, 1), (1, 2, 1, 1), pads, (1, 2, 3, 1)), _IMAGE, {pool: 0}),
        ("_channels_first", ((1, 1, 3, 2),), _IMAGE, {pool: 1, "Transpose": 0}),
        ("_every_dim", ((2, 2, 3, 2),), (3, 9, 8, 3), {pool: 0}),
        ("_whole_image", ((1, 9, 8, 1),), _IMAGE, {pool: 0}),
        ("_up_to_here", ((1, 9, 1, 1), (1, 1, 1, 1), ((0, 0), (8, 0), (0, 0), (0, 0))), _IMAGE, {pool: 0}),
        ("_from_here", ((1, 9, 1, 1), (1, 1, 1, 1), ((0, 0), (0, 8), (0, 0), (0, 0))), _IMAGE, {pool: 0}),
        ("_vector", ((3,), (1,), ((1, 1),)), ("L",), one),
        ("_matrix", ((1, 3), (1, 1), ((0, 0), (1, 1))), ("B", "L"), one),
        ("_empty", ((1, 2, 2, 1),), (0, 9, 8, 3), {pool: 0}),
    ]
    return [
        _example(
            f"reduce_window_{name}{suffix}",
            _make(reducer, initial, *arguments),
            [shape],
            operators=operators,
            values=_edges() if shape == _IMAGE else None,
        )
        for suffix, arguments, shape, operators in cases
    ]


def _two(x: Any) -> Any:
    def both(a: Sequence[Any], b: Sequence[Any]) -> tuple[Any, Any]:
        return a[0] + b[0], a[1] * b[1]

    return lax.reduce_window((x, x), (np.float32(0), np.float32(1)), both, (1, 2, 2, 1), (1, 1, 1, 1), "SAME")


def _gradient(reducer: str, padding: str) -> _Make:
    """The vector-Jacobian product with a cotangent that differs everywhere."""

    def make() -> Callable[..., Any]:
        pool = _window(*_REDUCERS[reducer], (1, 3, 2, 1), (1, 2, 2, 1), padding)

        def gradient(x: Any) -> Any:
            y, pull = jax.vjp(pool, x)
            places = lax.broadcasted_iota(np.float32, (y.shape[1], y.shape[2], 3), 1)
            return pull(jnp.broadcast_to(jnp.cos(places), y.shape))[0]

        return gradient

    return make


def _tangent(reducer: str) -> _Make:
    pool = _window(*_REDUCERS[reducer], (1, 3, 2, 1), (1, 2, 2, 1), "SAME")
    return lambda: lambda x, t: jax.jvp(pool, (x,), (t,))


EXAMPLES: list[Example] = [
    *(e for name, (reducer, initial) in _REDUCERS.items() for e in _float_examples(name, reducer, initial)),
    *(
        _example(
            f"reduce_window_{name}_{np.dtype(dtype).name}",
            _make(reducer, initial, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"),
            _typed(dtype, *_IMAGE),
            values=_edges(dtype),
            x64=dtype == "float64",
        )
        for name, (reducer, initial) in _REDUCERS.items()
        for dtype in ("float16", jnp.bfloat16, "float64")
    ),
    *(
        _example(
            f"reduce_window_{name}_{dtype}",
            _make(reducer, initial, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"),
            _typed(dtype, *_IMAGE),
            values=_integers(dtype),
        )
        for dtype in ("int8", "uint8", "int16", "int32", "uint32")
        for name, reducer, initial in (
            ("max", lax.max, np.iinfo(dtype).min),
            ("min", lax.min, np.iinfo(dtype).max),
            ("sum", lax.add, 0),
            ("prod", lax.mul, 1),
            ("and", lax.bitwise_and, -1 if dtype.startswith("int") else np.iinfo(dtype).max),
        )
    ),
    *(
        _example(
            f"reduce_window_{name}_bool",
            _make(reducer, initial, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"),
            _typed("bool", *_IMAGE),
        )
        for name, reducer, initial in (
            ("or", lax.bitwise_or, False),
            ("and", lax.bitwise_and, True),
            ("max", lax.max, False),
            ("min", lax.min, True),
        )
    ),
    _example("reduce_window_prod", _make(lax.mul, 1, (1, 2, 2, 1)), [("B", "H", "W", 3)]),
    _example("reduce_window_sum_from_one", _make(lax.add, 1, (1, 2, 2, 1), (1, 1, 1, 1), "SAME"), [_IMAGE]),
    _example(
        "reduce_window_all_up_to_here",
        _make(lax.min, 1, (1, 9, 1, 1), (1, 1, 1, 1), ((0, 0), (8, 0), (0, 0), (0, 0))),
        ["bool[B,9,8,3]"],
    ),
    _example("reduce_window_of_no_dims", _make(lax.max, 9, ()), [()]),
    _example("reduce_window_max_from_zero", _make(lax.max, 0, (1, 2, 2, 1), (1, 1, 1, 1), "SAME"), [_IMAGE]),
    _example(
        "reduce_window_initial_value_given",
        lambda: (
            lambda x, i: lax.reduce_window(
                x, i, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "SAME", base_dilation=(1, 2, 1, 1)
            )
        ),
        [_IMAGE, ()],
    ),
    _example("reduce_window_any_function", _make(jnp.logaddexp, -np.inf, (1, 2, 2, 1)), [_IMAGE]),
    _example("reduce_window_two_arrays", lambda: _two, [_IMAGE]),
    *(
        Example(
            name=f"select_and_scatter_add_{reducer}_{padding.lower()}",
            context="lax",
            component="jax.lax.reduce_window",
            make=_gradient(reducer, padding),
            inputs=[_IMAGE],
            values=_edges(),
        )
        for reducer in ("max", "min")
        for padding in ("VALID", "SAME")
    ),
    Example(
        name="reduce_window_sum_gradient",
        context="lax",
        component="jax.lax.reduce_window",
        make=_gradient("sum", "SAME"),
        inputs=[_IMAGE],
    ),
    *(
        Example(
            name=f"select_and_gather_add_{reducer}",
            context="lax",
            component="jax.lax.reduce_window",
            make=_tangent(reducer),
            inputs=[(3, *_IMAGE[1:]), (3, *_IMAGE[1:])],
            values=lambda: [[x, x[::-1].copy()] for (x,) in _edges()()],
        )
        for reducer in ("max", "min")
    ),
]

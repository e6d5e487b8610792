"""Emit rotary position embeddings: the rotation of pairs of features by angles, in the forms in which people write it.

What is found is the rotation. Cosines and sines are its operands, however they are computed: from positions at run
time, or read from a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jax2onnx.plugin import Decline, Fusion, has_zero

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

_OPSET = 23
"""The first opset that has the operator."""


def _split(x: Any) -> tuple[Any, Any]:
    first, second = jnp.split(x, 2, axis=-1)
    return first, second


def _sliced(x: Any) -> tuple[Any, Any]:
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def _strided(x: Any) -> tuple[Any, Any]:
    return x[..., ::2], x[..., 1::2]


def _indexed(x: Any) -> tuple[Any, Any]:
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    return pairs[..., 0], pairs[..., 1]


def _taken(x: Any) -> tuple[Any, Any]:
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    first, second = jnp.split(pairs, 2, axis=-1)
    return first.squeeze(-1), second.squeeze(-1)


_HALVES: Mapping[str, Callable[[Any], tuple[Any, Any]]] = {"split": _split, "slices": _sliced}
_PAIRS: Mapping[str, Callable[[Any], tuple[Any, Any]]] = {"steps": _strided, "indices": _indexed, "split": _taken}


def _rotated(first: Any, second: Any, cosines: Any, sines: Any) -> tuple[Any, Any]:
    return first * cosines - second * sines, second * cosines + first * sines


def _by_halves(x: Any, cosines: Any, sines: Any, *, halves: str) -> Any:
    return jnp.concatenate(_rotated(*_HALVES[halves](x), cosines, sines), axis=-1)


def _by_turned_halves(x: Any, cosines: Any, sines: Any, *, halves: str) -> Any:
    first, second = _HALVES[halves](x)
    return x * cosines + jnp.concatenate([-second, first], axis=-1) * sines


def _by_pairs(x: Any, cosines: Any, sines: Any, *, pairs: str) -> Any:
    return jnp.stack(_rotated(*_PAIRS[pairs](x), cosines, sines), axis=-1).reshape(x.shape)


def _by_joined_pairs(x: Any, cosines: Any, sines: Any, *, pairs: str) -> Any:
    first, second = _rotated(*_PAIRS[pairs](x), cosines, sines)
    return jnp.concatenate([first[..., None], second[..., None]], axis=-1).reshape(x.shape)


def _emit(interleaved: int) -> Callable[..., ir.Value]:
    def emit(ctx: LoweringContext, x: ir.Value, cosines: ir.Value, sines: ir.Value, **_: str) -> ir.Value:
        return _operator(ctx, x, [cosines, sines], interleaved=interleaved)

    return emit


def _emit_turned(ctx: LoweringContext, x: ir.Value, cosines: ir.Value, sines: ir.Value, **_: str) -> ir.Value:
    size = ctx.aval_out.shape[-1]
    tables = []
    for table, aval in zip((cosines, sines), ctx.avals_in[1:], strict=True):
        if not isinstance(size, int) or aval.shape[-1] != size:
            raise Decline("the number of features is not known at conversion")
        if not _repeats(table, size // 2):
            raise Decline("the angles of the second half may differ from those of the first")
        shape = (*aval.shape[:-1], size // 2)
        ends = (ctx.ints(0), ctx.ints(size // 2), ctx.ints(-1))
        tables.append(ctx.stamp(ctx.op.Slice(table, *ends), shape))
    return _operator(ctx, x, tables, interleaved=0)


def _repeats(value: ir.Value | None, half: int) -> bool:
    """Return whether the second half of an array's last axis is surely a copy of the first half."""
    if value is None:
        return False
    if value.const_value is not None:
        array = value.const_value.numpy()
        return array.shape[-1:] == (2 * half,) and np.array_equal(array[..., :half], array[..., half:])
    node = value.producer()
    if node is None or node.domain:
        return False
    if node.op_type == "Concat":
        last = node.attributes.get_int("axis", 0) in (-1, value.shape.rank() - 1 if value.shape else -1)
        return last and len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]
    if node.op_type in {"Cos", "Sin", "Cast", "Identity"} or _keeps_last_axis(node):
        return _repeats(node.inputs[0], half)
    return False


def _keeps_last_axis(node: ir.Node) -> bool:
    if node.op_type != "Unsqueeze":
        return False
    axes = node.inputs[1]
    rank = None if node.outputs[0].shape is None else node.outputs[0].shape.rank()
    if axes is None or axes.const_value is None or rank is None:
        return False
    return not {-1, rank - 1}.intersection(axes.const_value.numpy().tolist())


def _operator(
    ctx: LoweringContext,
    x: ir.Value,
    tables: Sequence[ir.Value],
    *,
    interleaved: int,
) -> ir.Value:
    """Emit the operator. It takes heads second, or heads side by side behind the positions."""
    if not ctx.supports("RotaryEmbedding", ctx.aval_out.dtype):
        raise Decline("the target has no RotaryEmbedding")
    shape = ctx.aval_out.shape
    positions = _axis_of_positions(shape, [aval.shape for aval in ctx.avals_in[1:]])
    batch, size = shape[0], shape[-1]
    if has_zero(*shape):
        raise Decline("there is nothing to rotate; onnxruntime does not expand angles to a dim of 0")
    if not all(isinstance(n, int) and n > 0 for n in (size, shape[3 - positions])):
        raise Decline("the number of heads or of features is not known at conversion")
    wanted = (batch, shape[positions], size // 2)
    angles = [_table(ctx, table, aval.shape[:-1], wanted) for table, aval in zip(tables, ctx.avals_in[1:], strict=True)]
    if positions == 2:
        return ctx.op.RotaryEmbedding(x, *angles, interleaved=interleaved)
    flat = (batch, shape[1], shape[2] * size)
    result = ctx.op.RotaryEmbedding(ctx.reshape(x, shape, flat), *angles, interleaved=interleaved, num_heads=shape[2])
    return ctx.reshape(ctx.stamp(result, flat), flat, shape)


def _axis_of_positions(shape: Sequence[Any], tables: Sequence[Sequence[Any]]) -> int:
    """Return which axis has the positions: the angles are the same along the other one, that of the heads."""
    if len(shape) != 4:
        raise Decline("the operator takes arrays of a batch, positions, heads and features")
    for positions in (1, 2):
        if all(_fits(shape, table, positions) for table in tables):
            return positions
    raise Decline("the angles depend on the head")


def _fits(shape: Sequence[Any], table: Sequence[Any], positions: int) -> bool:
    full = [1] * (4 - len(table)) + list(table)
    return full[3 - positions] == 1 and full[positions] == shape[positions] and full[0] in (1, shape[0])


def _table(ctx: LoweringContext, table: ir.Value, dims: Sequence[Any], wanted: Sequence[Any]) -> ir.Value:
    """Return cosines or sines as (batch, positions, half of the features)."""
    batch = dims[0] if len(dims) == 3 else 1
    narrow = (batch, *wanted[1:])
    table = ctx.reshape(table, (*dims, wanted[-1]), narrow)
    if batch == wanted[0]:
        return table
    return ctx.stamp(ctx.op.Expand(table, ctx.shape(wanted)), wanted)


def _forms() -> list[tuple[Sequence[Any], Sequence[Any]]]:
    """Return shapes of arrays and of angles. JAX takes parts of an array otherwise where a size is a symbol."""
    batch, positions = export.symbolic_shape("B, T")
    heads_last = [((2, 5, 3, 8), angles) for angles in ((2, 5, 1, 4), (1, 5, 1, 4), (5, 1, 4))]
    heads_second = [((2, 3, 5, 8), angles) for angles in ((2, 1, 5, 4), (5, 4))]
    return [*heads_last, *heads_second, ((batch, positions, 3, 8), (batch, positions, 1, 4))]


def _fusion(
    name: str,
    reference: Callable[..., Any],
    emit: Callable[..., ir.Value],
    kwargs: Sequence[Mapping[str, str]],
    *,
    whole: bool = False,
) -> Fusion:
    def example(array: Sequence[Any], angles: Sequence[Any]) -> list[Any]:
        table = (*angles[:-1], array[-1]) if whole else tuple(angles)
        return [jax.ShapeDtypeStruct(tuple(shape), jnp.float32) for shape in (array, table, table)]

    return Fusion(
        name=f"rotary embedding ({name})",
        reference=reference,
        examples=[example(*form) for form in _forms()],
        kwargs=kwargs,
        emit={_OPSET: emit},
        dtypes=frozenset({"float32"}),
        primitives=frozenset({"mul", "neg" if whole else "sub"}),
    )


def _fusions() -> Iterator[Fusion]:
    halves, pairs = [{"halves": name} for name in _HALVES], [{"pairs": name} for name in _PAIRS]
    yield _fusion("halves", _by_halves, _emit(0), halves)
    yield _fusion("halves that are turned", _by_turned_halves, _emit_turned, halves, whole=True)
    yield _fusion("pairs", _by_pairs, _emit(1), pairs)
    yield _fusion("pairs that are joined", _by_joined_pairs, _emit(1), pairs)


FUSIONS: tuple[Fusion, ...] = tuple(_fusions())

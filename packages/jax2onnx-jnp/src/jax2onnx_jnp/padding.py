"""Emit ``jax.numpy.pad`` by elements of the array itself as ``Pad``, where JAX slices, reverses and concatenates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from jax2onnx.plugin import Decline, Fusion, is_symbolic, may_be_zero

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

_Widths = tuple[tuple[int, int], ...]

DTYPES = frozenset(
    (
        *("bool", "bfloat16", "float16", "float32", "float64"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
)


def _widths(candidate: Candidate) -> list[dict[str, _Widths]]:
    """Read off the concatenations how far each dim is padded; JAX goes on where a dim is used up, ``Pad`` does not."""
    padded = candidate.bound[0]
    widths = [[0, 0] for _ in candidate.inputs[0].shape]
    for eqn in candidate.equations:
        if eqn.primitive != "concatenate" or padded not in eqn.inputs:
            continue
        axis, place = eqn.params["dimension"], eqn.inputs.index(padded)
        for i, atom in enumerate(eqn.inputs):
            size, after = atom.aval.shape[axis], int(i > place)
            if i != place and (is_symbolic(size) or widths[axis][after]):
                return []
            if i != place:
                widths[axis][after] = size
        (padded,) = eqn.outputs
    return [{"pad_width": tuple((before, after) for before, after in widths)}]


def _fusion(mode: str, sides: tuple[int, int], place: str, primitive: str, opset: int) -> Fusion:
    """Return the fusion of a mode, by a reference that pads the given sides of every dim: a structure to look for."""

    def reference(x: Any, *, pad_width: _Widths | None = None) -> Any:
        return jnp.pad(x, pad_width or (sides,) * x.ndim, mode=mode)

    def emit(ctx: LoweringContext, x: ir.Value, *, pad_width: _Widths) -> ir.Value:
        shape = ctx.avals_in[0].shape
        padded = [size for size, widths in zip(shape, pad_width, strict=True) if any(widths)]
        if mode == "reflect" and 1 in padded:
            raise Decline("onnxruntime reflects no axis of one element; JAX copies the element")
        if mode == "wrap" and ctx.guards and any(map(may_be_zero, shape)):
            raise Decline("onnxruntime wraps no array without elements; JAX returns one without elements")
        before, after = zip(*pad_width, strict=True)
        return ctx.op.Pad(x, ctx.ints(*before, *after), mode=mode)

    return Fusion(
        name=f"jax.numpy.pad({mode}{place})",
        reference=reference,
        examples=[[(3,) * rank] for rank in range(1, 6 if mode == "edge" else 4)],
        kwargs=_widths,
        emit={opset: emit},
        dtypes=DTYPES,
        primitives=frozenset({"concatenate", primitive}),
    )


_SIDES = {"": (1, 1), ", before": (1, 0), ", after": (0, 1)}

FUSIONS: tuple[Fusion, ...] = (
    _fusion("edge", (1, 1), "", "reshape", 18),
    *(_fusion("reflect", sides, place, "rev", 18) for place, sides in _SIDES.items()),
    *(_fusion("wrap", sides, place, "slice", 19) for place, sides in _SIDES.items()),
)

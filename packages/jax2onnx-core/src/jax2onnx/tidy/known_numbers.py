"""Known numbers: what the producers of a value show of its elements: their sign, and which few integers they may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import FLOATS, rank_of
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.subgraphs import bodies, every_node, standard

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bounds_of", "can_be_contrary", "codes_of", "has_no_negative_zero", "is_magnitude"]

_FEW = 1024
"""Up to how many numbers a constant is looked at."""
_DEEP = 8
"""So many operators deep it is looked for what shows the sign of a number."""
_FOLLOWED = RESHAPES | {
    "Concat",
    "Expand",
    "Gather",
    "Identity",
    "ReduceMax",
    "ReduceMin",
    "Slice",
    "Split",
    "Transpose",
}
"""Operators whose results are elements of their operands, of the first one where others are integers."""
_SQUARES = frozenset({"ReduceL1", "ReduceL2", "ReduceSumSquare"})
_POSITIVE = frozenset({"Abs", "Exp", "Sigmoid", "Softmax"}) | _SQUARES
"""Operators of floats whose results are never negative, nor -0."""
_OF_MAGNITUDES = frozenset({"Add", "Div", "Max", "Mean", "Min", "Mul", "ReduceMean", "ReduceSum", "Sqrt", "Sum"})
"""Operators whose results are never negative, nor -0, where their operands are not."""


def has_no_negative_zero(value: ir.Value | None) -> bool:
    """Return whether an array is known to have no -0."""
    return _is_known(value, _DEEP, negative=True)


def is_magnitude(value: ir.Value | None) -> bool:
    """Return whether the elements of an array are known to be NaN, 0 or greater, and never -0."""
    return _is_known(value, _DEEP, negative=False)


def _is_known(value: ir.Value | None, depth: int, *, negative: bool) -> bool:
    """Return whether no element is -0, nor less than 0 unless it may be ``negative``."""
    if value is None or value.dtype is None:
        return False
    if value.dtype == ir.DataType.BOOL:
        return True
    if value.dtype.is_integer():
        # Sums and magnitudes of signed integers wrap around.
        return negative or not value.dtype.is_signed()
    if value.const_value is not None:
        return _holds(value.const_value, negative=negative)
    node = value.producer()
    if node is None or depth == 0:
        return False
    return _shows(node, depth, negative=negative)


def _holds(tensor: ir.TensorProtocol, *, negative: bool) -> bool:
    if tensor.dtype not in FLOATS or tensor.size > _FEW:
        return False
    numbers = tensor.numpy()
    wrong = np.signbit(numbers) & ~np.isnan(numbers)
    return not np.any(wrong & (numbers == 0) if negative else wrong)


def _shows(node: ir.Node, depth: int, *, negative: bool) -> bool:
    kind = standard(node)
    if kind in _POSITIVE:
        return True
    if kind == "Mul" and node.inputs[0] is node.inputs[1]:
        return True
    if kind == "MatMul" and node.inputs[0] is node.inputs[1] and rank_of(node.inputs[0]) == 1:
        return True

    def all_known(values: Sequence[ir.Value | None], *, negative: bool) -> bool:
        chosen = [value for value in values if value is None or value.dtype is None or not value.dtype.is_integer()]
        return all(_is_known(value, depth - 1, negative=negative) for value in chosen)

    if kind in _FOLLOWED:
        return all_known(node.inputs, negative=negative)
    if kind == "Where":
        return all_known(node.inputs[1:], negative=negative)
    if kind == "Cast":
        return _is_known(node.inputs[0], depth - 1, negative=False) or _is_integer(node, negative=negative)
    if kind in _OF_MAGNITUDES:
        return all_known(node.inputs, negative=False)
    # The sum of two numbers is -0 only if both are; it is not dropped where one of them is a number that is not 0. Of
    # equal numbers that are not 0, the difference is 0.
    operands = {"Add": node.inputs, "Sub": node.inputs[:1]}.get(kind, ())
    return negative and any(_is_far_from_zero(operand) for operand in operands)


def _is_integer(cast: ir.Node, *, negative: bool) -> bool:
    source = cast.inputs[0]
    return negative and source is not None and source.dtype is not None and source.dtype.is_integer()


def _is_far_from_zero(value: ir.Value | None) -> bool:
    tensor = None if value is None else value.const_value
    return tensor is not None and tensor.dtype in FLOATS and tensor.size <= _FEW and bool(np.all(tensor.numpy() != 0))


def can_be_contrary(condition: ir.Value) -> bool:
    """Return whether a condition may be computed by ``Not``: onnxruntime exchanges the choices of a ``Where`` then.

    Its ``Where`` returns 0 for a -0 of its first choice, which is to have none.
    """
    choices = [user for user, place in condition.uses() if standard(user) == "Where" and place == 0]
    return all(has_no_negative_zero(user.inputs[2]) for user in choices)


def bounds_of(value: ir.Value | None, depth: int = _DEEP) -> tuple[int, int] | None:
    """Return between which integers the elements of an array are known to be, None if that is not known."""
    tensor = None if value is None else value.const_value
    if tensor is not None:
        numbers = tensor.numpy() if 0 < tensor.size <= _FEW and tensor.dtype.is_integer() else None
        return None if numbers is None else (int(numbers.min()), int(numbers.max()))
    node = None if value is None else value.producer()
    if node is None or depth == 0:
        return None
    kind = standard(node)
    if kind in _FOLLOWED and kind != "Concat":
        return bounds_of(node.inputs[0], depth - 1)
    rule = _BOUNDS.get(kind)
    return None if rule is None else rule(node, depth)


def _of_clip(clip: ir.Node, _depth: int) -> tuple[int, int] | None:
    """Return the bounds of a ``Clip``, if its lower one is not above its upper one."""
    limits = [bounds_of(limit) for limit in clip.inputs[1:]]
    if len(limits) < 2 or limits[0] is None or limits[1] is None:
        return None
    least, most = limits[0][0], limits[1][1]
    return (least, most) if least <= most else None


def _of_cast(cast: ir.Node, depth: int) -> tuple[int, int] | None:
    """Return the bounds of integers that another dtype holds as well, and those of conditions."""
    source, to = cast.inputs[0], cast.outputs[0].dtype
    if source is None or to is None or not to.is_integer():
        return None
    if source.dtype == ir.DataType.BOOL:
        return 0, 1
    bounds = bounds_of(source, depth - 1)
    held = np.iinfo(to.numpy())
    return bounds if bounds is not None and held.min <= bounds[0] and bounds[1] <= held.max else None


def _of_place(arg: ir.Node, _depth: int) -> tuple[int, int] | None:
    """Return between which places of its axis an extremum is."""
    source = arg.inputs[0]
    size = None if source is None or source.shape is None else source.shape[arg.attributes.get_int("axis", 0)]
    return (0, size - 1) if isinstance(size, int) and size > 0 else None


_BOUNDS: dict[str, Callable[[ir.Node, int], tuple[int, int] | None]] = {
    "ArgMax": _of_place,
    "ArgMin": _of_place,
    "Cast": _of_cast,
    "Clip": _of_clip,
    "GatherElements": lambda node, depth: bounds_of(node.inputs[0], depth - 1),
}
"""By operator: what its operands show of the integers that it returns."""


def codes_of(value: ir.Value | None, outermost: ir.Graph) -> set[int] | None:
    """Return integers that all elements of an array are among, None if they are not known to be few.

    They are followed through choices and loops: what a loop carries is what it begins with, or what an iteration makes.
    The value is in ``outermost``, or in a body of it.
    """
    found: set[int] = set()
    seen: set[ir.Value] = set()
    wanted = [value]
    while wanted:
        one = wanted.pop()
        if one in seen:
            continue
        if one is None or one.dtype is None or not one.dtype.is_integer():
            return None
        seen.add(one)
        tensor = one.const_value
        if tensor is not None:
            if tensor.size > _FEW:
                return None
            found |= set(tensor.numpy().ravel().tolist())
            continue
        sources = _sources(one, outermost)
        if sources is None:
            return None
        wanted += sources
    return found


def _sources(value: ir.Value, outermost: ir.Graph) -> list[ir.Value | None] | None:
    """Return the values of which an array has its elements, None if they are not known."""
    node = value.producer()
    if node is None:
        return _of_body(value, outermost)
    kind = standard(node)
    if kind in RESHAPES or kind in {"Expand", "Gather", "Identity"}:
        return [node.inputs[0]]
    if kind == "Where":
        return [*node.inputs[1:]]
    place = node.outputs.index(value)
    if kind == "If":
        return [branch.outputs[place] for branch in bodies(node)]
    if kind == "Loop" and place < len(node.inputs) - 2:
        (body,) = bodies(node)
        return [node.inputs[2 + place], body.outputs[1 + place]]
    return None


def _of_body(value: ir.Value, outermost: ir.Graph) -> list[ir.Value | None] | None:
    """Return what an input of the body of a loop is: what the loop begins with, and what it carries."""
    for node in every_node(outermost):
        if standard(node) != "Loop":
            continue
        (body,) = bodies(node)
        places = [place for place, given in enumerate(body.inputs) if given is value and place > 1]
        if places:
            return [node.inputs[places[0]], body.outputs[places[0] - 1]]
    return None

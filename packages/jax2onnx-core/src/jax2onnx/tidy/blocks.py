"""Blocks: write splitting, transposing and merging dims as DepthToSpace, SpaceToDepth or a Gather of channels.

Programs move blocks between channels and space, or shuffle channels, by ``Reshape``, ``Transpose`` and ``Reshape``. As
one node they run in any layout, and need no arithmetic of symbolic dims.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import (
    Dim,
    is_known,
    is_transpose,
    new_node,
    permutation,
    replace,
    same_dims,
    shape_at,
    sizes_of,
    sole_producer,
)
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["name_blocks"]

_TO_FIRST = (0, 3, 1, 2)
_TO_LAST = (0, 2, 3, 1)
_DTYPES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})
"""The dtypes for which runtimes have the operators."""

_Dims: TypeAlias = "Sequence[Dim]"


@dataclass(frozen=True, slots=True)
class _Steps:
    """Three nodes: ``Reshape`` to ``split``, ``Transpose`` by ``perm``, ``Reshape``; and the shapes at both ends."""

    source: ir.Value
    before: _Dims
    split: _Dims
    perm: tuple[int, ...]
    after: _Dims


@dataclass(frozen=True, slots=True)
class _Form:
    """How blocks are moved: the operator, its mode, and what tells that three steps are it.

    ``size`` returns the size of the blocks, given the dims before, between and after; None if these are others. With
    ``inside``, the places in a block are inside of the channels, where the operator has them outside.
    """

    op_type: str
    mode: str | None
    channels_last: bool
    perm: tuple[int, ...]
    size: Callable[[_Dims, _Dims, _Dims], int | None]
    inside: bool = False


@rewrites("Reshape", "Transpose", beside={"Transpose"})
def name_blocks(nodes: Sequence[ir.Node], home: Home) -> None:
    """Replace steps by the one operator, where that is as fast: in graphs that have channels-first images, or symbols.

    Rewrite ``Reshape(Transpose(Reshape(x[N, 4, 5, 12], [N, 4, 5, 2, 2, 3]), [0, 1, 3, 2, 4, 5]), [N, 8, 10, 3])`` to
    ``Transpose(DepthToSpace(Transpose(x, [0, 3, 1, 2])), [0, 2, 3, 1])``; other rewrites move the transposes on.
    """
    has_images = any(is_transpose(node) and permutation(node) in (_TO_FIRST, _TO_LAST) for node in nodes)
    for node in nodes:
        steps = _steps(node)
        if steps is None:
            continue
        is_dynamic = sizes_of(steps.before[1:]) is None
        form, size = _form(steps)
        if form is not None and (has_images or is_dynamic or not (form.channels_last or form.inside)):
            _replace_by_operator(node, steps, form, size, home)
        elif form is None and has_images:
            _replace_shuffle(node, steps, home)


def _steps(last: ir.Node) -> _Steps | None:
    """Return the three steps that end in a node."""
    if last.op_type != "Reshape" or last.domain:
        return None
    transpose = sole_producer(last, 0, "Transpose")
    if transpose is None or not is_transpose(transpose):
        return None
    first = sole_producer(transpose, 0, "Reshape")
    if first is None or first.inputs[0] is None:
        return None
    shapes = [shape_at(first, 0), shape_at(transpose, 0), last.outputs[0].shape]
    known = [tuple(shape) for shape in shapes if shape is not None and all(map(is_known, shape))]
    if len(known) < len(shapes):
        return None
    before, split, after = known
    return _Steps(first.inputs[0], before, split, permutation(transpose), after)


def _form(steps: _Steps) -> tuple[_Form | None, int]:
    """Return how three steps move blocks, and the size of the blocks; None if they do not."""
    is_images = len(steps.before) == len(steps.after) == 4 and len(steps.split) == 6
    if is_images and steps.source.dtype in _DTYPES:
        for form in _FORMS:
            if form.perm == steps.perm:
                size = form.size(steps.before, steps.split, steps.after)
                if size is not None and (not form.inside or isinstance(_channels(steps.after, form), int)):
                    return form, size
    return None, 0


def _spread_last(before: _Dims, split: _Dims, after: _Dims) -> int | None:
    """Return the size of blocks that ``[N, H, W, r * r * C]`` has as ``[N, H, W, r, r, C]``."""
    batch, height, width, first, second, channels = split
    fits = first == second and same_dims(before[:3], (batch, height, width))
    return _block(first, fits=fits and _is_grown(after, (batch, height, width, channels), first))


def _spread_last_inside(before: _Dims, split: _Dims, after: _Dims) -> int | None:
    """Return the size of blocks that ``[N, H, W, C * r * r]`` has as ``[N, H, W, C, r, r]``."""
    batch, height, width, channels, first, second = split
    return _spread_last(before, (batch, height, width, first, second, channels), after)


def _spread_first(before: _Dims, split: _Dims, after: _Dims) -> int | None:
    """Return the size of blocks that ``[N, r * r * C, H, W]`` has as ``[N, r, r, C, H, W]``."""
    batch, first, second, channels, height, width = split
    fits = first == second and same_dims((before[0], *before[2:]), (batch, height, width))
    last = (after[0], *after[2:], after[1])
    return _block(first, fits=fits and _is_grown(last, (batch, height, width, channels), first))


def _spread_first_inside(before: _Dims, split: _Dims, after: _Dims) -> int | None:
    """Return the size of blocks that ``[N, C * r * r, H, W]`` has as ``[N, C, r, r, H, W]``."""
    batch, channels, first, second, height, width = split
    return _spread_first(before, (batch, first, second, channels, height, width), after)


def _gather_last(before: _Dims, split: _Dims, after: _Dims) -> int | None:
    """Return the size of blocks that ``[N, H * r, W * r, C]`` has as ``[N, H, r, W, r, C]``."""
    batch, height, first, width, second, channels = split
    fits = first == second and same_dims(after[:3], (batch, height, width))
    return _block(first, fits=fits and _is_grown(before, (batch, height, width, channels), first))


def _gather_first(before: _Dims, split: _Dims, after: _Dims) -> int | None:
    """Return the size of blocks that ``[N, C, H * r, W * r]`` has as ``[N, C, H, r, W, r]``."""
    batch, channels, *rest = split
    return _gather_last((before[0], *before[2:], before[1]), (batch, *rest, channels), (after[0], *after[2:], after[1]))


_FORMS = (
    _Form("DepthToSpace", "DCR", True, (0, 1, 3, 2, 4, 5), _spread_last),  # noqa: FBT003 - a table
    _Form("DepthToSpace", "CRD", True, (0, 1, 4, 2, 5, 3), _spread_last_inside),  # noqa: FBT003
    _Form("DepthToSpace", "DCR", False, (0, 3, 4, 1, 5, 2), _spread_first),  # noqa: FBT003
    _Form("DepthToSpace", "CRD", False, (0, 1, 4, 2, 5, 3), _spread_first_inside),  # noqa: FBT003
    _Form("SpaceToDepth", None, True, (0, 1, 3, 2, 4, 5), _gather_last),  # noqa: FBT003
    _Form("SpaceToDepth", None, False, (0, 3, 5, 1, 2, 4), _gather_first),  # noqa: FBT003
    _Form("SpaceToDepth", None, True, (0, 1, 3, 5, 2, 4), _gather_last, inside=True),  # noqa: FBT003
    _Form("SpaceToDepth", None, False, (0, 1, 3, 5, 2, 4), _gather_first, inside=True),  # noqa: FBT003
)


def _block(size: Dim, *, fits: bool) -> int | None:
    return size if fits and isinstance(size, int) and size > 1 else None


def _is_grown(large: _Dims, small: _Dims, factor: Dim) -> bool:
    """Return whether the second and third of four dims are others times a factor, and the rest are equal."""
    if not same_dims((large[0], large[3]), (small[0], small[3])):
        return False
    return _is_multiple(large[1], small[1], factor) and _is_multiple(large[2], small[2], factor)


def _is_multiple(product: Dim, dim: Dim, factor: Dim) -> bool:
    """Return whether a dim is known to be another one times a factor: ``12`` and ``6``, or ``4*H`` and ``2*H``."""
    a = _monomial(product)
    b = _monomial(dim)
    return a is not None and b is not None and isinstance(factor, int) and a == (b[0] * factor, b[1])


def _monomial(dim: Dim) -> tuple[int, str] | None:
    """Return the factor and the symbol of which a dim is the product, None if it is another expression."""
    if isinstance(dim, int):
        return dim, ""
    found = re.fullmatch(r"(?:(\d+)\*)?([A-Za-z_]\w*)", dim.value or "")
    return None if found is None else (int(found[1] or 1), found[2])


def _channels(after: _Dims, form: _Form) -> Dim:
    return after[-1] if form.channels_last else after[1]


def _replace_by_operator(last: ir.Node, steps: _Steps, form: _Form, size: int, home: Home) -> None:
    """Put the operator, which is for channels-first images, in the place of three steps."""
    value = steps.source
    if form.channels_last:
        value = _transposed(last, value, steps.before, _TO_FIRST)
    shape = [steps.after[axis] for axis in _TO_FIRST] if form.channels_last else steps.after
    node = new_node(form.op_type, [value], ir.Shape(shape), last)
    node.attributes.add(ir.AttrInt64("blocksize", size))
    if form.mode is not None:
        node.attributes.add(ir.AttrString("mode", form.mode))
    last.prepend(node)
    value = node.outputs[0]
    if form.inside:
        value = _with_places_inside(last, value, size, home)
    if form.channels_last:
        value = _transposed(last, value, shape, _TO_LAST)
    _take_over(last, value)


def _with_places_inside(last: ir.Node, value: ir.Value, size: int, home: Home) -> ir.Value:
    """Put the channels ``[r * r * C]`` of blocks into the order ``[C * r * r]``."""
    assert value.shape is not None
    channels = value.shape[1]
    assert isinstance(channels, int)
    order = np.arange(channels).reshape(size * size, -1).T.ravel()
    node = new_node("Gather", [value, home.ints(order.tolist())], value.shape, last)
    node.attributes.add(ir.AttrInt64("axis", 1))
    last.prepend(node)
    return node.outputs[0]


def _transposed(last: ir.Node, value: ir.Value, dims: _Dims, perm: tuple[int, ...]) -> ir.Value:
    node = new_node("Transpose", [value], ir.Shape([dims[axis] for axis in perm]), last)
    node.attributes.add(ir.AttrInt64s("perm", perm))
    last.prepend(node)
    return node.outputs[0]


def _replace_shuffle(last: ir.Node, steps: _Steps, home: Home) -> None:
    """Rewrite ``Reshape(Transpose(Reshape(x[N, 4, 5, 6], [N, 4, 5, 2, 3]), [0, 1, 2, 4, 3]), [N, 4, 5, 6])``.

    It becomes ``Gather(x, [0, 3, 1, 4, 2, 5], axis=3)``.
    """
    if not same_dims(steps.before, steps.after):
        return
    moved = [axis for axis, origin in enumerate(steps.perm) if axis != origin]
    first, end = moved[0], moved[-1] + 1
    parts = sizes_of(steps.split[first:end])
    kept = (*steps.split[:first], *steps.split[end:])
    if parts is None or not same_dims(kept, (*steps.before[:first], *steps.before[first + 1 :])):
        return
    if steps.before[first] != math.prod(parts):
        return
    order = [axis - first for axis in steps.perm[first:end]]
    indices = np.arange(math.prod(parts)).reshape(parts).transpose(order).ravel()
    node = new_node("Gather", [steps.source, home.ints(indices.tolist())], ir.Shape(steps.after), last)
    node.attributes.add(ir.AttrInt64("axis", first))
    last.prepend(node)
    _take_over(last, node.outputs[0])


def _take_over(last: ir.Node, value: ir.Value) -> None:
    """Give a value to the users of the last step's result, under its name where that is an output."""
    result = last.outputs[0]
    if result.is_graph_output():
        value.name, result.name = result.name, value.name
    replace(last, value)

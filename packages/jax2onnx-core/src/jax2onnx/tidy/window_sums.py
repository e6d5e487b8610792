"""Sums of windows: numbers that are added to parts of an array, one after the other, are added at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import drop, input_at, ints_at, new_node, same_shape, sizes_of, sole_producer, tensor_at
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["join_windows"]

_MOST = 4096
"""How many elements an array has at most of which windows are joined."""

_DTYPES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT32, ir.DataType.INT64})


@dataclass(frozen=True, slots=True)
class _Window:
    """What is added to some places of an axis."""

    value: ir.Value
    axis: int
    start: int
    end: int


@dataclass(slots=True)
class _Sum:
    """Windows in the order in which they are added to a value, or to the first of them."""

    base: ir.Value | None
    windows: list[_Window] = field(default_factory=list)


@rewrites("Add", beside={"Pad"})
def join_windows(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Add(Add(x[5], Pad(a[1], [2, 2])), Pad(b[2], [0, 3]))`` to ``Add(x, Concat(b, a, rest[2]))``.

    Around a window -0 is added, which changes no number, or the integer 0. To an element that is in several windows the
    numbers are added in the order in which they were.
    """
    done: set[ir.Node] = set()
    for node in reversed(nodes):
        if node not in done:
            _join(node, home, done)


def _join(node: ir.Node, home: Home, done: set[ir.Node]) -> None:
    total = _collected(node, done)
    layers = _layers(total.windows)
    if len(layers) == len(total.windows):
        return
    value = total.base
    for layer in layers:
        pieces = _filled(layer, node.outputs[0], home)
        joined = new_node("Concat", pieces, node.outputs[0].shape, node)
        joined.attributes.add(ir.AttrInt64("axis", layer[0].axis))
        node.prepend(joined)
        if value is None:
            value = joined.outputs[0]
        elif layer is layers[-1]:
            node.replace_input_with(0, value)
            node.replace_input_with(1, joined.outputs[0])
            return
        else:
            added = new_node("Add", [value, joined.outputs[0]], node.outputs[0].shape, node)
            node.prepend(added)
            value = added.outputs[0]
    # All windows lie beside the first one, which they were added to.
    node.replace_input_with(0, value)
    drop(node)


def _collected(node: ir.Node, done: set[ir.Node]) -> _Sum:
    """Return the windows that a row of additions adds, along one axis, and what the first is added to."""
    windows: list[_Window] = []
    while True:
        found = [(place, _window(node, place)) for place in (1, 0)]
        windowed = [(place, window) for place, window in found if window is not None]
        if not windowed or (windows and windowed[0][1].axis != windows[0].axis):
            return _Sum(node.outputs[0], windows[::-1])
        done.add(node)
        place, window = windowed[0]
        windows.append(window)
        before = sole_producer(node, 1 - place, "Add")
        base = node.inputs[1 - place]
        assert base is not None
        if before is None and len(windowed) == 2 and windowed[1][1].axis == window.axis:
            return _Sum(None, [windowed[1][1], *windows[::-1]])
        if before is None:
            return _Sum(base, windows[::-1])
        node = before


def _window(node: ir.Node, place: int) -> _Window | None:
    """Return the window that an operand of an addition is, in an array of the shape of the other operand."""
    pad = sole_producer(node, place, "Pad")
    result, other = node.outputs[0], node.inputs[1 - place]
    if pad is None or not same_shape(other, result) or not same_shape(pad.outputs[0], result):
        return None
    sizes, pads, source = sizes_of(result.shape), ints_at(pad, 1), pad.inputs[0]
    if not sizes or pads is None or source is None or input_at(pad, 3) is not None or math.prod(sizes) > _MOST:
        return None
    if pad.attributes.get_string("mode", "constant") != "constant" or len(pads) != 2 * len(sizes) or min(pads) < 0:
        return None
    axes = [axis for axis in range(len(sizes)) if pads[axis] or pads[axis + len(sizes)]]
    if len(axes) != 1 or not _changes_nothing(pad):
        return None
    (axis,) = axes
    return _Window(source, axis, pads[axis], sizes[axis] - pads[axis + len(sizes)])


def _changes_nothing(pad: ir.Node) -> bool:
    """Return whether what a ``Pad`` puts around may be added to any number."""
    filled = tensor_at(pad, 2)
    if filled is None or filled.dtype not in _DTYPES:
        return False
    zero = filled.numpy()
    return bool(np.all(zero == 0)) and (zero.dtype.kind == "i" or bool(np.all(np.signbit(zero))))


def _layers(windows: Sequence[_Window]) -> list[list[_Window]]:
    """Return windows in layers: those of one do not overlap, and each is after all before it that overlap it."""
    layers: list[list[_Window]] = []
    for window in windows:
        depth = 0
        for number, layer in enumerate(layers):
            if any(window.start < other.end and other.start < window.end for other in layer):
                depth = number + 1
        if depth == len(layers):
            layers.append([])
        layers[depth].append(window)
    return layers


def _filled(layer: Sequence[_Window], result: ir.Value, home: Home) -> list[ir.Value]:
    """Return windows in their order, and between them what changes nothing."""
    sizes = sizes_of(result.shape)
    assert sizes is not None
    assert result.dtype is not None
    axis, place = layer[0].axis, 0
    pieces: list[ir.Value] = []
    for window in [*sorted(layer, key=lambda window: window.start), None]:
        start = sizes[axis] if window is None else window.start
        if start > place:
            shape = [*sizes[:axis], start - place, *sizes[axis + 1 :]]
            dtype = result.dtype.numpy()
            pieces.append(home.constant(np.full(shape, -0.0 if dtype.kind == "f" else 0, dtype)))
        if window is not None:
            pieces.append(window.value)
            place = window.end
    return pieces

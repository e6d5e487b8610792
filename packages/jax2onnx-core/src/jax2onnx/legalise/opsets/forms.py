"""Forms: what a version of an operator brought, said as the version before it has it.

The table has an entry only where a version changed how a node is written. What a version merely added (an attribute
that is at its default, an input that is left out, a dtype) needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.opsets.scatters import reduce_elements, reduce_slices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jax2onnx.legalise.opsets.site import Site

__all__ = ["REWRITES", "Rewrite"]

Rewrite: TypeAlias = "Callable[[Site], list[ir.Node] | None]"
"""Writes a node anew; returns the nodes that it put in, which are looked at in turn, or None if the node stays."""

_LAST = np.iinfo(np.int64).max


def _reduce(site: Site) -> list[ir.Node] | None:
    """Rewrite ``ReduceMax(x, [1])`` to ``ReduceMax(x, axes=[1])``."""
    idle = site.take("noop_with_empty_axes", 0)
    if site.input(1) is None:
        axes: list[int] | None = []
    else:
        axes = site.known(1)
    if axes is None:
        raise site.refused("axes that a run decides", 18)
    if not axes and idle:
        return site.replace(site.add("Identity", site.required(0)))
    site.node.resize_inputs(1)
    if axes:
        site.node.attributes.add(ir.AttrInt64s("axes", axes))
    return None


def _pad(site: Site) -> list[ir.Node] | None:
    """Rewrite ``Pad(x[2, 3, 4], [a, b], axes=[1])`` to ``Pad(x, [0, a, 0, 0, b, 0])``."""
    if site.input(3) is None:
        return None
    rank = site.rank(0)
    axes = site.known(3)
    if axes is None:
        raise site.refused("axes that a run decides", 18)
    # Each of the pads of all axes is one that is given, or the 0 behind these.
    places = [2 * len(axes)] * (2 * rank)
    for place, axis in enumerate(axes):
        places[axis % rank] = place
        places[axis % rank + rank] = place + len(axes)
    pads = site.add("Concat", site.required(1), site.ints(0), axis=0)
    site.node.replace_input_with(1, site.add("Gather", pads, site.ints(*places), dtype=DataType.INT64))
    inserted = site.insert()
    site.node.resize_inputs(2 if site.input(2) is None else 3)
    return inserted


def _resize(site: Site) -> list[ir.Node] | None:
    """Rewrite ``Resize(x[1, 2, 3, 4], sizes=[5, 6], axes=[2, 3])`` to ``Resize(x, sizes=[1, 2, 5, 6])``."""
    axes = site.take("axes")
    if axes is None:
        return None
    x, rank = site.required(0), site.rank(0)
    if site.node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise site.refused("axes and a region", 18)
    places = [len(axes) + axis for axis in range(rank)]
    for place, axis in enumerate(axes):
        places[axis % rank] = place
    index = 3 if site.input(3) is not None else 2
    given = site.required(index)
    others = site.sizes(x) if index == 3 else site.constant(np.ones(rank, np.float32))
    every = site.add("Concat", given, others, axis=0)
    site.node.replace_input_with(index, site.add("Gather", every, site.ints(*places), dtype=given.dtype))
    return site.insert()


def _split(site: Site) -> list[ir.Node] | None:
    """Rewrite ``Split(x[7], num_outputs=3)`` to ``Split(x, [3, 3, 1])``."""
    count = site.take("num_outputs")
    if count is None:
        return None
    size = site.size(site.required(0), site.node.attributes.get_int("axis", 0))
    more = site.add("Add", size, site.ints(count - 1))
    chunk = site.add("Div", more, site.ints(count))
    ends = site.add("Min", site.add("Mul", site.ints(*range(1, count + 1)), chunk), size)
    starts = site.add("Min", site.add("Mul", site.ints(*range(count)), chunk), size)
    site.node.resize_inputs(2)
    site.node.replace_input_with(1, site.add("Sub", ends, starts))
    return site.insert()


def _shape(site: Site) -> list[ir.Node] | None:
    """Rewrite ``Shape(x, start=1, end=3)`` to ``Slice(Shape(x), [1], [3])``."""
    start, end = site.take("start", 0), site.take("end", _LAST)
    if (start, end) == (0, _LAST):
        return None
    sizes = site.sizes(site.required(0))
    return site.replace(site.add("Slice", sizes, site.ints(start), site.ints(end), site.ints(0)))


def _reshape(site: Site) -> list[ir.Node] | None:
    """Rewrite ``Reshape(x, s, allowzero=1)``, for which a 0 in ``s`` is a size of 0, and not the size that ``x`` has.

    If ``s`` may have a 0, to ``If(no 0 in s, Reshape(x, s), ConstantOfShape(s))``: where a size is 0, there are no
    elements.
    """
    if not site.take("allowzero", 0):
        return None
    x, shape = site.required(0), site.required(1)
    sizes = site.known(1)
    assert x.dtype is not None
    empty = ir.tensor(np.zeros(1, x.dtype.numpy()), dtype=x.dtype)
    if sizes is not None and 0 not in sizes:
        return None
    if sizes is not None:
        return site.replace(site.add("ConstantOfShape", shape, dtype=x.dtype, value=empty))
    least = site.add("ReduceMin", site.add("Abs", shape), keepdims=0, shape=ir.Shape(()))
    filled = site.add("Cast", least, dtype=DataType.BOOL, to=int(DataType.BOOL), shape=ir.Shape(()))
    reshaped = ir.node("Reshape", [x, shape], outputs=[_like(site)])
    nothing = ir.node("ConstantOfShape", [shape], {"value": empty}, outputs=[_like(site)])
    branches = {
        "then_branch": ir.Graph([], reshaped.outputs, nodes=[reshaped], name="filled"),
        "else_branch": ir.Graph([], nothing.outputs, nodes=[nothing], name="empty"),
    }
    return site.replace(site.add("If", filled, dtype=x.dtype, **branches))


def _like(site: Site) -> ir.Value:
    result = site.node.outputs[0]
    return ir.Value(shape=result.shape, type=result.type)


def _roi_align(site: Site) -> list[ir.Node] | None:
    """Leave out the mode that was the only one before; the default became another."""
    mode: Any = site.take("coordinate_transformation_mode", "half_pixel")
    if mode != "output_half_pixel":
        raise site.refused(f"coordinate_transformation_mode={mode!r}", 16)
    return None


_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"),
    *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSumSquare"),
)

REWRITES: Mapping[tuple[str, int], Rewrite] = {
    **{(name, 18): _reduce for name in _REDUCTIONS},
    ("Pad", 18): _pad,
    ("Reshape", 14): _reshape,
    ("Resize", 18): _resize,
    ("RoiAlign", 16): _roi_align,
    ("ScatterElements", 16): reduce_elements("add", "mul", "max", "min"),
    ("ScatterElements", 18): reduce_elements("max", "min"),
    ("ScatterND", 16): reduce_slices("add", "mul", "max", "min"),
    ("ScatterND", 18): reduce_slices("max", "min"),
    ("Shape", 15): _shape,
    ("Split", 18): _split,
}
"""An operator and the version that changed it -> how a node is written as before."""

"""Border: the inputs, initializers and outputs of a model, and the values that the program inside takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import onnx_ir as ir

from jax2onnx._compat import ShapedArray
from jax2onnx.lowering import channels
from jax2onnx.lowering.dims import find_sources
from jax2onnx.output.names import NEXT, STATE, output_names, prefixed_if_taken
from jax2onnx.plugin.context import graph_input, ir_dtype
from jax2onnx.program.represent import form, represented
from jax2onnx.program.shapes import permuted, to_channels_first, to_channels_last

if TYPE_CHECKING:
    from jax2onnx.frontend.specs import Inputs
    from jax2onnx.frontend.trace import Traced
    from jax2onnx.lowering.builder import Ops
    from jax2onnx.options import Options


class Border:
    """The border of one model.

    Attributes:
        inputs: the graph's inputs: the flattened inputs, then the updated state.
        params: the graph's initializers that are parameters.
        results: the graph's outputs, once there are some.
    """

    def __init__(self, op: Ops, parsed: Inputs, traced: Traced, options: Options) -> None:
        self._op = op
        given = [s.name for s in parsed.specs]
        state = prefixed_if_taken(list(traced.updated), given, STATE)
        names = [*given, *state]
        self._avals = [*(s.aval for s in parsed.specs), *(jax.typeof(a) for a in traced.updated.values())]
        ranks = [(s.name, len(s.aval.shape)) for s in parsed.specs]
        self._images = channels.chosen("inputs_as_nchw", options.inputs_as_nchw, ranks) + [False] * len(state)
        avals = [_outside(a) if i else form(a) for a, i in zip(self._avals, self._images, strict=True)]
        self.inputs = [graph_input(a, n) for a, n in zip(avals, names, strict=True)]
        op.scope.sources.update(find_sources([(v, a.shape) for v, a in zip(self.inputs, avals, strict=True)]))
        self._names = output_names(traced.outputs, options.output_names, names)
        self._results = [*traced.avals, *self._avals[len(given) :]]
        ranks = [(n, len(a.shape)) for n, a in zip(self._names, traced.avals, strict=True)]
        self._image_results = channels.chosen("outputs_as_nchw", options.outputs_as_nchw, ranks)
        self._image_results += [False] * len(state)
        self._names += [n + NEXT for n in state]
        self.params = _parameters(traced.params, [*names, *self._names])
        self.results: list[ir.Value] = []

    def operands(self) -> list[ir.Value]:
        """Return the values that the program takes."""
        inside = [
            self._moved(v, a, to_channels_last) if image else v
            for v, a, image in zip(self.inputs, self._avals, self._images, strict=True)
        ]
        return [*self.params, *inside]

    def outputs(self, values: Sequence[ir.Value]) -> None:
        """Make outputs of the values that the program gives: named, distinct, none an input or a constant itself."""
        moved = [
            self._moved(v, a, to_channels_first) if image else v
            for v, a, image in zip(values, self._results, self._image_results, strict=True)
        ]
        self.results = self._op.distinct(moved)
        for output, name in zip(self.results, self._names, strict=True):
            output.name = name

    def _moved(self, value: ir.Value, aval: Any, permutation: Any) -> ir.Value:
        assert value.shape is not None
        order = permutation(len(aval.shape), len(value.shape))
        result: ir.Value = self._op.Transpose(value, perm=list(order))
        result.type = value.type
        result.shape = ir.Shape(permuted(list(value.shape), order))
        return result


def _outside(aval: Any) -> Any:
    """Return the form of an image, channels-last, as the model has it."""
    inside = form(aval)
    return ShapedArray(permuted(inside.shape, to_channels_first(len(aval.shape), len(inside.shape))), inside.dtype)


def _parameters(params: Mapping[str, Any], taken: Sequence[str]) -> list[ir.Value]:
    values = []
    for name, array in zip(prefixed_if_taken(list(params), taken, "params."), params.values(), strict=True):
        held = represented(array)
        tensor = ir.Tensor(held, dtype=ir_dtype(held.dtype), name=name)
        values.append(ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor))
    return values

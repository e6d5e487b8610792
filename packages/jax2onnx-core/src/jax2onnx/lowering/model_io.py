"""Border: the inputs, initializers and outputs of a model, and the values that the program inside takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np
import onnx_ir as ir

from jax2onnx._compat import ShapedArray
from jax2onnx.lowering.channels import chosen
from jax2onnx.lowering.constants import hold
from jax2onnx.lowering.dims import find_sources
from jax2onnx.output.names import NEXT, STATE, output_names, prefixed_if_taken
from jax2onnx.plugin.context import graph_input
from jax2onnx.program.represent import form, represented
from jax2onnx.program.shapes import permuted, to_channels_first, to_channels_last
from jax2onnx.weights.stored import StoredTensor

if TYPE_CHECKING:
    from jax2onnx.frontend.specs import Inputs
    from jax2onnx.frontend.trace import Traced
    from jax2onnx.lowering.builder import Ops
    from jax2onnx.options import Images, Options
    from jax2onnx.weights.stored import StoredArray

    _Permutation: TypeAlias = Callable[[int, int], Sequence[int]]

__all__ = ["Border"]


@dataclass(frozen=True, slots=True)
class _Port:
    """An input or an output of the model.

    Attributes:
        name: its name.
        aval: what it is in JAX.
        is_image: whether it is channels-first in the model and channels-last in JAX.
    """

    name: str
    aval: Any
    is_image: bool

    @property
    def outside(self) -> Any:
        """The abstract value that it has in the model."""
        inside = form(self.aval)
        if not self.is_image:
            return inside
        order = self._order(to_channels_first)
        return ShapedArray(permuted(inside.shape, order), inside.dtype)

    def transposed(self, value: ir.Value, permutation: _Permutation, op: Ops) -> ir.Value:
        """Return a value that is permuted if this is an image."""
        if not self.is_image:
            return value
        assert value.shape is not None
        order = self._order(permutation)
        result = op.Transpose(value, perm=order)
        dims = permuted(list(value.shape), order)
        result.shape = ir.Shape(dims)
        return result

    def _order(self, permutation: _Permutation) -> Sequence[int]:
        # Complex numbers have a further dim here, which stays last.
        inside = form(self.aval)
        rank = len(self.aval.shape)
        return permutation(rank, len(inside.shape))


class Border:
    """The border of one model.

    Attributes:
        inputs: the graph's inputs: the flattened inputs, then the updated state.
        params: the graph's initializers that are parameters.
        results: the graph's outputs, once there are some.
    """

    def __init__(
        self, op: Ops, parsed: Inputs, traced: Traced, options: Options, elsewhere: Mapping[str, StoredArray]
    ) -> None:
        self._op = op
        given = [spec.name for spec in parsed.specs]
        avals = [spec.aval for spec in parsed.specs]
        state = prefixed_if_taken(list(traced.updated), given, STATE)
        state_avals = list(map(jax.typeof, traced.updated.values()))
        names = [*given, *state]
        inputs = _ports(given, avals, "inputs_as_nchw", options.inputs_as_nchw)
        self._inputs = inputs + _ports(state, state_avals)
        next_state = [name + NEXT for name in state]
        taken = [*names, *next_state]
        results = output_names(traced.outputs, options.output_names, taken, traced.carried)
        outputs = _ports(results, traced.avals, "outputs_as_nchw", options.outputs_as_nchw)
        self._outputs = outputs + _ports(next_state, state_avals)
        outside = [port.outside for port in self._inputs]
        self.inputs = list(map(graph_input, outside, names))
        sources = find_sources(self.inputs, outside)
        op.scope.sources.update(sources)
        names += [port.name for port in self._outputs]
        self.params = _parameters(traced.params, names, elsewhere)
        self.results: list[ir.Value] = []

    def operands(self) -> list[ir.Value]:
        """Return the values that the program takes."""
        operands = list(self.params)
        for port, value in zip(self._inputs, self.inputs, strict=True):
            operands.append(port.transposed(value, to_channels_last, self._op))
        return operands

    def outputs(self, values: Sequence[ir.Value]) -> None:
        """Make outputs of the values that the program gives: named, distinct, none an input or a constant itself."""
        results = []
        for port, value in zip(self._outputs, values, strict=True):
            results.append(port.transposed(value, to_channels_first, self._op))
        self.results = self._op.distinct(results)
        for port, value in zip(self._outputs, self.results, strict=True):
            value.name = port.name


def _ports(
    names: Sequence[str],
    avals: Sequence[Any],
    option: str = "",
    images: Images = (),
) -> list[_Port]:
    ranks = [len(aval.shape) for aval in avals]
    named = list(zip(names, ranks, strict=True))
    is_image = chosen(option, images, named)
    return list(map(_Port, names, avals, is_image))


def _parameters(
    params: Mapping[str, Any], taken: Sequence[str], elsewhere: Mapping[str, StoredArray]
) -> list[ir.Value]:
    values = []
    names = prefixed_if_taken(list(params), taken, "params.")
    for (path, array), name in zip(params.items(), names, strict=True):
        if path in elsewhere:
            value = _stored_parameter(elsewhere[path], form(jax.typeof(array)), name)
        else:
            held = represented(array)
            value = graph_input(held, name)
            value.const_value = ir.Tensor(held, dtype=value.dtype, name=name)
        values.append(value)
    return values


def _stored_parameter(source: StoredArray, aval: Any, name: str) -> ir.Value:
    """Return the initializer whose array is somewhere else."""
    value = graph_input(aval, name)
    assert value.dtype is not None
    function = None if source.shape == tuple(aval.shape) else _pairs
    hold(value, StoredTensor(source, value.dtype, aval.shape, function, name))
    return value


def _pairs(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return complex numbers as pairs of real ones."""
    return np.stack([array.real, array.imag], -1)

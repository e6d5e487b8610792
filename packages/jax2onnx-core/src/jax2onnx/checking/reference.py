"""JAX's side of a check: evaluate the program, and arrange its arrays as the model has them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx._compat import TRACING_ERRORS, unchecked, weak
from jax2onnx.checking.inputs import nudge
from jax2onnx.checking.perturbed import Perturbed
from jax2onnx.lowering.channels import chosen
from jax2onnx.program.represent import represented
from jax2onnx.program.shapes import to_channels_first

if TYPE_CHECKING:
    from jax2onnx.checking.kernels import Coarse
    from jax2onnx.checking.rounding import Rounding
    from jax2onnx.frontend.specs import Inputs
    from jax2onnx.options import Images
    from jax2onnx.plugin.opening import Opened
    from jax2onnx.program.facts import FactTable

__all__ = ["Reference"]

Array = np.ndarray[Any, Any]
Arrays = Sequence[Any]
Names = Sequence[str]

_EVALUATION_ERRORS: tuple[type[Exception], ...] = (*TRACING_ERRORS, ValueError)
"""What may be raised where a program is evaluated equation by equation."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The program that a model is compared with.

    Attributes:
        opened: the program as a pure function, with its parameters and its state.
        inputs: its inputs.
        state_names: the state that the model takes after the inputs and returns after the outputs, in this order.
        inputs_as_nchw: which inputs the model has channels-first.
        outputs_as_nchw: which outputs the model has channels-first.
        facts: what is known of primitives, among it where rounding errors arise.
        coarse: primitives that the model computes by kernels of which only the absolute error is small.
        local: whether what is not finite may spread further in JAX than in the model.
    """

    opened: Opened
    inputs: Inputs
    state_names: Names
    inputs_as_nchw: Images
    outputs_as_nchw: Images
    facts: FactTable
    coarse: Coarse
    local: bool

    def feeds(self, arrays: Arrays, names: Names) -> list[Array]:
        """Return the program's inputs, and its state, as the model takes them under these names."""
        with unchecked():
            inputs = [jnp.asarray(array) for array in arrays]
            feeds = _as_in_model("inputs_as_nchw", self.inputs_as_nchw, names, inputs)
            return feeds + self._state(self._params())

    def evaluate(
        self,
        arrays: Arrays,
        names: Names,
        perturbed: Perturbed | None = None,
        rounding: Rounding | None = None,
    ) -> list[Array]:
        """Return what the program computes, as the model returns it under these names.

        With ``perturbed`` and ``rounding``, the inputs and the parameters are nudged, and each equation of the program
        rounds in that way. A program that JAX cannot trace is evaluated as it is. The inputs are
        ours, and NaN is among them: the user's settings that make JAX refuse something do not hold.
        """
        with unchecked():
            return self._evaluate(arrays, names, perturbed, rounding)

    def _evaluate(
        self,
        arrays: Arrays,
        names: Names,
        perturbed: Perturbed | None,
        rounding: Rounding | None,
    ) -> list[Array]:
        params = self._params()
        if rounding is not None:
            arrays = nudge(arrays, rounding.seed)
            params = _nudge_params(params, rounding.seed)
        avals = [spec.aval for spec in self.inputs.specs]
        leaves = list(map(_like, avals, arrays))
        if perturbed is None or rounding is None:
            result = self.program(params, leaves)
        else:
            try:
                result = perturbed.call(rounding, params, leaves)
            except _EVALUATION_ERRORS:
                # JAX may run as a whole what it refuses equation by equation: products of float16 with sums of
                # float32 on a CPU. What the program itself raises, it raises once more.
                result = self.program(params, leaves)
        state: Mapping[str, Any] = {}
        if self.opened.state:
            result, state = result
        flat = jax.tree_util.tree_leaves(result)
        outputs = _as_in_model("outputs_as_nchw", self.outputs_as_nchw, names, flat)
        return outputs + self._state(state)

    def perturbed(self) -> Perturbed:
        """Return the program, to be evaluated on inputs of the same shapes under several ways of rounding."""
        return Perturbed(self.facts, self.program)

    def program(self, params: Mapping[str, Any], leaves: Arrays) -> Any:
        """Return what the program computes from parameters and flat inputs."""
        function = functools.partial(self.opened.function, params)
        return self.inputs.call(function, leaves)

    def _params(self) -> dict[str, Any]:
        return {**self.opened.params, **self.opened.state}

    def _state(self, values: Mapping[str, Any]) -> list[Array]:
        return [represented(values[name]) for name in self.state_names]


def _nudge_params(params: Mapping[str, Any], index: int) -> dict[str, Any]:
    values = list(map(jnp.asarray, params.values()))
    nearby = map(_like, values, nudge(values, index))
    return dict(zip(params, nearby, strict=True))


def _like(spec: Any, array: Any) -> jax.Array:
    """Return an array of JAX whose type is weak, as a Python scalar's is, if that of ``spec`` is."""
    value = jnp.asarray(array)
    return weak(value) if spec.weak_type else value


def _as_in_model(
    option: str,
    wanted: Images,
    names: Names,
    arrays: Arrays,
) -> list[Array]:
    """Return arrays of the program in the form that the model has them: images channels-first if ``option`` says so."""
    ranks = list(map(jnp.ndim, arrays))
    named_ranks = list(zip(names, ranks, strict=False))
    result = list(map(represented, arrays))
    for index, image in enumerate(chosen(option, wanted, named_ranks)):
        if image:
            array = result[index]
            permutation = to_channels_first(ranks[index], array.ndim)
            result[index] = np.ascontiguousarray(array.transpose(permutation))
    return result

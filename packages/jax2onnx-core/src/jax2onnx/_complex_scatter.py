"""Scattering complex numbers by an operation that mixes their parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jax import lax

from jax2onnx._complex_functions import Complex
from jax2onnx.errors import UnsupportedCaseError

if TYPE_CHECKING:
    from collections.abc import Callable


def scattering(operation: Callable[[Complex, Complex], Complex]) -> Callable[[Any], Callable[..., Any]]:
    """Return what makes, from a scatter equation, the function that applies its updates one after the other."""

    def maker(eqn: Any) -> Callable[..., Any]:
        numbers, mode = eqn.params["dimension_numbers"], eqn.params["mode"]
        if numbers.operand_batching_dims:
            what = f"{eqn.primitive.name}: complex numbers with batching dimensions"
            raise UnsupportedCaseError(what, remedy="scatter one batch element at a time, or real and imaginary parts")

        def function(operand: Complex, indices: Any, updates: Complex) -> Complex:
            rank = updates.re.ndim
            outer = [d for d in range(rank) if d not in numbers.update_window_dims]
            window = [updates.re.shape[d] for d in numbers.update_window_dims]
            rows = indices.reshape((-1, indices.shape[-1]))
            pieces = Complex(
                *[part.transpose((*outer, *numbers.update_window_dims)).reshape((-1, *window)) for part in updates]
            )
            places = tuple(range(len(window)))
            reading = lax.GatherDimensionNumbers(
                places, numbers.inserted_window_dims, numbers.scatter_dims_to_operand_dims
            )
            writing = lax.ScatterDimensionNumbers(
                places, numbers.inserted_window_dims, numbers.scatter_dims_to_operand_dims
            )
            left = iter(window)
            sizes = [1 if d in numbers.inserted_window_dims else next(left) for d in range(operand.re.ndim)]

            def step(carry: Complex, row: tuple[Any, Complex]) -> tuple[Complex, None]:
                index, piece = row
                current = Complex(*[lax.gather(part, index, reading, sizes, mode=mode) for part in carry])
                new = operation(current, piece)
                parts = zip(carry, new, strict=True)
                return Complex(*[lax.scatter(part, index, value, writing, mode=mode) for part, value in parts]), None

            return lax.scan(step, operand, (rows, pieces))[0] if rows.shape[0] else operand

        return function

    return maker

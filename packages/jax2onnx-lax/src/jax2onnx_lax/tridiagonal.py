"""Solve tridiagonal systems in JAX, by elimination down the rows and substitution up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jax import lax

from jax2onnx_lax.matrices import Array, eps, magnitude, nan_unless, tiny

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.via_jax({"tridiagonal_solve": tridiagonal_solve})


def tridiagonal_solve(dl: Array, d: Array, du: Array, b: Array, *, perturb_singular: bool = False) -> Array:
    """Solve tridiagonal systems, whose rows are exchanged with their neighbours for the greater pivot.

    The solution of a singular system is NaN. With ``perturb_singular``, small pivots are moved away from zero instead,
    as JAX does (and LAPACK, in xLAGTF and xLAGTS).
    """
    if d.shape[-1] == 0:
        return b
    if perturb_singular:
        return _solve_perturbed(dl, d, du, b)
    xs = [jnp.moveaxis(x, -1, 0) for x in (dl, d, du)] + [jnp.moveaxis(b, -2, 0)]
    # Below the last equation stands 0 = 0, with a pivot of 1.
    following = [jnp.concatenate([x[1:], jnp.full_like(x[:1], last)]) for x, last in zip(xs, (0, 1, 0, 0), strict=True)]
    _, upper = lax.scan(_eliminate, (xs[1][0], xs[2][0], xs[3][0]), tuple(following))
    nothing = jnp.zeros_like(xs[3][0])
    _, solution = lax.scan(_back_substitute, (nothing, nothing), upper, reverse=True)
    singular = jnp.any(upper[0] == 0, axis=0)
    return nan_unless(~singular, jnp.moveaxis(solution, 0, -2))[0]


def _eliminate(current: Any, below: Any) -> Any:
    """Eliminate the unknown of one equation from that below it, the two exchanged if the lower one's pivot is larger.

    Returns:
        The lower equation (diagonal, upper, right side), and the upper one, which has one more entry.
    """
    swap = magnitude(below[0]) > magnitude(current[0])
    return _eliminate_swapped(current, below, swap)


def _eliminate_swapped(current: Any, below: Any, swap: Array) -> Any:
    """As :func:`_eliminate`, given where the two equations are exchanged."""
    pivot, next_, right = current
    low, middle, high, right_below = below
    zero = jnp.zeros_like(pivot)
    first = [jnp.where(swap, x, y) for x, y in ((low, pivot), (middle, next_), (high, zero))]
    second = [jnp.where(swap, x, y) for x, y in ((pivot, low), (next_, middle), (zero, high))]
    right_1 = jnp.where(swap[..., None], right_below, right)
    right_2 = jnp.where(swap[..., None], right, right_below)
    factor = jnp.where(low == 0, 0, second[0] / first[0])
    rest = second[1] - factor * first[1], second[2] - factor * first[2], right_2 - factor[..., None] * right_1
    return rest, (*first, right_1)


def _back_substitute(known: tuple[Array, Array], equation: Any) -> Any:
    """Solve one equation, given the two unknowns after its own."""
    pivot, first, second, right = equation
    x = (right - first[..., None] * known[0] - second[..., None] * known[1]) / pivot[..., None]
    return (x, known[0]), x


def _solve_perturbed(dl: Array, d: Array, du: Array, b: Array) -> Array:
    """Solve tridiagonal systems, with pivots compared in relation to the sizes of their rows."""
    du = jnp.concatenate([du[..., :-1], jnp.zeros_like(du[..., :1])], axis=-1)
    sizes = jnp.abs(d) + jnp.abs(du)
    below = (dl, d, du, b, sizes + jnp.abs(dl))
    along = [jnp.moveaxis(x, -1 if x is not b else -2, 0) for x in below]
    start = (d[..., 0], du[..., 0], b[..., 0, :], sizes[..., 0])

    def eliminate(current: Any, below: Any) -> Any:
        pivot, _, _, size = current
        low, size_below = below[0], below[4]
        own = jnp.where(pivot == 0, 0, jnp.abs(pivot) / size)
        swap = (low != 0) & ~(jnp.abs(low) / size_below <= own)
        rest, upper = _eliminate_swapped(current[:3], below[:4], swap)
        size = jnp.where(swap, jnp.abs(rest[0]) + jnp.abs(rest[1]), size_below)
        return (*rest, size), upper

    (pivot, _, right, _), upper = lax.scan(eliminate, start, tuple([x[1:] for x in along]))
    perturb = eps(d) * _greatest(d, du, pivot, upper)

    def substitute(known: tuple[Array, Array], equation: Any) -> Any:
        pivot, first, second, right = equation
        right = right - first[..., None] * known[0] - second[..., None] * known[1]
        pivot, right = _moved(perturb, pivot, right)
        x = right * (1 / pivot)[..., None]
        return (x, known[0]), x

    nothing = jnp.zeros_like(right)
    zero = jnp.zeros_like(pivot)
    known, last = substitute((nothing, nothing), (pivot, zero, zero, right))
    _, solution = lax.scan(substitute, known, upper, reverse=True)
    return jnp.moveaxis(jnp.concatenate([solution, last[None]]), 0, -2)


def _greatest(d: Array, du: Array, last: Array, upper: Any) -> Array:
    """Return the size of the greatest entry of the triangular factors; JAX leaves out the last row but one."""
    entries = [d[..., 0], du[..., 0], last]
    greatest = jnp.max(jnp.abs(jnp.stack(entries)), axis=0)
    rows = jnp.abs(jnp.stack([x[:-1] for x in upper[:3]]))
    return jnp.maximum(greatest, jnp.max(rows, axis=(0, 1), initial=0))


def _moved(perturb: Array, pivot: Array, right: Array) -> tuple[Array, Array]:
    """Move small pivots away from zero until the right sides can be divided by them; return both.

    A pivot below the normal numbers is scaled instead, together with its right side, if that is small enough too.
    """
    least = jnp.asarray(tiny(pivot), perturb.dtype)
    large = 1 / least
    greatest = jnp.max(jnp.abs(right), axis=-1, initial=0)
    step = jnp.maximum(perturb, least)
    step = jnp.where(jnp.signbit(pivot.real), -step, step)

    def too_small(pivot: Array) -> tuple[Array, Array]:
        """Return where a pivot is moved, and where it is scaled."""
        size = jnp.abs(pivot)
        is_tiny = size < least
        overflows = jnp.where(is_tiny, (size == 0) | (greatest * least > size), greatest > size * large)
        below_one = size < 1
        return below_one & overflows, below_one & is_tiny & ~overflows

    def unfinished(state: tuple[Array, Array]) -> Array:
        return jnp.any(too_small(state[0])[0])

    def move(state: tuple[Array, Array]) -> tuple[Array, Array]:
        pivot, step = state
        moves = too_small(pivot)[0]
        return jnp.where(moves, pivot + step, pivot), jnp.where(moves, 2 * step, step)

    pivot, _ = lax.while_loop(unfinished, move, (pivot, step))
    scales = too_small(pivot)[1]
    factor = jnp.where(scales, large, 1).astype(pivot.dtype)
    return pivot * factor, right * factor[..., None]

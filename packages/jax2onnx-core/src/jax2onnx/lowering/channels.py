"""Channels: images that the model has channels-first (N, C, spatial dims) and the JAX program channels-last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jax2onnx.errors import InputSpecError

if TYPE_CHECKING:
    from jax2onnx.options import Images

__all__ = ["chosen"]

_IMAGE_RANK = 3
"""The least rank of an image: (N, spatial dim, C)."""


def chosen(
    option: str,
    wanted: Images,
    ranks: Sequence[tuple[str, int]],
) -> list[bool]:
    """Return for each array whether an option means it.

    Args:
        option: its name, for the message.
        wanted: names or positions of arrays, or True for all of rank 3 and above; None is none.
        ranks: name and rank of every array there is.

    Raises:
        InputSpecError: a name or position is not there, or is that of an array of rank below 3.
    """
    if wanted is None:
        wanted = ()
    if isinstance(wanted, bool):
        return [wanted and rank >= _IMAGE_RANK for _, rank in ranks]
    if isinstance(wanted, str) or not isinstance(wanted, Sequence):
        raise InputSpecError(
            f"{option}: expected a list of names, got {wanted!r}; "
            f"write for example {option}=['x'], or True for every image"
        )
    known = dict(ranks)
    images = {_named(option, item, list(known)) for item in wanted}
    for name in images:
        rank = known[name]
        if rank < _IMAGE_RANK:
            raise InputSpecError(f"{option}: {name!r} has rank {rank}; an image has rank 3 or more: leave the name out")
    return [name in images for name, _ in ranks]


def _named(option: str, item: str | int, names: Sequence[str]) -> str:
    """Return the name that an option gives, or the one at the position that it gives."""
    if isinstance(item, str):
        if item in names:
            return item
    elif type(item) is int and 0 <= item < len(names):
        return names[item]
    listed = ", ".join(names) or "the arrays (there are none)"
    raise InputSpecError(f"{option}: {item!r} is none of {listed}, and no position among them; give one of these")

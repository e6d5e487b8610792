"""Channels: images that the model has channels-first (N, C, spatial dims) and the JAX program channels-last."""

from __future__ import annotations

from collections.abc import Sequence

from jax2onnx.errors import InputSpecError

__all__ = ["chosen"]

_IMAGE_RANK = 3
"""The least rank of an image: (N, spatial dim, C)."""


def chosen(
    option: str,
    wanted: Sequence[str] | bool,  # noqa: FBT001
    ranks: Sequence[tuple[str, int]],
) -> list[bool]:
    """Return for each array whether an option means it.

    Args:
        option: its name, for the message.
        wanted: names of arrays, or True for all of rank 3 and above.
        ranks: name and rank of every array there is.

    Raises:
        InputSpecError: a name is not there, or is that of an array of rank below 3.
    """
    if isinstance(wanted, bool):
        return [wanted and rank >= _IMAGE_RANK for _, rank in ranks]
    if isinstance(wanted, str) or not isinstance(wanted, Sequence):
        raise InputSpecError(f"{option}: expected a list of names, or True for every image, got {wanted!r}")
    known = dict(ranks)
    for name in wanted:
        if name not in known:
            names = ", ".join(known) or "the arrays (there are none)"
            raise InputSpecError(f"{option}: {name!r} is none of {names}")
        rank = known[name]
        if rank < _IMAGE_RANK:
            raise InputSpecError(f"{option}: {name!r} has rank {rank}; an image has rank 3 or more")
    return [name in wanted for name, _ in ranks]

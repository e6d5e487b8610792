"""Targets by name: ``onnxruntime-cpu``, or a name with a range of versions such as ``onnxruntime>=1.20``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from jax2onnx._accepted import nearest
from jax2onnx.errors import InputSpecError, OpsetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jax2onnx.legalise.targets import Span, Target

__all__ = ["at_opset", "default_opset", "find_target", "span_of"]

_RANGE = re.compile(r"\s*(>=|==|<|<=|>|~=)\s*([\w.]+)\s*")
_FORM = "write a name with '>=', '==' or '<', such as 'onnxruntime>=1.20' or 'onnxruntime>=1.20,<1.24'"


def find_target(name: str | None, targets: Iterable[Target], *, remedy: Callable[[str], str]) -> Target | None:
    """Return the target of a name, or of a name with a range of versions; None for plain ONNX.

    Args:
        name: the name.
        targets: the targets that are known.
        remedy: returns what to do to have a target; empty where nothing is known of it.

    Raises:
        InputSpecError: there is no such target, or no table of a version that old.
    """
    if name is None or name == "onnx":
        return None
    known = {target.name: target for target in targets}
    if name in known:
        return known[name]
    base, text = _parted(name)
    if base not in known:
        raise InputSpecError(f"target: {base!r} is not known; {remedy(base) or nearest(base, known.keys() | {'onnx'})}")
    span = span_of(text)
    found = known[base].within(span)
    if found is None:
        oldest = known[base].within(span_of(""))
        version = oldest.version if oldest is not None else ""
        known_from = f"older than {base} {version}, the oldest whose kernels are known"
        raise InputSpecError(
            f"target: {name!r} is {known_from}; write target={base!r}, or target='onnx' for any runtime"
        )
    return found


def _parted(name: str) -> tuple[str, str]:
    """Return the name of a target without its range of versions, and the range."""
    start = re.search(r"[<>=~!,\s]", name)
    return (name, "") if start is None else (name[: start.start()], name[start.start() :])


def span_of(text: str) -> Span:
    """Return the span of a text such as ``>=1.20,<1.24``; of an empty one, all versions.

    Raises:
        InputSpecError: it is no range of versions.
    """
    from jax2onnx.legalise.targets import Span

    low = high = ""
    for part in filter(None, text.split(",")):
        found = _RANGE.fullmatch(part)
        if found is None or found[1] not in {">=", "==", "<"}:
            raise InputSpecError(f"target: {part.strip()!r} is no range of versions; {_FORM}")
        try:
            Version(found[2])
        except InvalidVersion:
            raise InputSpecError(f"target: {found[2]!r} is no version; {_FORM}") from None
        if found[1] in {">=", "=="}:
            low = found[2]
        if found[1] == "<":
            high = found[2]
        if found[1] == "==":
            high = f"{found[2]}.0.0.1"
    if low and high and Version(low) >= Version(high):
        raise InputSpecError(f"target: no version is in {text!r}; {_FORM}")
    return Span(low, high)


def default_opset(target: Target | None, usual: int) -> int:
    """Return the opset of a model whose user names none: the usual one, or the newest that the target loads."""
    if target is None or target.at(usual).loads(usual):
        return usual
    newest = target.at(usual).max_opset
    assert newest is not None
    return newest


def at_opset(target: Target | None, name: str | None, opset: int) -> Target | None:
    """Return the oldest version of a target that loads an opset.

    Raises:
        OpsetError: none is known to.
    """
    if target is None:
        return None
    found = target.at(opset)
    if not found.loads(opset):
        newest = f"{found.runtime} does not load {opset}"
        if target.newer is not None or "=" not in (name or ""):
            newest += ", and no newer version of it is known"
        raise OpsetError(
            f"opset: {newest}",
            remedy=f"pass opset={found.max_opset}, or target='onnx' for a runtime that loads {opset}",
        )
    return found

"""Read the metadata of installed distributions, with the same result on every Python (docs/adr/0008)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import importlib_metadata
from importlib_metadata import EntryPoint
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

__all__ = ["EntryPoint", "Installed", "entry_points", "find", "is_of_needed"]


@dataclass(frozen=True, slots=True)
class Installed:
    """An installed distribution.

    Attributes:
        name: its normalised name.
        version: its version.
        folder: where its metadata is.
        requires: the requirements that apply in this environment, by the normalised names of their distributions.
        problem: why its metadata cannot be used, with the remedy; empty if it can.
    """

    name: str
    version: str
    folder: Path
    requires: Mapping[str, Requirement] = field(default_factory=dict)
    problem: str = ""


def find(name: str) -> Installed | None:
    """Return the distribution of this name, or None if it is not installed."""
    try:
        return _read(importlib_metadata.distribution(name))
    except importlib_metadata.PackageNotFoundError:
        return None


def entry_points(group: str) -> Iterator[tuple[EntryPoint, Installed]]:
    """Yield the entry points of a group, each with the distribution that brings it.

    Of several distributions with one name the first on ``sys.path`` counts. One whose metadata cannot be used counts
    only if there is no other: an interrupted upgrade leaves such a folder behind.
    """
    chosen: dict[str, tuple[Installed, Sequence[EntryPoint]]] = {}
    for distribution in importlib_metadata.distributions():
        folder = _folder(distribution)
        try:
            # Most distributions have other groups only. Parsing these takes longer than all the rest.
            if f"[{group}]" not in (distribution.read_text("entry_points.txt") or ""):
                continue
            owner = _read(distribution)
            entries: Sequence[EntryPoint] = tuple(distribution.entry_points.select(group=group))
        except _CORRUPT as error:
            if not _has_bytes(folder / "entry_points.txt", f"[{group}]"):
                continue
            owner = _corrupt(folder, f"an entry_points.txt that cannot be read ({type(error).__name__})")
            entries = (EntryPoint(owner.name, "", group),)
        present = chosen.get(owner.name)
        if present is None or (present[0].problem and not owner.problem):
            chosen[owner.name] = (owner, entries)
    for owner, entries in chosen.values():
        for entry in entries:
            yield entry, owner


def is_of_needed(module: str, roots: Iterable[str]) -> bool:
    """Return whether a top-level module is of one of some distributions, or of one that they need, directly or not.

    Args:
        module: the name of the module.
        roots: the names of the distributions.
    """
    owners: set[str] = set(map(canonicalize_name, importlib_metadata.packages_distributions().get(module, ())))
    left: list[str] = [canonicalize_name(root) for root in roots] if owners else []
    needed = set(left)
    while left:
        found = find(left.pop())
        new = found.requires.keys() - needed if found is not None else set()
        needed |= new
        left += new
    return not needed.isdisjoint(owners)


_CORRUPT = (ValueError, TypeError, AttributeError, KeyError, OSError)
"""What reading and parsing files raise that are not as they have to be."""


def _has_bytes(file: Path, text: str) -> bool:
    try:
        return text.encode() in file.read_bytes()
    except OSError:
        return False


def _folder(distribution: importlib_metadata.IDistribution) -> Path:
    # Only a distribution in a folder has this attribute, and no public name leads to the folder.
    site = distribution.locate_file("")
    return Path(str(getattr(distribution, "_path", site)))


def _read(distribution: importlib_metadata.IDistribution) -> Installed:
    folder = _folder(distribution)
    try:
        return _described(distribution, folder)
    except _CORRUPT as error:
        return _corrupt(folder, f"a METADATA that cannot be read ({type(error).__name__})")


def _described(distribution: importlib_metadata.IDistribution, folder: Path) -> Installed:
    if not distribution.read_text("METADATA") and not distribution.read_text("PKG-INFO"):
        # importlib_metadata raises an error of its own from version 9 on; older versions return None or no fields.
        return _corrupt(folder, _NO_METADATA)
    metadata = distribution.metadata
    name, version = metadata.get("Name"), metadata.get("Version")
    if not name or not version:
        return _corrupt(folder, _NO_METADATA)
    try:
        requires = _requirements(distribution.requires or ())
    except InvalidRequirement as error:
        return Installed(canonicalize_name(name), version, folder, problem=f"InvalidRequirement: {error}")
    return Installed(canonicalize_name(name), version, folder, requires)


_NO_METADATA = "no METADATA with a name and a version"


def _corrupt(folder: Path, what: str) -> Installed:
    """Describe a distribution by the name of its folder, ``NAME-VERSION.dist-info``."""
    name, _, version = folder.stem.partition("-")
    problem = f"{folder} has {what}; remove this folder, then `pip install --force-reinstall --no-deps {name}`"
    return Installed(canonicalize_name(name), version, folder, problem=problem)


def _requirements(lines: Iterable[str]) -> dict[str, Requirement]:
    applying: dict[str, Requirement] = {}
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            applying[canonicalize_name(requirement.name)] = requirement
    return applying

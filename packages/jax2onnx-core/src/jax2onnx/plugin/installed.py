"""Read the metadata of installed distributions, with the same result on every Python (docs/adr/0008)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import importlib_metadata
from importlib_metadata import EntryPoint
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

__all__ = ["EntryPoint", "Installed", "entry_points", "find"]


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
    chosen: dict[str, tuple[importlib_metadata.IDistribution, Installed]] = {}
    for distribution in importlib_metadata.distributions():
        # Most distributions have other groups only. Parsing these takes longer than all the rest.
        text = distribution.read_text("entry_points.txt") or ""
        if f"[{group}]" not in text:
            continue
        owner = _read(distribution)
        present = chosen.get(owner.name)
        if present is None or (present[1].problem and not owner.problem):
            chosen[owner.name] = (distribution, owner)
    for distribution, owner in chosen.values():
        for entry in distribution.entry_points.select(group=group):
            yield entry, owner


def _read(distribution: importlib_metadata.IDistribution) -> Installed:
    # Only a distribution in a folder has this attribute, and no public name leads to the folder.
    site = distribution.locate_file("")
    folder = Path(str(getattr(distribution, "_path", site)))
    if not distribution.read_text("METADATA") and not distribution.read_text("PKG-INFO"):
        # importlib_metadata raises an error of its own from version 9 on; older versions return None or no fields.
        return _without_metadata(folder)
    metadata = distribution.metadata
    name, version = metadata.get("Name"), metadata.get("Version")
    if not name or not version:
        return _without_metadata(folder)
    try:
        requires = _requirements(distribution.requires or ())
    except InvalidRequirement as error:
        return Installed(canonicalize_name(name), version, folder, problem=f"InvalidRequirement: {error}")
    return Installed(canonicalize_name(name), version, folder, requires)


def _without_metadata(folder: Path) -> Installed:
    """Describe a distribution by the name of its folder, ``NAME-VERSION.dist-info``."""
    name, _, version = folder.stem.partition("-")
    problem = (
        f"{folder} has no METADATA with a name and a version; remove this folder, then "
        f"`pip install --force-reinstall --no-deps {name}`"
    )
    return Installed(canonicalize_name(name), version, folder, problem=problem)


def _requirements(lines: Iterable[str]) -> dict[str, Requirement]:
    applying: dict[str, Requirement] = {}
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            applying[canonicalize_name(requirement.name)] = requirement
    return applying

"""Unopened: objects of frameworks that a program uses although no plugin that opens them is in use."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax

from jax2onnx.errors import MissingPluginWarning
from jax2onnx.frontend.closures import reached_objects
from jax2onnx.plugin.opening import is_parameter

if TYPE_CHECKING:
    from jax2onnx.plugin.directory import Listed

__all__ = ["unopened"]


def unopened(fn: Any, absent: Mapping[Listed, str]) -> list[MissingPluginWarning]:
    """Return a warning for each framework whose objects a callable uses, and which no plugin in use opens.

    Args:
        fn: the callable.
        absent: plugins that open objects and are not in use, and why not; empty where one is not installed.
    """
    possible = {p: why for p, why in absent.items() if not sys.modules.keys().isdisjoint(p.frameworks)}
    if not possible:
        return []

    def recognise(value: Any) -> bool:
        return any(plugin.opens(type(value)) for plugin in possible) and _may_hold_arrays(value)

    warnings = {}
    for value in reached_objects(fn, recognise):
        for plugin, why in possible.items():
            framework = plugin.opens(type(value))
            if framework and framework not in warnings:
                warnings[framework] = _warning(type(value).__name__, framework, plugin, why)
    return list(warnings.values())


def _may_hold_arrays(value: Any) -> bool:
    """Return whether an object has arrays, as far as JAX can take it apart."""
    leaves = jax.tree_util.tree_leaves(value)
    return any(leaf is value or is_parameter(leaf) for leaf in leaves)


def _warning(name: str, framework: str, plugin: Listed, why: str) -> MissingPluginWarning:
    if why:
        distribution, remedy = "", f"jax2onnx list-plugins tells more: {why}"
    else:
        distribution, remedy = plugin.distribution, f"run `pip install {plugin.distribution}`"
    return MissingPluginWarning(
        f"{name} is of {framework}, and no plugin that opens its objects is in use: its weights are constants without "
        f"names, and it keeps its mode; {remedy}",
        framework=framework,
        distribution=distribution,
    )

"""Hooks that pluggy would pass over in silence: misspelt, not marked, or wrapped around others."""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING

from jax2onnx._accepted import nearest
from jax2onnx.errors import PluginError
from jax2onnx.plugin import hookspecs
from jax2onnx.plugin.fields import refuse_late

if TYPE_CHECKING:
    import pluggy

_PREFIX = "jax2onnx_"
"""How the names of hooks begin."""


def refuse_unknown(manager: pluggy.PluginManager, name: str) -> None:
    """Raise PluginError for a function that is marked as a hook of a name that no hook has."""
    hooks = [hook for hook in vars(hookspecs) if hook.startswith(_PREFIX)]
    for attribute, value in vars(manager.get_plugin(name)).items():
        if inspect.isfunction(value) and hasattr(value, f"{hookspecs.PROJECT}_impl") and attribute not in hooks:
            raise PluginError(f"there is no hook {attribute!r}; {nearest(attribute, hooks)}")


def refuse_unmarked(manager: pluggy.PluginManager, name: str) -> None:
    """Raise PluginError for a function that is meant as a hook, and is none: it is not marked, or is misspelt too."""
    plugin = manager.get_plugin(name)
    module = plugin.__name__ if inspect.ismodule(plugin) else None
    hooks = [hook for hook in vars(hookspecs) if hook.startswith(_PREFIX)]
    for attribute, value in vars(plugin).items():
        is_own = inspect.isfunction(value) and module in {None, value.__module__}
        if is_own and hasattr(value, f"{hookspecs.PROJECT}_impl"):
            refuse_late(attribute, value)
            if inspect.isgeneratorfunction(value):
                raise PluginError(f"{attribute} has a yield, so that its code would never run; leave it out")
        elif is_own and (attribute.startswith(_PREFIX) or difflib.get_close_matches(attribute, hooks, cutoff=0.9)):
            close = difflib.get_close_matches(attribute, hooks, n=1)
            meant = "" if attribute in hooks or not close else f", and call it {close[0]}"
            raise PluginError(f"{attribute} is not marked as a hook: write @hookimpl before it{meant}")


def refuse_wrappers(manager: pluggy.PluginManager, name: str) -> None:
    """Raise PluginError for a hook that wraps those of other plugins, which are called one by one."""
    plugin = manager.get_plugin(name)
    for caller in manager.get_hookcallers(plugin) or ():
        for implementation in caller.get_hookimpls():
            if implementation.plugin is plugin and (implementation.wrapper or implementation.hookwrapper):
                raise PluginError(f"{caller.name} is a wrapper; implement the hook itself")

"""Find, check and load the plugins of this process.

:func:`load` reads metadata and imports the plugins' light modules. Their ``register`` hooks, which import rules, hence
jax, are called at the first conversion (:meth:`LoadedPlugins.registry`), and those that register examples when
:meth:`LoadedPlugins.examples` is called. A plugin that cannot be imported is reported; the others are used.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import pluggy

from jax2onnx.errors import PluginError, described_error
from jax2onnx.plugin import hookspecs
from jax2onnx.plugin.hook_faults import refuse_unknown, refuse_unmarked, refuse_wrappers
from jax2onnx.plugin.installed import EntryPoint, Installed, entry_points, find
from jax2onnx.plugin.loaded import FIRST_PARTY, LENIENT, LoadedPlugins, PluginInfo
from jax2onnx.plugin.owner import require_sole_owner
from jax2onnx.plugin.user_warnings import warn

__all__ = ["blame", "current", "is_strict", "isolated", "load", "reset"]

GROUP = "jax2onnx"
CORE = "jax2onnx-core"

_loading = threading.RLock()
_Plugin: TypeAlias = tuple[EntryPoint, Installed]


def load() -> LoadedPlugins:
    """Return the plugins of this process; the first call finds and imports them.

    Raises:
        PluginError: another distribution owns this import package too; core itself is not installed; or a plugin
            failed and ``JAX2ONNX_STRICT_PLUGINS`` is set.
    """
    with _loading:
        if _process.loaded is None:
            if _process.is_loading:
                raise PluginError("the plugins are being imported just now; export outside of their modules' top level")
            _process.is_loading = True
            try:
                _process.loaded = _load(_process.names)
            finally:
                _process.is_loading = False
        return _process.loaded


def current() -> LoadedPlugins | None:
    """Return the plugins of this process if they are loaded."""
    return _process.loaded


def blame(name: str, reason: str, *, tell: bool = False) -> None:
    """As :meth:`LoadedPlugins.blame`, of the plugins of this process."""
    if _process.loaded is not None:
        _process.loaded.blame(name, reason, tell=tell)


def is_strict() -> bool:
    """Return whether ``JAX2ONNX_STRICT_PLUGINS`` is set for the plugins of this process."""
    return _process.loaded is not None and _process.loaded.strict


def reset() -> None:
    """Forget what was loaded, so that the next :func:`load` looks again."""
    with _loading:
        _process.loaded = None


@contextlib.contextmanager
def isolated(names: Collection[str] | None = None) -> Iterator[None]:
    """Look for plugins anew inside, and go back to the plugins of before afterwards.

    Args:
        names: names of plugins or distributions; other plugins are as if they were not installed. None keeps all.
    """
    with _loading:
        before = replace(_process)
        _process.loaded = None
        _process.names = names
    try:
        yield
    finally:
        with _loading:
            _process.loaded = before.loaded
            _process.names = before.names


@dataclass(slots=True)
class _Process:
    """What is loaded in this process, and the plugins that may be; None for all that are installed."""

    loaded: LoadedPlugins | None = None
    names: Collection[str] | None = None
    is_loading: bool = False


_process = _Process()


def _load(names: Collection[str] | None) -> LoadedPlugins:
    require_sole_owner()
    core = _core_version()
    strict = os.environ.get("JAX2ONNX_STRICT_PLUGINS", "") not in {"", "0"}
    found = entry_points(GROUP)
    plugins = _in_order(p for p in found if names is None or not {p[0].name, p[1].name}.isdisjoint(names))
    disabled = _disabled(plugins)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    infos = []
    for entry, owner in plugins:
        info = PluginInfo(
            name=entry.name,
            distribution=owner.name,
            version=owner.version,
            module=entry.value,
            requires=str(owner.requires[CORE].specifier) if CORE in owner.requires else "",
        )
        if disabled & {entry.name, owner.name}:
            infos.append(info.refused("disabled", "named by JAX2ONNX_DISABLE_PLUGINS"))
            continue
        info = _checked(info, owner, plugins, core)
        if info.status == "ok":
            info = _import(info, entry, manager)
        if strict and info.status != "ok":
            raise PluginError(f"plugin {info}; {LENIENT}")
        infos.append(info)
    return LoadedPlugins(manager, infos, strict=strict)


def _checked(info: PluginInfo, owner: Installed, plugins: Iterable[_Plugin], core: str) -> PluginInfo:
    """Return what metadata alone says about a plugin: ``ok`` if it may be imported."""
    owners = sorted(other.name for entry, other in plugins if entry.name == info.name)
    if len(owners) > 1 and info.distribution not in FIRST_PARTY:
        both = " and ".join(owners)
        return info.refused("broken", f"the plugin name {info.name!r} is used by both {both}")
    if owner.problem:
        return info.refused("broken", owner.problem)
    needed = owner.requires.get(CORE)
    if needed is not None and not needed.specifier.contains(core, prereleases=True):
        return info.refused("incompatible", f"it needs {needed}, installed is {CORE} {core}")
    return info


def _import(info: PluginInfo, entry: EntryPoint, manager: pluggy.PluginManager) -> PluginInfo:
    """Import a plugin's module and give its hooks to the manager."""
    try:
        manager.register(entry.load(), info.name)
        refuse_unknown(manager, info.name)
        manager.check_pending()
        refuse_wrappers(manager, info.name)
        refuse_unmarked(manager, info.name)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, and the others are used
        if manager.has_plugin(info.name):
            manager.unregister(name=info.name)
        return info.refused("broken", described_error(error, whole=True))
    plugin = manager.get_plugin(info.name)
    hooks = sorted(caller.name for caller in manager.get_hookcallers(plugin) or ())
    return replace(info, hooks=tuple(hooks))


def _in_order(plugins: Iterable[_Plugin]) -> list[_Plugin]:
    """Sort: the project's own first, each distribution after the ones it requires, then by name."""
    by_owner: dict[str, list[_Plugin]] = {}
    for entry, owner in sorted(plugins, key=lambda plugin: plugin[0].name):
        by_owner.setdefault(owner.name, []).append((entry, owner))
    ordered: list[_Plugin] = []
    visited: set[str] = set()

    def visit(name: str) -> None:
        if name in visited:
            return
        visited.add(name)
        _, owner = by_owner[name][0]
        for required in sorted(owner.requires.keys() & by_owner.keys()):
            visit(required)
        ordered.extend(by_owner[name])

    for name in sorted(by_owner, key=lambda name: (name not in FIRST_PARTY, name)):
        visit(name)
    return ordered


def _disabled(plugins: Iterable[_Plugin]) -> set[str]:
    """Return the names in ``JAX2ONNX_DISABLE_PLUGINS``, of plugins or distributions."""
    setting = os.environ.get("JAX2ONNX_DISABLE_PLUGINS", "")
    names = set(map(str.strip, setting.split(","))) - {""}
    unknown = set(names)
    for entry, owner in plugins:
        unknown -= {entry.name, owner.name}
    if unknown:
        listed = ", ".join(sorted(unknown))
        warn(f"JAX2ONNX_DISABLE_PLUGINS names no installed plugin: {listed}")
    return names


def _core_version() -> str:
    core = find(CORE)
    if core is None:
        raise PluginError(f"{CORE} is not installed, so no plugin can be found; run `pip install {CORE}`")
    if core.problem:
        raise PluginError(core.problem)
    return core.version

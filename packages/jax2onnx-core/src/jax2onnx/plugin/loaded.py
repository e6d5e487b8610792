"""The plugins of a process: what became of each, and what they register.

Plugins register in a fixed order: this project's own first, each after the plugins that its distribution requires, then
by name. So a plugin that overrides another's rule requires that one's distribution. A plugin that fails is set aside
and reported; the others register anew. When two plugins register one key without ``override=True``, both are refused
and each names the other. This project's own plugins are the exception: they stay, since nearly every conversion needs
them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from jax2onnx._accepted import shown
from jax2onnx.errors import PluginConflictError, PluginError, described_error
from jax2onnx.plugin.directory import Listed, directory
from jax2onnx.plugin.hooks import Hooks
from jax2onnx.plugin.registry import Examples, Registry
from jax2onnx.plugin.user_warnings import warn

if TYPE_CHECKING:
    import pluggy

    from jax2onnx.plugin.examples import Example
    from jax2onnx.plugin.registry import Named

__all__ = ["FIRST_PARTY", "LENIENT", "LoadedPlugins", "PluginInfo", "Status"]

FIRST_PARTY = {
    "jax2onnx-lax",
    "jax2onnx-jnp",
    "jax2onnx-nnx",
    "jax2onnx-linen",
    "jax2onnx-equinox",
    "jax2onnx-examples",
}
_EXAMPLES = "jax2onnx-examples"
"""A plugin whose code is programs of users."""
LENIENT = "mend or uninstall it, or unset JAX2ONNX_STRICT_PLUGINS"


Status: TypeAlias = Literal["ok", "faulty", "disabled", "incompatible", "broken"]
_R = TypeVar("_R", Registry, Examples)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """One plugin, and what became of it.

    Attributes:
        name: the entry point's name.
        distribution: the distribution that brings it.
        version: that distribution's version.
        module: what the entry point names.
        status: ``ok``, ``faulty`` (in use, but something that it registers failed), ``disabled`` (by the user),
            ``incompatible`` (with this core) or ``broken``.
        reason: why it is not ok.
        hooks: the hooks it implements.
        requires: the version of core that its distribution requires, such as ``>=0.1,<0.2``; empty if it names none.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Status = "ok"
    reason: str = ""
    hooks: tuple[str, ...] = ()
    requires: str = ""

    def __str__(self) -> str:
        plugin = f"{self.name} ({self.distribution} {self.version})"
        if not self.reason:
            return f"{plugin}: {self.status}"
        return f"{plugin}: {self.status}, {self.reason}"

    def refused(self, status: Status, reason: str) -> PluginInfo:
        """Return the same plugin as one that is not in use."""
        return replace(self, status=status, reason=reason)


class LoadedPlugins:
    """The plugins of this process."""

    def __init__(self, manager: pluggy.PluginManager, infos: Iterable[PluginInfo], *, strict: bool) -> None:
        self.manager = manager
        self._infos = list(infos)
        self.strict = strict
        self._lock = threading.RLock()
        self._warned: list[PluginInfo] = []
        self._untold: list[str] = []
        self._is_registering = False
        self._registry: Registry | None = None
        self._examples: Examples | None = None

    @property
    def infos(self) -> tuple[PluginInfo, ...]:
        """All plugins found, in the order in which they register."""
        return tuple(self._infos)

    @property
    def hook(self) -> Hooks:
        """The hooks of the plugins in use."""
        return Hooks(self.manager, self.describe, self.blame)

    def problems(self) -> str:
        """Describe the plugins that are not in use; empty if all are."""
        return "; ".join(str(info) for info in self._infos if info.status != "ok")

    def describe(self, name: str) -> str:
        """Return a plugin's name with its version, for messages."""
        for info in self._in_use():
            if info.name == name:
                return f"{name} {info.version}"
        return name

    def owner_of(self, module: str) -> str | None:
        """Return the plugin, with its version, in whose package a module is; None if there is none."""
        for info in self._in_use():
            entry = info.module.partition(":")[0]
            loaded = sys.modules.get(entry)
            package = (loaded.__package__ if loaded is not None else "") or entry
            if f"{module}.".startswith(f"{package}.") and info.distribution != _EXAMPLES:
                return self.describe(info.name)
        return None

    def provider(self, primitive: str) -> str:
        """Return the distribution of the directory that covers a primitive; empty if none does, or it is installed."""
        installed = {info.distribution for info in self._infos}
        for listed in directory():
            if primitive in listed.primitives and listed.distribution not in installed:
                return listed.distribution
        return ""

    def target_remedy(self, target: str) -> str:
        """Return what to do to have a target of the directory; empty if none of its plugins registers this one."""
        infos = {info.distribution: info for info in self._infos}
        for listed in directory():
            if target in listed.targets:
                info = infos.get(listed.distribution)
                install = f"run `pip install {listed.distribution}`, which has it"
                return install if info is None else f"jax2onnx list-plugins tells more: {info}"
        return ""

    def without_opener(self) -> dict[Listed, str]:
        """Return plugins of the directory that open frameworks' objects and are not in use, and why they are not."""
        found = {(info.name, info.distribution): info for info in self._infos}
        absent = {}
        for listed in directory():
            info = found.get((listed.name, listed.distribution))
            if listed.frameworks and (info is None or info.status != "ok"):
                absent[listed] = "" if info is None else str(info)
        return absent

    def registry(self) -> Registry:
        """Return what the plugins in use registered for exports. The first call calls their hooks.

        Raises:
            PluginError: a plugin failed and ``JAX2ONNX_STRICT_PLUGINS`` is set.
        """
        with self._lock:
            if self._registry is None:
                self._registry = self._filled(Registry)
            return self._registry

    def examples(self) -> Named[Example]:
        """Return the examples of the plugins in use. They may import whole frameworks, so no export asks for them.

        Raises:
            PluginError: as :meth:`registry`.
        """
        with self._lock:
            self.registry()
            if self._examples is None:
                self._examples = self._filled(Examples)
            return self._examples

    def _in_use(self) -> list[PluginInfo]:
        return [info for info in self._infos if info.status in {"ok", "faulty"}]

    def blame(self, name: str, reason: str, *, tell: bool = False) -> None:
        """Note that something which a plugin registers fails; the rest of the plugin stays in use.

        Args:
            name: the plugin.
            reason: what fails.
            tell: whether no error says so, and the user has to be warned.

        Raises:
            PluginError: ``tell`` is true and ``JAX2ONNX_STRICT_PLUGINS`` is set.
        """
        for position, info in enumerate(self._infos):
            if info.name != name or info.status != "ok":
                continue
            self._infos[position] = info.refused("faulty", reason)
            if tell and self.strict:
                raise PluginError(f"plugin {self._infos[position]}; {LENIENT}")
            if tell:
                self._untold.append(f"the plugin {self._infos[position]}")

    def untold(self) -> list[str]:
        """Return what is to be told of faulty plugins, and was not yet."""
        told, self._untold = self._untold, []
        return told

    def _filled(self, kind: type[_R]) -> _R:
        """Return a registry in which all plugins in use have registered.

        When a plugin fails, the others register again in a new registry: so nothing of the failed one stays.
        """
        if self._is_registering:
            raise PluginError("the plugins are registering just now; export outside of the hooks that register")
        self._is_registering = True
        try:
            registry = kind()
            while not self._register(registry):
                registry = kind()
        finally:
            self._is_registering = False
        failed = [info for info in self._infos if info.status in {"broken", "incompatible"}]
        if failed != self._warned:
            self._warned = failed
            lines = "\n  ".join(map(str, failed))
            warn(f"jax2onnx set plugins aside:\n  {lines}")
        return registry

    def _register(self, registry: Registry | Examples) -> bool:
        """Return whether all plugins in use registered; the first one that fails is set aside."""
        for info in self._in_use():
            try:
                self._call_hooks(info.name, registry.bound(info.name))
            except PluginConflictError as error:
                if self.strict:
                    raise
                self._set_aside_rivals(info, error)
                return False
            except (MemoryError, KeyboardInterrupt):
                raise
            except BaseException as error:
                reason = f"failed to register: {described_error(error, whole=True)}"
                if self.strict:
                    raise PluginError(f"plugin {info.name} {reason}; {LENIENT}") from error
                self._set_aside(info, reason)
                return False
        return True

    def _call_hooks(self, name: str, hooks: Mapping[str, Any]) -> None:
        plugin = self.manager.get_plugin(name)
        others = self.manager.get_plugins() - {plugin}
        for hook, bound in hooks.items():
            returned = self.manager.subset_hook_caller(hook, others)(registry=bound)
            if returned:
                raise TypeError(f"{hook} returns {shown(returned[0])}; register by registry.add, and return nothing")

    def _set_aside_rivals(self, info: PluginInfo, error: PluginConflictError) -> None:
        self._set_aside(info, error.message)
        for rival in self._in_use():
            collides = rival.name in {error.first, error.second}
            if collides and rival.distribution not in FIRST_PARTY:
                self._set_aside(rival, error.message)

    def _set_aside(self, info: PluginInfo, reason: str) -> None:
        position = self._infos.index(info)
        self._infos[position] = info.refused("broken", reason)
        self.manager.unregister(name=info.name)
        self._registry = self._examples = None

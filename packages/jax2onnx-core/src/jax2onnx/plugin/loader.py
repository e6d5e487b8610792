"""Find, check and load plugins; tell what became of each.

Loading has two steps. :func:`load` reads metadata and imports the plugins' light modules.
:meth:`LoadedPlugins.registry` calls their ``register`` hooks, which import rules, hence jax; it happens at the first
conversion. Examples are registered only when :meth:`LoadedPlugins.examples` asks for them.

A plugin that fails in either step is set aside and reported; the others work on. Plugins register in a fixed order:
this project's own first, each after the plugins that its distribution requires, then by name. So a plugin that
overrides another's rule requires that one's distribution. When two plugins register one key without
``override=True``, neither wins silently: both are refused and each names the other, except that this project's own
plugins stay, since nearly every conversion needs them.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from jax2onnx.errors import PluginConflictError, PluginError
from jax2onnx.plugin import hookspecs
from jax2onnx.plugin.owner import require_sole_owner
from jax2onnx.plugin.registry import BoundExamples, BoundFusions, BoundLowerings, BoundTargets, Named, Registry

if TYPE_CHECKING:
    from jax2onnx.plugin.examples import Example

T = TypeVar("T")

GROUP = "jax2onnx"
CORE = "jax2onnx-core"
FIRST_PARTY = frozenset(f"jax2onnx-{name}" for name in ("lax", "jnp", "nnx", "linen", "equinox", "examples"))

_loading = threading.RLock()

Status: TypeAlias = Literal["ok", "disabled", "incompatible", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """One plugin, and what became of it.

    Attributes:
        name: the entry point's name.
        distribution: the distribution that brings it.
        version: that distribution's version.
        module: what the entry point names.
        status: ``ok``, ``disabled`` (by the user), ``incompatible`` (with this core) or ``broken``.
        reason: why it is not ok.
        hooks: the hooks it implements.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Status = "ok"
    reason: str = ""
    hooks: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = f"{self.name} ({self.distribution} {self.version}): {self.status}"
        return f"{told}, {self.reason}" if self.reason else told


class LoadedPlugins:
    """The plugins of this process."""

    def __init__(self, manager: pluggy.PluginManager, infos: Iterable[PluginInfo], *, strict: bool) -> None:
        self.manager = manager
        self._infos = list(infos)
        self._strict = strict
        self._lock = threading.RLock()
        self._warned: list[PluginInfo] = []
        self._registry: Registry | None = None
        self._examples: Named[Example] | None = None

    @property
    def infos(self) -> tuple[PluginInfo, ...]:
        """All plugins found, in the order in which they register."""
        return tuple(self._infos)

    @property
    def hook(self) -> Any:
        """Pluggy's relay to the hooks of the plugins in use."""
        return self.manager.hook

    def problems(self) -> str:
        """Tell of the plugins that are not in use; empty if all are."""
        return "; ".join(str(info) for info in self._infos if info.status != "ok")

    def describe(self, name: str) -> str:
        """Return a plugin's name with its version, for messages."""
        return next((f"{i.name} {i.version}" for i in self._infos if i.name == name and i.status == "ok"), name)

    def registry(self) -> Registry:
        """Return what the plugins in use registered for exports, calling their hooks at the first call.

        Raises:
            PluginError: a plugin failed and ``JAX2ONNX_STRICT_PLUGINS`` is set.
        """
        with self._lock:
            if self._registry is None:
                self._registry = self._filled(_new_registry, _bound)
            return self._registry

    def examples(self) -> Named[Example]:
        """Return the examples of the plugins in use; they may import whole frameworks, so that no export needs them.

        Raises:
            PluginError: as :meth:`registry`.
        """
        with self._lock:
            self.registry()
            if self._examples is None:
                self._examples = self._filled(_new_examples, _bound_examples)
            return self._examples

    def _filled(self, new: Callable[[], T], bound: Callable[[T, str], Mapping[str, Any]]) -> T:
        """Let the plugins in use register, anew after setting aside whoever failed: what they left goes with it."""
        while not self._fill(filled := new(), bound):
            pass
        failed = [i for i in self._infos if i.status in {"broken", "incompatible"} and i not in self._warned]
        if failed:
            self._warned += failed
            warnings.warn("jax2onnx set plugins aside:\n  " + "\n  ".join(map(str, failed)), UserWarning, stacklevel=3)
        return filled

    def _fill(self, empty: T, bound: Callable[[T, str], Mapping[str, Any]]) -> bool:
        """Tell whether all plugins in use registered; whoever did not is set aside."""
        for info in [i for i in self._infos if i.status == "ok"]:
            try:
                self._register(info.name, bound(empty, info.name))
            except PluginConflictError as error:
                if self._strict:
                    raise
                self._refuse_conflict(info, error)
                return False
            except Exception as error:
                if self._strict:
                    raise PluginError(f"plugin {info.name} failed to register: {_told(error)}") from error
                self._refuse(info, f"failed to register: {_told(error)}")
                return False
        return True

    def _register(self, name: str, hooks: Mapping[str, Any]) -> None:
        others = [plugin for other, plugin in self.manager.list_name_plugin() if other != name]
        for hook, bound in hooks.items():
            self.manager.subset_hook_caller(hook, others)(registry=bound)

    def _refuse_conflict(self, info: PluginInfo, error: PluginConflictError) -> None:
        other = error.first if error.second == info.name else error.second
        self._refuse(info, str(error))
        for rival in [i for i in self._infos if i.name == other and i.status == "ok"]:
            if rival.distribution not in FIRST_PARTY:
                self._refuse(rival, str(error))

    def _refuse(self, info: PluginInfo, reason: str) -> None:
        broken = replace(info, status="broken", reason=reason)
        self._infos[self._infos.index(info)] = broken
        self.manager.unregister(name=info.name)
        self._registry = self._examples = None


def _new_registry() -> Registry:
    from jax2onnx.legalise import targets

    registry = Registry()
    known = (targets.load(name) for name in targets.names())
    registry.targets.update({target.name: (target, "core") for target in known if target})
    return registry


def _bound(registry: Registry, plugin: str) -> dict[str, Any]:
    """Return a registry as one plugin's hooks receive it."""
    return {
        "jax2onnx_register_lowerings": BoundLowerings(registry.lowerings, registry.facts, plugin),
        "jax2onnx_register_fusions": BoundFusions(registry.fusions, plugin),
        "jax2onnx_register_targets": BoundTargets(registry.targets, plugin),
    }


def _new_examples() -> Named[Example]:
    return Named("example", lambda e: f"{e.context}.{e.name}")


def _bound_examples(examples: Named[Example], plugin: str) -> dict[str, Any]:
    return {"jax2onnx_register_examples": BoundExamples(examples, plugin)}


def load() -> LoadedPlugins:
    """Return the plugins of this process; the first call finds and imports them.

    Raises:
        PluginError: another distribution owns this import package too; core itself is not installed; or a plugin
            failed and ``JAX2ONNX_STRICT_PLUGINS`` is set.
    """
    with _loading:
        return _load()


def reset() -> None:
    """Forget what was loaded, so that the next :func:`load` looks again."""
    with _loading:
        _load.cache_clear()


@functools.cache
def _load() -> LoadedPlugins:
    require_sole_owner()
    core = _core_version()
    strict = os.environ.get("JAX2ONNX_STRICT_PLUGINS", "") not in {"", "0"}
    entries = _in_order(importlib.metadata.entry_points(group=GROUP))
    disabled = _disabled({e.name for e in entries} | {_distribution(e) for e in entries})
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    infos = []
    for entry in entries:
        info = PluginInfo(
            name=entry.name, distribution=_distribution(entry), version=_version(entry), module=entry.value
        )
        if disabled & {info.name, info.distribution}:
            infos.append(replace(info, status="disabled", reason="named by JAX2ONNX_DISABLE_PLUGINS"))
            continue
        rivals = [e for e in entries if e.name == entry.name and e is not entry]
        infos.append(_import(info, entry, rivals, manager, core))
        if strict and infos[-1].status != "ok":
            raise PluginError(f"plugin {infos[-1]} (JAX2ONNX_STRICT_PLUGINS is set)")
    return LoadedPlugins(manager, infos, strict=strict)


def _import(
    info: PluginInfo,
    entry: importlib.metadata.EntryPoint,
    rivals: list[importlib.metadata.EntryPoint],
    manager: pluggy.PluginManager,
    core: str,
) -> PluginInfo:
    """Import and register one plugin's module."""
    if rivals and info.distribution not in FIRST_PARTY:
        owners = " and ".join(sorted(_distribution(e) for e in [entry, *rivals]))
        return replace(info, status="broken", reason=f"the plugin name {info.name!r} is used by both {owners}")
    try:
        needed = _requirements(entry).get(CORE)
        if needed is not None and not needed.specifier.contains(core, prereleases=True):
            reason = f"it needs {needed}, installed is {CORE} {core}"
            return replace(info, status="incompatible", reason=reason)
        manager.register(entry.load(), info.name)
        manager.check_pending()
    except Exception as error:  # noqa: BLE001 - whatever a plugin does, the others work on
        if manager.has_plugin(info.name):
            manager.unregister(name=info.name)
        return replace(info, status="broken", reason=_told(error))
    callers = manager.get_hookcallers(manager.get_plugin(info.name)) or []
    return replace(info, hooks=tuple(sorted(caller.name for caller in callers)))


def _in_order(entries: Iterable[importlib.metadata.EntryPoint]) -> list[importlib.metadata.EntryPoint]:
    """Sort: the project's own first, each distribution after the ones it requires, then by name."""
    by_owner: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for entry in sorted(entries, key=lambda e: e.name):
        by_owner.setdefault(_distribution(entry), []).append(entry)
    order: dict[str, None] = {}
    visiting: set[str] = set()

    def visit(owner: str) -> None:
        if owner in visiting:
            return
        visiting.add(owner)
        try:
            required: Mapping[str, Requirement] = _requirements(by_owner[owner][0])
        except InvalidRequirement:
            required = {}
        for name in sorted(required.keys() & by_owner.keys()):
            visit(name)
        order[owner] = None

    for owner in sorted(by_owner, key=lambda o: (o not in FIRST_PARTY, o)):
        visit(owner)
    return [entry for owner in order for entry in by_owner[owner]]


def _disabled(known: set[str]) -> set[str]:
    named = {n.strip() for n in os.environ.get("JAX2ONNX_DISABLE_PLUGINS", "").split(",")} - {""}
    if unknown := sorted(named - known):
        told = ", ".join(unknown)
        warnings.warn(f"JAX2ONNX_DISABLE_PLUGINS names no installed plugin: {told}", UserWarning, stacklevel=3)
    return named


def _requirements(entry: importlib.metadata.EntryPoint) -> dict[str, Requirement]:
    lines = (entry.dist.requires if entry.dist else None) or []
    parsed = [Requirement(line) for line in lines]
    applying = [r for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {canonicalize_name(r.name): r for r in applying}


def _distribution(entry: importlib.metadata.EntryPoint) -> str:
    return canonicalize_name(entry.dist.name) if entry.dist else ""


def _version(entry: importlib.metadata.EntryPoint) -> str:
    return entry.dist.version if entry.dist else ""


def _core_version() -> str:
    try:
        return importlib.metadata.version(CORE)
    except importlib.metadata.PackageNotFoundError:
        raise PluginError(f"{CORE} is not installed, so no plugin can be found; run `pip install {CORE}`") from None


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

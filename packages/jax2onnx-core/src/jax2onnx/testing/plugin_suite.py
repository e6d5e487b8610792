"""The suite for a whole plugin: it is installed and in use, it is light, and its examples agree with JAX."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from jax2onnx.checking.cases import cases, run
from jax2onnx.plugin import loader
from jax2onnx.plugin.installed import find
from jax2onnx.testing.suite import Suite, Trial

if TYPE_CHECKING:
    from jax2onnx.plugin.loaded import PluginInfo

__all__ = ["PluginSuite"]

_HEAVY = frozenset({"jax", "jaxlib", "onnx", "onnxruntime"})


class PluginSuite(Suite):
    """A plugin.

    Attributes:
        plugin: the plugin's name, that of its entry point.
        contexts: the contexts of the examples to run (default: all).
        light: whether importing the plugin's module imports neither jax nor onnx, so that plugins are listed fast.
    """

    plugin: str = ""
    contexts: Collection[str] = ()
    light: bool = True

    def lacking(self) -> str:
        """Return what the suite lacks."""
        return "set plugin to the name of the plugin's entry point"

    def trials(self) -> Iterator[Trial]:
        """Return a trial for the plugin itself, and one for each case of its examples."""
        if not self.plugin:
            return
        yield Trial("in-use", self._in_use)
        yield Trial("requires-core", self._requires_core)
        if self.light:
            yield Trial("light", self._light)
        found = cases(self.plugin, contexts=tuple(self.contexts))
        for case in found:
            group = f"{case.example.context}.{case.example.name}"
            yield Trial(str(case), functools.partial(run, case), group)
        if not found:
            yield Trial("examples", self._fail_without_examples)

    def _info(self) -> PluginInfo:
        loaded = loader.load()
        loaded.registry()
        loaded.examples()
        infos = [info for info in loaded.infos if info.name == self.plugin]
        names = ", ".join(info.name for info in loaded.infos)
        assert infos, f"no plugin is called {self.plugin!r}; installed are {names}"
        return infos[0]

    def _in_use(self) -> None:
        info = self._info()
        assert info.status == "ok", str(info)
        assert info.hooks, f"{info.name} implements no hook; mark its functions with @hookimpl"

    def _requires_core(self) -> None:
        info = self._info()
        owner = find(info.distribution)
        requirement = None if owner is None else owner.requires.get(loader.CORE)
        assert requirement is not None, f"{info.distribution} does not require {loader.CORE}; add it to dependencies"
        bounded = any(specifier.operator in {"<", "<=", "~=", "=="} for specifier in requirement.specifier)
        assert bounded, f"{requirement} has no upper bound, so a later core would load a plugin that it may not suit"

    def _light(self) -> None:
        info = self._info()
        module = info.module.partition(":")[0]
        code = f"import sys, {module}; print(*sorted({set(_HEAVY)!r} & set(sys.modules)))"
        search = f"import sys; sys.path[:] = {sys.path!r}; {code}"
        done = subprocess.run([sys.executable, "-c", search], capture_output=True, text=True, check=False)  # noqa: S603
        assert done.returncode == 0, done.stderr
        heavy = done.stdout.split()
        assert not heavy, f"importing {module} imports {', '.join(heavy)}; import them inside the hooks"

    def _fail_without_examples(self) -> None:
        raise AssertionError(f"{self.plugin} registers no example; each rule and each fusion should have one")

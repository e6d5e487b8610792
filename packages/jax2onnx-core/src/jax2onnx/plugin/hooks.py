"""Call the hooks of plugins: what one raises or returns wrongly is an error that names the plugin and the hook."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jax2onnx._accepted import shown
from jax2onnx._printable import storable
from jax2onnx.errors import Jax2OnnxError, PluginError, described_error

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir
    import pluggy

    from jax2onnx.legalise.targets import Target
    from jax2onnx.plugin.opening import Carried, Opened, Opening
    from jax2onnx.weights.stored import StoredArray

__all__ = ["Hooks"]

_Describe = Callable[[str], str]


class Hooks:
    """The hooks that an export calls, by their names.

    Args:
        manager: the plugins.
        describe: returns a plugin's name with its version.
        blame: is told the plugin that does something wrong, and what.
    """

    def __init__(
        self,
        manager: pluggy.PluginManager,
        describe: _Describe,
        blame: Callable[[str, str], None],
    ) -> None:
        self._blame = blame
        self._manager = manager
        self._describe = describe

    def jax2onnx_open(self, *, target: Any, opening: Opening) -> Opened | None:
        """Return what the first plugin makes of a framework object; None if it is nobody's.

        Raises:
            PluginError: a plugin raises an exception, or returns something else.
        """
        from jax2onnx.plugin.opening import Opened

        for plugin, result in self._results("jax2onnx_open", target=target, opening=opening):
            if result is None:
                continue
            if not isinstance(result, Opened):
                raise self._wrong(plugin, "jax2onnx_open", f"returns {shown(result)}", "an Opened or None")
            problem = _problem(result)
            if problem:
                raise self._wrong(plugin, "jax2onnx_open", f"returns an Opened whose {problem}")
            return result
        return None

    def jax2onnx_carry(self, *, target: Any) -> Carried | None:
        """Return what the first plugin makes of an argument of an ONNX function; None if it is nobody's.

        Raises:
            PluginError: a plugin raises an exception, or returns something else.
        """
        from jax2onnx.plugin.opening import Carried

        for plugin, result in self._results("jax2onnx_carry", target=target):
            if result is None:
                continue
            if not isinstance(result, Carried):
                raise self._wrong(plugin, "jax2onnx_carry", f"returns {shown(result)}", "a Carried or None")
            return result
        return None

    def jax2onnx_open_weights(self, *, path: Path) -> Mapping[str, StoredArray] | None:
        """Return the arrays that the first plugin finds in a file or folder; None if it is of nobody's format.

        Raises:
            PluginError: a plugin raises an exception, or returns something else.
        """
        from jax2onnx.weights.stored import StoredArray

        for plugin, result in self._results("jax2onnx_open_weights", path=path):
            if result is None:
                continue
            if not isinstance(result, Mapping) or not all(isinstance(a, StoredArray) for a in result.values()):
                expected = "a mapping of StoredArrays or None"
                raise self._wrong(plugin, "jax2onnx_open_weights", f"returns {shown(result)}", expected)
            return result
        return None

    def jax2onnx_finalize(self, *, model: ir.Model, target: Target | None) -> None:
        """Call the hooks by which plugins change the finished model.

        Raises:
            PluginError: a plugin raises an exception, returns something, or changes the numbers of a weight.
        """
        if not self.finalizers():
            return
        from jax2onnx.plugin.kept_weights import changed_weight, locked, weights_of

        known = set(model.graph.all_nodes())
        weights = weights_of(model)
        results = self._results("jax2onnx_finalize", model=model, target=target)
        while True:
            with locked(weights):
                answer = next(results, None)
            if answer is None:
                return
            plugin, result = answer
            if result is not None:
                raise self._wrong(plugin, "jax2onnx_finalize", f"returns {shown(result)}", "nothing")
            changed = changed_weight(weights, model)
            if changed is not None:
                what = f"changes the numbers of the initializer {shown(changed)}, which needs another name then"
                raise self._wrong(plugin, "jax2onnx_finalize", what)
            weights = weights_of(model)
            for node in set(model.graph.all_nodes()) - known:
                node.metadata_props["jax2onnx.plugin"] = plugin
                known.add(node)

    def finalizers(self) -> list[str]:
        """Return the plugins, with their versions, that change the finished model."""
        implementations = self._manager.hook.jax2onnx_finalize.get_hookimpls()
        return [self._describe(implementation.plugin_name) for implementation in implementations]

    def _results(self, hook: str, **arguments: Any) -> Iterator[tuple[str, Any]]:
        """Call one plugin after the other, as pluggy does; yield the name of each and what it returns."""
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            plugin = implementation.plugin_name
            with self._named(plugin, hook):
                result = implementation.function(*[arguments[name] for name in implementation.argnames])
            yield plugin, result

    @contextlib.contextmanager
    def _named(self, plugin: str, hook: str) -> Iterator[None]:
        """Raise what a hook raises as an error that names the plugin."""
        try:
            yield
        except (Jax2OnnxError, Warning, RecursionError, KeyboardInterrupt):
            raise  # ours, the user's own, and that of a program too deep
        except BaseException as error:  # the border to plugins: they may raise anything
            raise self._wrong(plugin, hook, f"raises {described_error(error)}") from error

    def _wrong(self, plugin: str, hook: str, what: str, expected: str = "") -> PluginError:
        instead = f" where it has to return {expected}" if expected else ""
        self._blame(plugin, f"{hook} {what}{instead}")
        return PluginError(
            f"the plugin {self._describe(plugin)}: {hook} {what}{instead}; report it to its authors, "
            f"or switch the plugin off: JAX2ONNX_DISABLE_PLUGINS={plugin}"
        )


def _problem(opened: Any) -> str:
    """Return what is wrong with an opened object, in words; empty if nothing is."""
    if not callable(opened.function):
        return f"function is {shown(opened.function)}, which cannot be called"
    if not isinstance(opened.name, str) or opened.name != storable(opened.name):
        return f"name is {shown(opened.name)}, no text without control characters"
    for field in ("params", "state"):
        arrays = getattr(opened, field)
        if not isinstance(arrays, Mapping):
            return f"{field} is {shown(arrays)}, no mapping"
        for name, array in arrays.items():
            if not isinstance(name, str) or name != storable(name):
                return f"{field} has the key {shown(name)}, no text without control characters"
            if not hasattr(array, "shape") or not hasattr(array, "dtype"):
                return f"{field} has {shown(array)} at {name!r}, which is no array"
    if opened.signature is not None and not callable(opened.signature):
        return f"signature is {shown(opened.signature)}, which cannot be called"
    if isinstance(opened.warnings, str) or not all(isinstance(text, str) for text in opened.warnings):
        return f"warnings are {shown(opened.warnings)}, no sequence of texts"
    return ""

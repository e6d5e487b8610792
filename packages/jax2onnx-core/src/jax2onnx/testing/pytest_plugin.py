"""pytest's part of the test kit: fixtures for plugins. It imports neither jax nor onnx."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from jax2onnx.plugin.loaded import LoadedPlugins
    from jax2onnx.testing.temporary import TemporaryPlugins

__all__ = ["isolated_plugins", "temporary_plugin"]


@pytest.fixture
def isolated_plugins() -> Iterator[Callable[..., LoadedPlugins]]:
    """Return a function that loads the plugins of the names given and no other: ``isolated_plugins("lax")``.

    Without names, none is loaded. After the test the plugins are those of before.
    """
    from jax2onnx.plugin.loader import isolated, load  # noqa: PLC0415 - the plugin of pytest is light

    with contextlib.ExitStack() as stack:

        def use(*names: str) -> LoadedPlugins:
            stack.enter_context(isolated(names))
            return load()

        yield use


@pytest.fixture
def temporary_plugin(tmp_path: Path) -> Iterator[TemporaryPlugins]:
    """Return a function that makes a plugin for this test: ``temporary_plugin("mine", source)``.

    The plugin is found as if it were installed, beside those that are. After the test it is gone.
    """
    from jax2onnx.testing.temporary import TemporaryPlugins  # noqa: PLC0415 - the plugin of pytest is light

    with TemporaryPlugins(tmp_path / "site") as make:
        yield make

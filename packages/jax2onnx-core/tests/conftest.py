"""Plugins made up for a test: written and found without installing, or those of ``support``."""

import pytest
import toy_framework

from jax2onnx.plugin import loader as plugins
from jax2onnx.testing.pytest_plugin import isolated_plugins, temporary_plugin

__all__ = ["fake_plugin", "isolated_plugins", "temporary_plugin", "toy"]


@pytest.fixture
def fake_plugin(temporary_plugin):
    """Return a function that makes a plugin ``name`` with the given module source and returns its metadata's folder."""
    return temporary_plugin


@pytest.fixture
def toy():
    """The plugin of the framework ``toy_framework`` is in use."""
    manager = plugins.load().manager
    manager.register(toy_framework, "toy")
    yield
    manager.unregister(name="toy")

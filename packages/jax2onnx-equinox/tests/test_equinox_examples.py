"""The plugin, and each of its examples, static and dynamic, with fusions and without."""

from jax2onnx.testing import PluginSuite


class TestEquinox(PluginSuite):
    plugin = "equinox"

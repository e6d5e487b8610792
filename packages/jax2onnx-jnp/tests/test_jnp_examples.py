"""The plugin, and every example of ``jax.numpy``, static and dynamic, with fusions and without."""

from jax2onnx.testing import PluginSuite


class TestJnp(PluginSuite):
    plugin = "jnp"

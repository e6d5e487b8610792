"""Every primitive that the installed jax can lower has a rule, or a refusal that says why."""

from __future__ import annotations

import subprocess
import sys

from jax2onnx.plugin import loader

# In a process of its own: other packages register primitives of theirs.
NAMES = """
from jax._src.interpreters import mlir
import jax.experimental.checkify, jax.experimental.multihost_utils, jax.experimental.pallas, jax.experimental.sparse
tables = [mlir._lowerings, *mlir._platform_specific_lowerings.values()]
print(*{primitive.name for table in tables for primitive in table})
"""


def test_every_primitive_is_known() -> None:
    done = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, check=True)
    names = set(done.stdout.split())
    assert len(names) > 250
    registry = loader.load().registry()
    rules = {entry.primitive for entry in registry.lowerings}
    needing_none = {
        name
        for name, facts in registry.facts.by_primitive.items()
        if facts.calls or facts.identity or facts.on_complex is not None or facts.on_keys is not None
    }
    assert names - rules - needing_none == set()

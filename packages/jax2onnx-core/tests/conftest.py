"""Plugins made up for a test: written and put on ``sys.path`` without installing, or those of ``support``."""

import sys
import textwrap

import pytest
import toy_framework

from jax2onnx.plugin import loader as plugins

HEADER = "from jax2onnx.plugin import hookimpl\n"


@pytest.fixture
def fake_plugin(tmp_path, monkeypatch):
    """Return a function that makes a plugin ``name`` with the given module source and returns its metadata's folder."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def make(name, source="", *, distribution=None, requires=()):
        distribution = distribution or f"dist-{name}"
        module = f"fake_{distribution.replace('-', '_')}_{name}"
        (site / f"{module}.py").write_text(HEADER + textwrap.dedent(source))
        info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", "Version: 1.0"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {r}" for r in requires)]) + "\n")
        with (info / "entry_points.txt").open("a") as file:
            if not file.tell():
                file.write("[jax2onnx]\n")
            file.write(f"{name} = {module}\n")
        return info

    plugins.reset()
    yield make
    plugins.reset()
    for name in set(sys.modules) - before:
        if name.startswith("fake_"):
            del sys.modules[name]


@pytest.fixture
def toy():
    """The plugin of the framework ``toy_framework`` is in use."""
    manager = plugins.load().manager
    manager.register(toy_framework, "toy")
    yield
    manager.unregister(name="toy")

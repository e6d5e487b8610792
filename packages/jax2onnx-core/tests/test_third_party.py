"""Plugins of others, as wheels, in an environment with the wheels of core and lax and nothing else of ours."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("third-party")  # one environment for the whole file

PACKAGES = Path(__file__).parents[2]

PRIMITIVE = """
    import jax
    from jax.extend.core import Primitive

    {name}_p = Primitive("{name}")
    {name}_p.def_abstract_eval(lambda x: x)
    {name}_p.def_impl(lambda x: 2 * x)


    def {name}(x):
        return {name}_p.bind(x)
"""

LOWERING = """
    from jax2onnx import hookimpl


    @hookimpl
    def jax2onnx_register_lowerings(registry):
        registry.add("{name}", lambda ctx, x: ctx.op.Add(x, x))
"""

EXPORT = """
    import sys

    import jax
    import numpy as np
    import onnxruntime
    from frobnicate import frobnicate
    from jax2onnx import to_onnx

    model = to_onnx(jax.jit(lambda x: frobnicate(x) + 1), [("B", 3)])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    print(*session.run(None, {"x": x})[0].ravel())
    print(*sorted(m for m in sys.modules if m in {"flax", "jax2onnx_jnp", "jax2onnx_nnx"}))
"""


def build(project, dist):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist), str(project)]
    subprocess.run(command, check=True, capture_output=True)


def write_plugin(folder, name, modules):
    package = folder / name / "src" / name
    package.mkdir(parents=True)
    for module, source in modules.items():
        (package / f"{module}.py").write_text(textwrap.dedent(source.format(name=name)))
    (folder / name / "pyproject.toml").write_text(
        textwrap.dedent(f"""
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "other-{name}"
        version = "2.5"
        dependencies = ["jax2onnx-core>=0.1,<0.2"]
        [project.entry-points.jax2onnx]
        {name} = "{name}.plugin"
        [tool.hatch.build.targets.wheel]
        packages = ["src/{name}"]
        """)
    )
    return folder / name


class Environment:
    """A virtual environment; commands run in an empty folder, without this process's Python paths."""

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        subprocess.run([sys.executable, "-m", "virtualenv", "-q", str(folder / "env")], check=True)

    def install(self, *what):
        python = str(self.bin / "python")
        pip = ["uv", "pip", "install", "--python", python] if shutil.which("uv") else [python, "-m", "pip", "install"]
        # Compiling all modules takes longer than the tests, which import a part of them.
        subprocess.run([*pip, "-q", "--no-compile", *map(str, what)], check=True)

    def run(self, command, *arguments, **variables):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "JAX2ONNX", "VIRTUAL_ENV"))}
        done = subprocess.run(
            [str(self.bin / command), *arguments],
            cwd=self.elsewhere,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("third-party")
    dist = folder / "dist"
    broken = "raise RuntimeError('this plugin is broken')\n"
    projects = [
        PACKAGES / "jax2onnx-core",
        PACKAGES / "jax2onnx-lax",
        write_plugin(folder, "frobnicate", {"__init__": PRIMITIVE, "plugin": LOWERING}),
        write_plugin(folder, "broken", {"__init__": "", "plugin": broken}),
        write_plugin(folder, "left", {"__init__": "", "plugin": LOWERING.replace("{name}", "twirl")}),
        write_plugin(folder, "right", {"__init__": "", "plugin": LOWERING.replace("{name}", "twirl")}),
    ]
    for project in projects:
        build(project, dist)
    made = Environment(folder)
    made.install(*dist.glob("*.whl"))
    return made


@pytest.fixture(scope="module")
def listed(environment):
    return json.loads(environment.run("jax2onnx", "list-plugins", "--verbose", "--json").stdout)


def test_all_are_listed(environment):
    lines = environment.run("jax2onnx", "list-plugins").stdout.splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["plugin", "status", "version", "distribution"],
        ["lax", "ok", "0.1.0", "jax2onnx-lax"],
        ["broken", "broken", "2.5", "other-broken"],
        ["frobnicate", "ok", "2.5", "other-frobnicate"],
        ["left", "ok", "2.5", "other-left"],
        ["right", "ok", "2.5", "other-right"],
    ]
    assert "RuntimeError: this plugin is broken" in lines[2]


def test_its_lowering_is_listed(listed):
    assert {"kind": "lowering", "name": "frobnicate", "plugin": "frobnicate", "min_opset": "18"} in listed["entries"]


def test_its_primitive_converts_and_the_broken_one_harms_nothing(environment):
    done = environment.run("python", "-c", textwrap.dedent(EXPORT))
    assert done.stdout.splitlines() == ["1.0 3.0 5.0 7.0 9.0 11.0", ""]
    assert "broken (other-broken 2.5): broken, RuntimeError: this plugin is broken" in done.stderr


def test_two_that_collide_are_refused_with_both_names(listed):
    status = {p["name"]: (p["status"], p["reason"]) for p in listed["plugins"]}
    for name in ("left", "right"):
        assert status[name][0] == "broken"
        assert "the lowering of 'twirl' is registered by both left and right" in status[name][1]
    assert status["lax"][0] == status["frobnicate"][0] == "ok"
    assert "twirl" not in {e["name"] for e in listed["entries"]}

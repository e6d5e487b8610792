"""Every check of this project: `nox -s NAME`, or plain `nox` for all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "oldest", "frameworks", "quickstart", "wheels", "new_plugin"]

ROOT = Path(__file__).parent
NAMES = ("core", "lax", "jnp", "nnx", "linen", "equinox", "examples")
PACKAGES = [ROOT / "packages" / f"jax2onnx-{name}" for name in NAMES]
EDITABLE = [arg for package in PACKAGES for arg in ("-e", str(package))]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))  # shaped like those of others
STRICT = {"JAX2ONNX_STRICT_PLUGINS": "1"}  # a plugin that is set aside fails the session
GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]


def _runs(name: str) -> bool:
    """Return whether an interpreter of this name is on PATH and starts (pyenv's shims may not)."""
    found = shutil.which(name)
    return found is not None and subprocess.run([found, "-V"], capture_output=True, check=False).returncode == 0


def _available(version: str) -> bool:
    """Return whether a Python of this version can be used, putting pyenv's on PATH if there is no other."""
    name = f"python{version}"
    if sys.version_info[:2] == tuple(int(part) for part in version.split(".")) or _runs(name):
        return True
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for folder in sorted(pyenv.glob(f"versions/{version}.*/bin"), reverse=True):
        if (folder / name).exists():
            os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
            return True
    return False


OLDEST = "3.11"
NEWEST = next((v for v in ("3.12", "3.13", "3.14") if _available(v)), "3.12")
DEFAULT = next((v for v in (OLDEST, NEWEST) if _available(v)), None)
if DEFAULT is None:
    raise SystemExit("jax2onnx needs Python 3.11 or newer, and none was found")


def _install(session: nox.Session, *further: str) -> None:
    session.install(*EDITABLE, *further)


def _seed_and_count(session: nox.Session, count: str) -> list[str]:
    """Return the seed and the number that follow ``--``; by default 0, and ``count``."""
    given = list(session.posargs)
    return given + ["0", count][len(given) :]


def _require_in_use(session: nox.Session, distribution: str) -> None:
    """End the session with an error unless all plugins of a distribution, at least one, are in use."""
    listed = session.run("jax2onnx", "list-plugins", "--json", silent=True)
    found = [one for one in json.loads(str(listed))["plugins"] if one["distribution"] == distribution]
    if not found or any(one["status"] != "ok" for one in found):
        session.error(f"{distribution} is not in use: {listed}")


def _pytest_every_case(session: nox.Session) -> None:
    """Run all tests, sampled in no way, and remember the counts for docs/robustness.md."""
    report = Path(session.create_tmp()) / "report.xml"
    _pytest(session, "--every-case", f"--junitxml={report}")
    if not session.posargs:
        session.run("python", "scripts/robustness.py", "--tests", session.name.partition("-")[0], str(report))


def _pytest(session: nox.Session, *further: str) -> None:
    env = {"JAX_PLATFORMS": "cpu", "PYTHONDONTWRITEBYTECODE": ""}  # many processes import the same modules
    versions = "import jax, platform as p; print('Python', p.python_version(), 'jax', jax.__version__)"
    session.run("python", "-c", versions, env=env)
    session.run("pytest", *(session.posargs or ["-n", "auto", "--dist", "loadgroup", *further]), env=env)


@nox.session(python=DEFAULT)
def quickstart(session: nox.Session) -> None:
    """Export the quick start's model, check it against JAX, leave jax_callable.onnx."""
    _install(session)
    session.run("python", "examples/quickstart.py", env=STRICT)


@nox.session(python=[OLDEST, NEWEST])
def tests(session: nox.Session) -> None:
    """Run the tests with the newest jax for the oldest Python, a part of them, and all with the newest jax of all."""
    # pip would make an environment for each editable package, and compile modules that no test imports.
    session.install(*GROUPS["build"])
    session.install("--no-build-isolation", "--no-compile", *EDITABLE, *GROUPS["test"])
    _pytest(session, *([] if _available(NEWEST) else ["--every-case"]))


@nox.session(python=OLDEST)
def oldest(session: nox.Session) -> None:
    """Run the tests with the oldest of every dependency: what a resolver takes for the lower bounds."""
    session.install("uv")
    python = ("--python", session.virtualenv.location)
    session.run("uv", "pip", "install", *python, "--resolution", "lowest-direct", *EDITABLE)
    session.install(*GROUPS["test"], *GROUPS["oldest"])  # these stay as they are, or the group is not the lower bounds
    _pytest_every_case(session)


@nox.session(python=[version for version in ("3.13", "3.14") if _available(version)])
def later(session: nox.Session) -> None:
    """Run the tests with later Pythons and the newest of every dependency."""
    _install(session, *GROUPS["test"])
    _pytest_every_case(session)


@nox.session(python=NEWEST)
def prereleases(session: nox.Session) -> None:
    """Run the tests with the pre-releases of the dependencies that the registry has."""
    _install(session, *GROUPS["test"])
    names = ("jax", "jaxlib", "flax", "equinox", "onnx", "onnx-ir", "onnxruntime", "numpy", "ml-dtypes")
    session.install("--upgrade", "--pre", *names)
    _pytest_every_case(session)


@nox.session(python=NEWEST)
def frameworks(session: nox.Session) -> None:
    """Run the tests of libraries that need no plugin: haiku, and keras on jax."""
    _install(session, *GROUPS["test"], *GROUPS["frameworks"])
    session.run("pytest", *(session.posargs or ["-q"]), "tests/frameworks", env={**STRICT, "JAX_PLATFORMS": "cpu"})


@nox.session(python=DEFAULT)
def lint(session: nox.Session) -> None:
    """Run ruff: rules and format."""
    session.install(*GROUPS["lint"])
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=[OLDEST, NEWEST])
def conformance(session: nox.Session) -> None:
    """Run JAX's own cases for lax with its oldest and its newest release; write docs/coverage/ (15 minutes each)."""
    _install(session, *(GROUPS["oldest"] if session.python == OLDEST else []))
    session.run("python", "scripts/conformance.py", *(session.posargs or ["--write"]))


@nox.session(python=NEWEST)
def programs(session: nox.Session) -> None:
    """Compare 2000 random programs with JAX (15 minutes); another seed and number: `nox -s programs -- 7 10000`."""
    _install(session, *GROUPS["test"])
    seed, count = _seed_and_count(session, "2000")
    session.run("python", "scripts/robustness.py", "--programs", seed, count, env=STRICT)


@nox.session(python=NEWEST)
def fuzz(session: nox.Session) -> None:
    """Compare random variants of all registered examples with JAX (an hour for 5000): `nox -s fuzz -- 7 5000`."""
    _install(session)
    seed, count = _seed_and_count(session, "1000")
    arguments = ("--seed", seed, "--count", count, "--jobs", str(os.cpu_count() or 1), "--write")
    session.run("python", "scripts/fuzz.py", *arguments, env=STRICT)


@nox.session(python=NEWEST)
def robustness(session: nox.Session) -> None:
    """Try what has gone wrong elsewhere: wrong calls, faults, hostile models, plugins; write docs/robustness.md."""
    _install(session, *GROUPS["test"])
    session.run("python", "scripts/robustness.py", *(session.posargs or ["--write"]))


@nox.session(python=NEWEST)
def coverage(session: nox.Session) -> None:
    """Run the tests and report which lines and branches of the packages they reach (45 minutes)."""
    _install(session, *GROUPS["test"], "pytest-cov")
    source = [f"--cov={package / 'src'}" for package in PACKAGES]
    report = ("--cov-branch", "--cov-report=json:coverage.json", "--cov-report=term:skip-covered")
    session.run("pytest", "-q", "-n", "auto", "--dist", "loadgroup", *source, *report, env={"JAX_PLATFORMS": "cpu"})
    session.run("python", "scripts/coverage_of_lines.py", "coverage.json", "--write")


@nox.session(python=NEWEST)
def mutants(session: nox.Session) -> None:
    """Change single places of the modules where a slip is a wrong number: do the tests notice? (an hour)."""
    clone = Path(session.create_tmp()) / "clone"  # the modules are changed in place
    shutil.rmtree(clone, ignore_errors=True)
    session.run("git", "clone", "-q", str(ROOT), str(clone), external=True)
    session.install(*(arg for name in NAMES for arg in ("-e", str(clone / "packages" / f"jax2onnx-{name}"))))
    session.install(*GROUPS["test"], "cosmic-ray")
    session.chdir(clone)
    session.run("python", "scripts/mutants.py", *(session.posargs or ["--write"]), env={"JAX_PLATFORMS": "cpu"})
    for written in (clone / "docs" / "coverage").glob("mutants.*"):
        shutil.copy(written, ROOT / "docs" / "coverage")


@nox.session(python=[OLDEST, NEWEST])
def dynamic(session: nox.Session) -> None:
    """Compare all programs of symbolic shapes with JAX, the heavy ones too, with its oldest and its newest release."""
    _install(session, *GROUPS["test"], *(GROUPS["oldest"] if session.python == OLDEST else []))
    names = ("shapes", "numbers", "programs")
    files = [f"packages/jax2onnx-lax/tests/test_dynamic_{name}.py" for name in names]
    files.append("packages/jax2onnx-examples/tests/test_empty.py")
    session.run("pytest", "-q", *files, env={**STRICT, "JAX_PLATFORMS": "cpu", "DYNAMIC": "all"})


@nox.session(python=NEWEST)
def libraries(session: nox.Session) -> None:
    """Run programs of libraries from PyPI, write docs/libraries.md (half an hour); some: `-- --package diffrax`."""
    _install(session, *GROUPS["libraries"])
    other = Path(session.virtualenv.location).with_name("libraries-transformers")
    python = str(other / "bin" / "python")
    if not Path(python).exists():
        session.run("python", "-m", "venv", str(other))
    session.run(python, "-m", "pip", "install", "-q", *EDITABLE, *GROUPS["libraries-transformers"], external=True)
    arguments = session.posargs or ["--write"]
    session.run("python", "scripts/libraries.py", "--separate", python, *arguments, env=STRICT)


@nox.session(python=NEWEST)
def checks(session: nox.Session) -> None:
    """Check right and wrong models with many seeds (15 minutes): the right ones pass, the wrong ones never do."""
    _install(session, *GROUPS["test"])
    env = {**STRICT, "JAX_PLATFORMS": "cpu", "CHECK_SEEDS": (session.posargs or ["40"])[0]}
    session.run("pytest", "-q", "packages/jax2onnx-lax/tests/test_check_rounding.py", env=env)


@nox.session(python=NEWEST)
def runtime(session: nox.Session) -> None:
    """Try onnxruntime's optimiser and the digits of its kernels, and memory; write docs/coverage/ (three minutes)."""
    _install(session)
    for name in ("optimiser", "kernels", "memory"):
        session.run("python", f"scripts/{name}_table.py", "--write", env={"JAX_PLATFORMS": "cpu"})


@nox.session(python=NEWEST)
def diagnose(session: nox.Session) -> None:
    """Plant faults and diagnose them, and right models; write docs/coverage/diagnose.md (half an hour)."""
    _install(session, *GROUPS["test"])
    env = {"JAX_PLATFORMS": "cpu"}
    session.run("python", "scripts/diagnose.py", *(session.posargs or ["--write"]), env=env)


@nox.session(python=NEWEST)
def reports(session: nox.Session) -> None:
    """Open reports in Chromium: no name of theirs is executed; with `-- --write` the pictures of docs/inspecting.md."""
    _install(session, *GROUPS["test"])
    session.run("python", "scripts/report_pictures.py", *session.posargs, env={"JAX_PLATFORMS": "cpu"})


@nox.session(python=NEWEST)
def inspection(session: nox.Session) -> None:
    """Do times by line add up, what does provenance cost? Write docs/coverage/inspection.md."""
    _install(session, *GROUPS["test"])
    session.run("python", "scripts/inspection.py", *(session.posargs or ["--write"]), env={"JAX_PLATFORMS": "cpu"})


@nox.session(python=NEWEST)
def runtimes(session: nox.Session) -> None:
    """Run the examples in other runtimes and through tools, write docs/coverage/runtimes.md; part: `-- --every 10`."""
    _install(session, "-e", str(ROOT / "plugins" / "jax2onnx-openvino"), *GROUPS["runtimes"])
    session.run("python", "scripts/runtimes/run.py", *session.posargs, env={**STRICT, "JAX_PLATFORMS": "cpu"})


@nox.session(python=NEWEST)
def scale(session: nox.Session) -> None:
    """Export very large programs, write docs/coverage/scale.md (ten minutes); one: `-- --only "cond in cond"`."""
    _install(session)
    session.run("python", "scripts/scale.py", *(session.posargs or ["--write"]), env={"JAX_PLATFORMS": "cpu"})


@nox.session(python=NEWEST)
def configurations(session: nox.Session) -> None:
    """Export the examples under every setting of JAX (hours; a part of them: `-- --every 50`), write the table."""
    _install(session, *GROUPS["test"])
    env = {**STRICT, "JAX_PLATFORMS": "cpu"}
    session.run("python", "scripts/configurations.py", "--write", *session.posargs, env=env)


@nox.session(python=NEWEST)
def opsets(session: nox.Session) -> None:
    """Export the examples at opsets from 13 to the newest, compare, write a table (an hour); some: `-- --every 10`."""
    _install(session)
    env = {**STRICT, "JAX_PLATFORMS": "cpu"}
    session.run("python", "scripts/opsets.py", *(session.posargs or ["--write"]), env=env)


@nox.session(python=NEWEST)
def shipping(session: nox.Session) -> None:
    """Ship a model to each destination that runs here, write the table of docs/guides/shipping.md (ten minutes)."""
    _install(session, "-e", str(ROOT / "plugins" / "jax2onnx-openvino"), "sympy")
    home = ("--home", session.create_tmp())
    session.run("python", "scripts/shipping.py", *home, *(session.posargs or ["--write"]), env={"JAX_PLATFORMS": "cpu"})


@nox.session(python=OLDEST)
def opset_readers(session: nox.Session) -> None:
    """Try which version of a runtime reads which opset, write the table of docs/opsets.md (ten minutes)."""
    _install(session)
    session.run("python", "scripts/opset_readers.py", *(session.posargs or ["--write"]), env={"JAX_PLATFORMS": "cpu"})


@nox.session(python=NEWEST)
def bench(session: nox.Session) -> None:
    """Measure against JAX and jax2onnx 0.17.1, write docs/benchmarks.md (half an hour); a part: `-- --models mlp`."""
    _install(session, *GROUPS["bench"])
    theirs = Path(session.virtualenv.location).with_name("bench-theirs")
    python = str(theirs / "bin" / "python")
    if not Path(python).exists():
        session.run("python", "-m", "venv", str(theirs))
    session.run(python, "-m", "pip", "install", "-q", *GROUPS["bench"], *GROUPS["bench-theirs"], external=True)
    session.run("python", "benchmarks/bench.py", "--theirs", python, *(session.posargs or ["--write"]))
    if not session.posargs:
        quantised(session)
        steps(session)


@nox.session(python=NEWEST)
def quantised(session: nox.Session) -> None:
    """Measure quantised models and scans over layers, and write their part of docs/benchmarks.md (3 minutes)."""
    _install(session, *GROUPS["bench"], "qwix==0.1.8")
    session.run("python", "benchmarks/quantised.py", *(session.posargs or ["--write"]))


@nox.session(python=NEWEST)
def steps(session: nox.Session) -> None:
    """Measure programs of many small steps, write their part of docs/benchmarks.md (20 minutes); some: `-- neuron`."""
    _install(session, *GROUPS["libraries"])
    session.run("python", "benchmarks/steps.py", *(session.posargs or ["--write"]))
    if not session.posargs:
        session.run("python", "benchmarks/forms.py", "--write")


@nox.session(python=NEWEST)
def graphs(session: nox.Session) -> None:
    """Draw the graphs of docs/graphs.md anew."""
    _install(session, "graphviz-pure")
    session.run("python", "scripts/graphs.py", env=STRICT)


@nox.session(python=NEWEST)
def gallery(session: nox.Session) -> None:
    """Export, check and draw the example models for docs/gallery.md (four minutes)."""
    _install(session, "graphviz-pure")
    session.run("python", "scripts/gallery.py", env={**STRICT, "JAX_PLATFORMS": "cpu"})


@nox.session(python=NEWEST)
def docs(session: nox.Session) -> None:
    """Build the docs site into site/; warnings are errors, links are checked, a browser looks at it if there is one."""
    session.install(*GROUPS["docs"])
    session.run("python", "scripts/site.py", "site")
    session.run("python", "scripts/site_browser.py", "site")


@nox.session(python=NEWEST)
def types(session: nox.Session) -> None:
    """Run mypy, strict."""
    _install(session, *GROUPS["types"])
    session.run("mypy")


@nox.session(python=DEFAULT, reuse_venv=False)
def wheels(session: nox.Session) -> None:
    """Build all wheels; two of them, by name, are enough for the quick start, from another folder."""
    dist = Path(tempfile.mkdtemp())  # a folder never seen before: uv caches by path what it finds in one
    session.install("build", "hatchling")
    for package in PACKAGES:
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(dist), str(package), silent=True)
    session.run("python", "-c", "import importlib.util as u; assert u.find_spec('jax2onnx') is None")
    session.log(", ".join(sorted(wheel.name for wheel in dist.glob("*.whl"))))
    session.install("--find-links", str(dist), "jax2onnx-core", "jax2onnx-nnx")
    elsewhere = Path(session.create_tmp()) / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    shutil.copy(ROOT / "examples" / "quickstart.py", elsewhere)
    session.chdir(elsewhere)
    session.run("python", "quickstart.py", env=STRICT)
    session.run("jax2onnx", "list-plugins")
    session.run("jax2onnx", "inspect", "jax_callable.onnx")
    shutil.rmtree(dist)


@nox.session(python=NEWEST, reuse_venv=False)
def plugins(session: nox.Session) -> None:
    """Build each plugin of plugins/, install its wheel beside ours, check its types, run its tests, list it."""
    dist = Path(tempfile.mkdtemp())
    session.install("build", "hatchling", *GROUPS["types"])
    build = ("python", "-m", "build", "--no-isolation", "--wheel", "--outdir", str(dist))
    for package in [*PACKAGES, *PLUGINS]:
        session.run(*build, str(package), silent=True)
    session.chdir(session.create_tmp())
    for plugin in PLUGINS:
        session.install("--find-links", str(dist), f"{plugin.name}[test]")
        session.run("mypy", "--config-file", str(ROOT / "pyproject.toml"), str(plugin / "src"))
        shutil.rmtree("tests", ignore_errors=True)
        shutil.copytree(plugin / "tests", "tests")
        session.run("pytest", "-q", "-c", str(plugin / "pyproject.toml"), "--rootdir=.", "tests", env=STRICT)
        _require_in_use(session, plugin.name)
    shutil.rmtree(dist)


@nox.session(python=NEWEST)
def decode(session: nox.Session) -> None:
    """Measure a token of a decoder in JAX and as models; write docs/coverage/decoding.md; `--builder` needs 5 GB."""
    _install(session, "-e", str(ROOT / "plugins" / "jax2onnx-ortgenai"))
    if "--builder" in session.posargs:
        session.install("onnxruntime-genai", "safetensors", "tokenizers", "torch", "transformers")
    session.run("python", "benchmarks/decode.py", *(session.posargs or ["--write"]))


@nox.session(python=NEWEST)
def generation(session: nox.Session) -> None:
    """Let decoders of gemma, keras-hub and others make tokens; write docs/coverage/generation.md."""
    plugin = str(ROOT / "plugins" / "jax2onnx-ortgenai")
    _install(session, "-e", plugin, *GROUPS["generation"])
    session.run("python", "scripts/generation.py", env={"KERAS_BACKEND": "jax"})


@nox.session(python=DEFAULT)
def release(session: nox.Session) -> None:
    """Build all distributions twice, byte by byte the same, check and install them; dist/ has an SBOM and digests."""
    session.install(*GROUPS["release"])
    dist, again = ROOT / "dist", Path(session.create_tmp()) / "again"
    when = session.run("git", "log", "-1", "--format=%ct", external=True, silent=True)
    env = {"SOURCE_DATE_EPOCH": str(when).strip()}
    for folder in (dist, again):
        shutil.rmtree(folder, ignore_errors=True)
        for package in [*PACKAGES, *PLUGINS]:
            build = ("python", "-m", "build", "--no-isolation", "--outdir", str(folder), str(package))
            session.run(*build, env=env, silent=True)
    session.run("python", "scripts/release.py", "same", str(again), str(dist))
    session.run("python", "scripts/release.py", "check", str(dist))
    session.run("twine", "check", "--strict", *(str(path) for path in sorted(dist.glob("jax2onnx*"))))
    clean = Path(tempfile.mkdtemp()) / "clean"
    python = str(clean / "bin" / "python")
    session.run("python", "-m", "venv", str(clean))
    pip = (python, "-m", "pip", "--disable-pip-version-check", "-q")
    session.run(*pip, "uninstall", "-y", "setuptools", external=True)  # venv brings it before Python 3.12
    session.run(*pip, "install", *(str(path) for path in sorted(dist.glob("*.whl"))), external=True)
    session.run(*pip, "check", external=True)
    shutil.copy(ROOT / "examples" / "quickstart.py", clean)
    with session.chdir(clean):
        session.run(python, "quickstart.py", external=True, env=STRICT)
    session.run(python, "-m", "jax2onnx", "list-plugins", external=True, env=STRICT)
    session.run(*pip, "uninstall", "-y", "pip", external=True)  # no part of what is released
    sbom = ("--output-reproducible", "-o", str(dist / "sbom.cdx.json"))
    session.run("cyclonedx-py", "environment", *sbom, python, env=env)
    for command in ("sbom", "sums"):
        session.run("python", "scripts/release.py", command, str(dist))
    shutil.rmtree(clean.parent)


@nox.session(python=DEFAULT, reuse_venv=False)
def new_plugin(session: nox.Session) -> None:
    """Write a plugin by `new-plugin`, install its wheel beside those of core and lax, run its tests, list it."""
    dist = Path(tempfile.mkdtemp())
    session.install("build", "hatchling")
    build = ("python", "-m", "build", "--no-isolation", "--wheel", "--outdir", str(dist))
    for package in PACKAGES[:2]:
        session.run(*build, str(package), silent=True)
    session.install("--find-links", str(dist), "jax2onnx-core", "jax2onnx-lax")
    session.chdir(session.create_tmp())
    shutil.rmtree("acme-ops", ignore_errors=True)
    session.run("jax2onnx", "new-plugin", "acme-ops")
    session.run(*build, "acme-ops", silent=True)
    session.install("--find-links", str(dist), "acme-ops[test]")
    session.run("pytest", "-q", "acme-ops", env={**STRICT, "JAX_PLATFORMS": "cpu"})
    _require_in_use(session, "acme-ops")
    shutil.rmtree(dist)


@nox.session(python=NEWEST)
def precision(session: nox.Session) -> None:
    """Measure float16 and bfloat16 models beside float32 ones, write docs/coverage/precision.md (three minutes)."""
    _install(session)
    session.run("python", "scripts/precision_table.py", *(session.posargs or ["--write"]), env={"JAX_PLATFORMS": "cpu"})


@nox.session(python=NEWEST)
def browser(session: nox.Session) -> None:
    """Drive the pages of examples/browser in Chromium, compare their numbers with JAX's (two minutes); needs npm."""
    _install(session, *GROUPS["browser"])
    session.run("python", "scripts/browser_pages.py", *session.posargs, env={"JAX_PLATFORMS": "cpu"})

"""Which tests of a parallel run stay together, which of them an older Python leaves out, and what they leave behind."""  # noqa: INP001

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from jax2onnx.testing import Case, Trial

OLDER = sys.version_info < (3, 12)
"""This Python has no newest jax: unless it is told otherwise, it runs a part of the tests."""
MANY = 3
"""A parametrised test of at least so many cases is a family of which an older Python runs a part."""
EACH = 13
"""The part: one case of so many. Few parameters have 13 arguments, or 26: each argument has its turn."""
ONCE = (
    "core/tests/cli/",
    "core/tests/saving/",
    "core/tests/test_carriers.py",
    "core/tests/test_comparing.py",
    "core/tests/test_costs.py",
    "core/tests/test_drawing.py",
    "core/tests/test_hostile_models.py",
    "core/tests/test_import.py",
    "core/tests/test_layout.py",
    "core/tests/test_legalise.py",
    "core/tests/test_new_plugin.py",
    "core/tests/test_operators.py",
    "core/tests/test_options.py",
    "core/tests/test_ort_workarounds.py",
    "core/tests/test_picture.py",
    "core/tests/test_portability.py",
    "core/tests/test_third_party.py",
    "core/tests/tidy/",
    "examples/tests/test_bench.py",
    "examples/tests/test_command.py",
    "examples/tests/test_docs.py",
    "examples/tests/test_graphs.py",
    "examples/tests/test_release.py",
)
"""What an older Python leaves out: tests of files, of graphs, of pages, of the command line and of other processes.

What they test is hardly another with an older jax or Python: the newest ones are enough.
"""


STAYING = tuple(Path(folder).resolve() for folder in (sys.prefix, sys.base_prefix, Path(__file__).parent))
"""The folders whose modules stay loaded after a test: those of what is installed, and of these packages."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option to run all."""
    parser.addoption("--every-case", action="store_true", help="run all tests and all their cases with any Python")


def pytest_configure(config: pytest.Config) -> None:
    """Make JAX compile a program once a process: without jit it compiles a `scan` anew each time that it is called.

    The folder is of this process alone: JAX writes its files in place, and another process could read half of one.
    ``JAX_COMPILATION_CACHE_DIR`` names one that stays.
    """
    if jax.config.jax_compilation_cache_dir:
        return
    folder = tempfile.TemporaryDirectory(prefix="jax2onnx-tests-")
    config.add_cleanup(folder.cleanup)
    jax.config.update("jax_compilation_cache_dir", folder.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True)
def _modules_of_one_test() -> Iterator[None]:
    """Forget what a test loads from a folder of its own or from scripts: another test has modules of the same name."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        names: dict[str, object] = object.__getattribute__(sys.modules[name], "__dict__")  # a lazy module stays one
        file = names.get("__file__")
        if isinstance(file, str) and not any(Path(file).resolve().is_relative_to(folder) for folder in STAYING):
            del sys.modules[name]


def pytest_report_header(config: pytest.Config) -> str | None:
    """Return a line that says what is left out."""
    if OLDER and not config.getoption("every_case"):
        return f"Python before 3.12: a part of the tests, each {EACH}th case of most; --every-case runs all"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the cases of one example in one process, where JAX has compiled what they share; leave out what is said."""
    for item in items:
        group = _group(item)
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
    named = any(".py" in argument for argument in config.args)  # who names a file or a test gets all of it
    if OLDER and not config.getoption("every_case") and not named:
        left = _left_out(items)
        config.hook.pytest_deselected(items=left)
        gone = set(left)
        items[:] = [item for item in items if item not in gone]


def _group(item: pytest.Item) -> str:
    """Return what a test has in common with others that JAX compiles once; empty for a test by itself."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    case, trial = params.get("case"), params.get("trial")
    if isinstance(case, Case):
        return f"{case.example.context}.{case.example.name}"
    return trial.group if isinstance(trial, Trial) else ""


def _left_out(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests that run once, and of each family all but a part; those of one group stay together."""
    once = [item for item in items if any(f"jax2onnx-{place}" in item.nodeid for place in ONCE)]
    gone = set(once)
    families: dict[str, dict[str, list[pytest.Item]]] = {}
    for item in items:
        name, bracket, case = item.nodeid.partition("[")
        if bracket and item not in gone:
            families.setdefault(name, {}).setdefault(_group(item) or case, []).append(item)
    large = [list(cases.values()) for cases in families.values() if len(cases) >= MANY]
    return once + [item for cases in large for number, same in enumerate(cases) if number % EACH for item in same]

"""Which tests of a parallel run stay together, and which of them an older Python leaves to the newest one."""  # noqa: INP001

from __future__ import annotations

import sys
import tempfile

import jax
import pytest

from jax2onnx.testing import Case, Trial

OLDER = sys.version_info < (3, 12)
"""This Python has no newest jax."""
MANY = 12
"""A parametrised test of at least so many cases is a family of which an older Python runs a part."""
EACH = 3
"""The part: each third case."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option to run all."""
    parser.addoption("--every-case", action="store_true", help="run all cases of large families with any Python")


def pytest_configure(config: pytest.Config) -> None:
    """Let JAX compile a program once a process: without jit it compiles a `scan` anew each time that it is called.

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


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what is left out."""
    if OLDER and not config.getoption("every_case"):
        return f"Python before 3.12: each third case of families of {MANY} and more; --every-case runs all"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the cases of one example in one process, where JAX has compiled what they share; leave out what is said."""
    for item in items:
        group = _group(item)
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
    if OLDER and not config.getoption("every_case") and not any("::" in argument for argument in config.args):
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
    """Return two thirds of the cases of each large family; those of one group stay together."""
    families: dict[str, dict[str, list[pytest.Item]]] = {}
    for item in items:
        name, bracket, case = item.nodeid.partition("[")
        if bracket:
            families.setdefault(name, {}).setdefault(_group(item) or case, []).append(item)
    large = [list(cases.values()) for cases in families.values() if len(cases) >= MANY]
    return [item for cases in large for number, same in enumerate(cases) if number % EACH for item in same]

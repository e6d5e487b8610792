"""The part of the tests that an older Python runs: the same in each run, of every family, of all its arguments."""

import importlib.util
import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest

PACKAGES = Path(__file__).parents[2]


class Item:
    """A test, of which the choice reads the id."""

    def __init__(self, nodeid):
        self.nodeid = nodeid


def _conftest():
    spec = importlib.util.spec_from_file_location("choice_of_tests", PACKAGES / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONFTEST = _conftest()
EACH = CONFTEST.EACH


def _run(tests, *arguments, every_case=False):
    """Return the ids of the tests that an older Python runs."""
    gone = []
    hook = SimpleNamespace(pytest_deselected=lambda items: gone.extend(items))  # noqa: PLW0108 - pytest names it
    config = SimpleNamespace(args=list(arguments), getoption=lambda _: every_case, hook=hook)
    items = [Item(test) for test in tests]
    CONFTEST.OLDER = True
    CONFTEST.pytest_collection_modifyitems(config, items)
    run = [item.nodeid for item in items]
    assert sorted(run + [item.nodeid for item in gone]) == sorted(tests)
    return run


def _family(name, *sizes):
    cases = itertools.product(*map(range, sizes))
    return [f"packages/jax2onnx-core/tests/test_dims.py::{name}[{'-'.join(map(str, case))}]" for case in cases]


@pytest.mark.parametrize(("count", "part"), [(2, 2), (3, 1), (EACH, 1), (EACH + 1, 2), (9 * EACH - 3, 9)])
def test_of_each_family_a_part_runs(count, part):
    family = _family("test_one", count)
    run = _run(["packages/jax2onnx-core/tests/test_dims.py::test_alone", *family])
    assert run[0].endswith("test_alone")
    assert len(run) == 1 + part
    assert run == _run(["packages/jax2onnx-core/tests/test_dims.py::test_alone", *family])


def test_the_part_has_every_argument():
    run = _run(_family("test_one", EACH, 6))
    assert {name.rpartition("-")[2] for name in run} == {f"{last}]" for last in range(6)}


@pytest.mark.parametrize("how", [{"every_case": True}, {"arguments": ("packages/jax2onnx-core/tests/test_dims.py",)}])
def test_all_are_run_on_request(how):
    tests = [*_family("test_one", 60), "packages/jax2onnx-core/tests/test_layout.py::test_rooms"]
    assert _run(tests, *how.get("arguments", ()), every_case=how.get("every_case", False)) == tests


@pytest.mark.parametrize("place", CONFTEST.ONCE)
def test_what_runs_once_is_there_and_is_left_out(place):
    path = PACKAGES / f"jax2onnx-{place}"
    assert path.is_dir() if place.endswith("/") else path.is_file()
    file = f"packages/jax2onnx-{place}" + ("test_one.py" if place.endswith("/") else "")
    once = [f"{file}::test_alone", *(f"{file}::test_family[{case}]" for case in range(9))]
    assert _run([*once, *_family("test_two", 2)]) == _family("test_two", 2)

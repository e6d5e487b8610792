"""The table of functions with another result at size 0 is true: its rows are run anew, and so are other functions."""

import importlib.util
import sys
from pathlib import Path

import jax
import pytest
from releases import installed

ROOT = Path(__file__).parents[3]


def _script():
    spec = importlib.util.spec_from_file_location("size_zero", ROOT / "scripts" / "size_zero.py")
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _script()
LISTED = SCRIPT.listed()
KINDS = {"other result": "another result", "fails": "the runtime refuses"}
OTHERS = [SCRIPT.Call(name, *call) for name, call in [*SCRIPT.CALLS.items()][::3]]

pytestmark = [
    pytest.mark.skipif(installed(jax, "<0.12"), reason="the table was made with the newest jax"),
    pytest.mark.filterwarnings("ignore"),
]


def test_the_page_has_the_table():
    assert LISTED, "run python scripts/size_zero.py"


@pytest.mark.parametrize("call", LISTED, ids=str)
def test_what_is_listed_differs(call):
    kind, _ = SCRIPT.outcome(call)
    assert LISTED[call].startswith(KINDS.get(kind, "nothing")), f"{call}: {kind}; run python scripts/size_zero.py"


@pytest.mark.parametrize("call", [call for call in OTHERS if call not in LISTED], ids=str)
def test_what_is_not_listed_has_the_result_of_jax(call):
    kind, detail = SCRIPT.outcome(call)
    assert kind not in KINDS, f"{detail}; run python scripts/size_zero.py"

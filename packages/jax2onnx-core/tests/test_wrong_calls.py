"""Wrong calls: none is accepted silently, none ends in another library's error, and each remedy leads to success."""

import contextlib
import functools
import shutil
import tomllib
from pathlib import Path

import jax
import pytest
import wrong_runner

TABLE = Path(__file__).parent / "support" / "wrong_calls.toml"
CALLS = tomllib.loads(TABLE.read_text(encoding="utf-8"))["call"]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Work in a folder with the files that the calls name; return the names of Python calls."""
    folder = tmp_path_factory.mktemp("calls")
    names = wrong_runner.prepare(folder)
    with contextlib.chdir(folder):
        yield names
    wrong_runner.forget_modules(folder)


@pytest.fixture(scope="module")
def run(names):
    """Return a function that makes a call, each once."""
    return functools.cache(lambda text: wrong_runner.run(text, names))


def files():
    return {path.name for path in Path().iterdir()} - {"__pycache__"}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call["call"][:60])
def test_a_wrong_call_says_what_is_wrong_where_and_what_to_do(call, run):
    before = files()
    settings = jax.config.values.copy()
    outcome = run(call["call"])
    assert outcome.error == call["error"], outcome
    assert not outcome.is_raw, outcome
    for part in ("where", "what", "remedy"):
        assert call[part], part
        assert call[part] in outcome.message, outcome.message
    assert files() == before
    assert jax.config.values == settings
    instead = run(call["instead"])
    assert not instead.error, instead
    for path in map(Path, files() - before):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_the_table_is_long_and_has_every_call_once():
    assert len({call["call"] for call in CALLS}) == len(CALLS) >= 310
    assert sum(call["call"].startswith(wrong_runner.COMMAND) for call in CALLS) >= 90

"""Tests may write modules of one name: none gets that of another."""

import importlib

import pytest


@pytest.mark.xdist_group("modules of one name")
@pytest.mark.parametrize("number", [0, 1])
def test_a_module_is_forgotten_after_its_test(number, tmp_path, monkeypatch):
    (tmp_path / "of_one_test.py").write_text(f"NUMBER = {number}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert number == importlib.import_module("of_one_test").NUMBER

"""Names and domains of ONNX functions: any that ONNX has; none that makes a runtime do something else."""

from __future__ import annotations

from typing import Any

import pytest

from jax2onnx import check, onnx_function, to_onnx
from jax2onnx.errors import InputSpecError
from jax2onnx.legalise.ort_workarounds import CONFUSED_NAMES

SPECS = [(2, 3)]


@pytest.mark.parametrize("name", ["a|b", "a%7C|1", "a b", "a.b/c", "ä", "1", 'a"b', "x" * 10_000, "Relu", "If"])
@pytest.mark.parametrize("option", ["name", "namespace"])
def test_names_are_kept(name: str, option: str) -> None:
    mark: Any = onnx_function(**{"name": "scaled", "namespace": "mine", option: name})
    function = mark(lambda x: 3 * x)
    model = to_onnx(function, SPECS)
    check(model, function, SPECS)
    (defined,) = model.functions
    assert (defined.name if option == "name" else defined.domain) == name


@pytest.mark.parametrize("name", sorted(CONFUSED_NAMES))
def test_names_on_which_onnxruntime_crashes_get_a_number(name: str) -> None:
    function = onnx_function(lambda x, y: 3 * x + y, name=name)
    model = to_onnx(lambda x: function(x, x) + function(x + 1, 2 * x), SPECS)
    check(model, lambda x: function(x, x) + function(x + 1, 2 * x), SPECS)
    assert [defined.name for defined in model.functions] == [f"{name}_1"]


@pytest.mark.parametrize("namespace", ["ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.x"])
def test_domains_of_runtimes_are_refused(namespace: str) -> None:
    with pytest.raises(InputSpecError, match=r"is a domain of runtimes.*write the name of your project"):
        onnx_function(namespace=namespace)


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "a\0", 3])
@pytest.mark.parametrize("option", ["name", "namespace"])
def test_what_is_no_name_is_refused(name: Any, option: str) -> None:
    with pytest.raises(InputSpecError, match=f"^{option}: "):
        onnx_function(**{option: name})


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        (lambda x: {"a.b": x, "a": {"b": x + 1}}, ["a.b", "a.b_1"]),
        (lambda x: {"0": x, "output_0": x + 1}, ["output_0", "output_0_1"]),
        (lambda x: {"": {"a": x}, "a": x + 1}, ["a", "a_1"]),
    ],
)
def test_paths_that_are_written_alike_name_different_outputs(tree: Any, names: list[str]) -> None:
    model = to_onnx(tree, SPECS)
    assert len({output.name for output in model.graph.output}) == len(names)
    check(model, tree, SPECS)

"""``check`` in another runtime than onnxruntime: anything that loads a model and returns arrays."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import pytest
from onnx.reference import ReferenceEvaluator

from jax2onnx import check, to_onnx
from jax2onnx.errors import CheckError, InputSpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

SPECS = ["float32[B,4]"]


class Reference:
    """onnx's own evaluator, which may be wrong by a summand."""

    name = "reference"
    wrong = 0.0

    def __init__(self, model: onnx.ModelProto) -> None:
        self._evaluator = ReferenceEvaluator(model)
        self.input_names = list(self._evaluator.input_names)
        self.output_names = list(self._evaluator.output_names)

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        results = self._evaluator.run(None, dict(zip(self.input_names, arrays, strict=True)))
        return [result + self.wrong for result in results]


class Wrong(Reference):
    wrong = 0.1


def refuses(model: onnx.ModelProto) -> Reference:
    raise RuntimeError(f"no {model.graph.node[0].op_type} here")


def program(x: jax.Array) -> jax.Array:
    return jnp.tanh(x) * 2


def fails(error: BaseException) -> Any:
    raise error


FORMS: dict[str, tuple[dict[str, Any], str]] = {
    "no_outputs": ({"output_names": None}, "return an object as jax2onnx.testing.Runner"),
    "no_run": ({"run": 3}, "return an object as jax2onnx.testing.Runner"),
    "a_number_as_name": ({"name": 3}, "return an object as jax2onnx.testing.Runner"),
    "nothing_returned": ({"run": lambda _: None}, "run returns None; return a list of numpy arrays"),
    "text_returned": ({"run": lambda _: "ab"}, "return a list of numpy arrays"),
    "exits": ({"run": lambda _: fails(SystemExit(3))}, "run fails: SystemExit: 3; mend it"),
    "key": ({"run": lambda _: fails(KeyError("x"))}, "run fails: KeyError: 'x'; mend it"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_runtime_of_another_form(name: str) -> None:
    changed, says = FORMS[name]
    right = {"name": "mine", "input_names": ["x"], "output_names": ["output"], "run": lambda arrays: [arrays[0]]}
    with pytest.raises((CheckError, InputSpecError), match=re.escape(says)):
        check(to_onnx(program, SPECS), program, SPECS, runtime=lambda _: SimpleNamespace(**{**right, **changed}))


def test_another_runtime() -> None:
    model = to_onnx(program, SPECS)
    report = check(model, program, SPECS, runtime=Reference, kinds=["ordinary"])
    assert str(report).startswith("agrees with JAX in reference\n")
    with pytest.raises(CheckError, match="disagrees"):
        check(model, program, SPECS, runtime=Wrong, kinds=["ordinary"])
    with pytest.raises(CheckError, match="the runtime cannot load the model: no Tanh here"):
        check(model, program, SPECS, runtime=refuses)
    wrong: Any = "openvino"
    with pytest.raises(InputSpecError, match="runtime"):
        check(model, program, SPECS, runtime=wrong)

"""Where there is not enough memory, the error says so, and the process stays usable."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.message import DecodeError
from onnxruntime.capi import onnxruntime_pybind11_state as native

from jax2onnx import allclose, check, diagnose, save_onnx, show, to_onnx
from jax2onnx.checking.runtime import Runner
from jax2onnx.cli.main import main
from jax2onnx.errors import CheckError, InputSpecError, OutOfMemoryError
from jax2onnx.inspect.summary import summarise

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = np.ones((1024, 512), np.float32)


def fails(*_: object, **__: object) -> None:
    raise MemoryError("Unable to allocate 64.0 MiB")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (np, "multiply"),  # in the user's program
        ("jax2onnx.fusion.fuse", "live"),
        ("jax2onnx.program.flatten", "border_variables"),
        ("jax2onnx.output.verify", "without_weights"),
        ("jax2onnx.output.proto", "_require_memory"),
    ],
)
def test_whoever_meets_the_lack_of_memory(owner: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(x: object) -> object:
        return x @ np.multiply(WEIGHTS, 2)

    if isinstance(owner, str):
        monkeypatch.setattr(f"{owner}.{name}", fails)
    else:
        monkeypatch.setattr(owner, name, fails)
    with pytest.raises(OutOfMemoryError, match="not enough memory: Unable to allocate"):
        to_onnx(program, [("B", 1024)])
    monkeypatch.undo()
    to_onnx(program, [("B", 1024)])


@pytest.mark.parametrize("function", [check, allclose, diagnose])
@pytest.mark.parametrize(
    "owner",
    [
        "jax2onnx.checking.runtime.Runner.__init__",
        "jax2onnx.checking.comparison.draw",
        "jax2onnx.checking.reference.Reference.evaluate",
    ],
)
def test_a_comparison_without_memory(function: Any, owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(x: object) -> object:
        return x @ WEIGHTS

    model = to_onnx(program, [("B", 1024)])
    monkeypatch.setattr(owner, fails)
    with pytest.raises(OutOfMemoryError, match="not enough memory"):
        function(model, program, [("B", 1024)])


@pytest.mark.parametrize("error", [MemoryError(), DecodeError("Error parsing message: Arena alloc failed")])
def test_a_model_that_is_larger_than_the_memory(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise error

    save_onnx(jnp.negative, [(3,)], tmp_path / "m.onnx")
    monkeypatch.setattr(onnx, "load", load)
    with pytest.raises(OutOfMemoryError, match=r"m\.onnx' cannot be read"):
        summarise(tmp_path / "m.onnx")


@pytest.mark.parametrize("stage", ["program", "final"])
def test_a_text_for_which_there_is_no_memory(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jax2onnx.api.describe", fails)
    monkeypatch.setattr("onnx_ir.Model.__str__", fails)
    with pytest.raises(OutOfMemoryError, match="not enough memory"):
        show(jnp.negative, [(3,)], stage)


class LargeMapping(dict[str, int]):
    """A mapping whose keys are more than the memory."""

    def __iter__(self) -> Any:
        fails()


LargeMapping.__name__ = "dict"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (LargeMapping(a=1), "<dict instance>"),
        ([LargeMapping(a=1)], "<list instance>"),
        (10**5000, "<int instance"),
    ],
    ids=["mapping", "mapping in a list", "number"],
)
def test_a_value_that_cannot_be_written_into_a_message(value: Any, written: str) -> None:
    with pytest.raises(InputSpecError, match=f"guards: expected .*, got {written}.*; ") as caught:
        to_onnx(jnp.negative, [(3,)], guards=value)
    assert len(str(caught.value)) < 300


def test_a_diagnosis_blames_nobody_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = to_onnx(jnp.negative, [(3,)])
    first = Runner.__init__
    calls = []

    def once(self: Runner, *args: Any, **kwargs: Any) -> None:
        calls.append(args)
        if len(calls) == 1:
            raise MemoryError  # as Python says it: without a word
        first(self, *args, **kwargs)

    monkeypatch.setattr(Runner, "__init__", once)
    with pytest.raises(OutOfMemoryError, match="there is not enough memory"):
        diagnose(model, jnp.negative, [(3,)])
    assert len(calls) == 1


@pytest.mark.parametrize("said", ["Load model failed:std::bad_alloc", "Failed to allocate memory for requested buffer"])
@pytest.mark.parametrize("function", [check, diagnose])
def test_a_lack_of_memory_in_the_words_of_onnxruntime(
    function: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise native.Fail(said)

    model = to_onnx(jnp.negative, [(3,)])
    monkeypatch.setattr(onnxruntime, "InferenceSession", refuses)
    with pytest.raises(OutOfMemoryError, match="there is not enough memory"):
        function(model, jnp.negative, [(3,)])


def test_what_onnxruntime_refuses_is_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise native.Fail

    model = to_onnx(jnp.negative, [(3,)])
    monkeypatch.setattr(onnxruntime, "InferenceSession", refuses)
    with pytest.raises(CheckError, match="onnxruntime cannot load the model"):
        check(model, jnp.negative, [(3,)])


def test_a_constant_for_which_xla_has_no_memory() -> None:
    def program(x: Any) -> Any:
        with jax.ensure_compile_time_eval():
            return x + jnp.ones((10**7, 10**7))

    with pytest.raises(OutOfMemoryError, match="not enough memory: RESOURCE_EXHAUSTED"):
        to_onnx(program, [(1,)])


def test_a_command_that_meets_the_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_onnx(jnp.negative, [(3,)], tmp_path / "m.onnx")
    monkeypatch.setattr("jax2onnx.inspect.summary.summarise", fails)
    with pytest.raises(SystemExit, match="1"):
        main(["inspect", str(tmp_path / "m.onnx"), "--json"])
    told = capsys.readouterr()
    assert json.loads(told.out)["error"]["class"] == "OutOfMemoryError"
    assert "error: there is not enough memory: Unable to allocate 64.0 MiB\n  remedy: " in told.err


COMMANDS = """
import resource, sys, json
import numpy as np, onnx, onnxruntime
import jax2onnx.checking.profile, jax2onnx.checking.portability, jax2onnx.inspect.costs, jax2onnx.inspect.picture
import jax2onnx.inspect.differences
from jax2onnx.cli.main import main

def size():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024

for command in json.loads(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_AS, (size() + 2**24, resource.RLIM_INFINITY))
    try:
        main(command)
    except SystemExit as ended:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(ended.code, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process can limit its own memory so")
def test_commands_without_memory(tmp_path: Path) -> None:
    model = tmp_path / "large.onnx"
    weights = onnx.numpy_helper.from_array(np.ones((4096, 4096), np.float32), "w")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["B", 4096]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:], [weights])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10), model)
    commands = [
        ["inspect", model],
        ["inspect", model, "--by", "module"],
        ["inspect", model, "--svg", tmp_path / "large.svg"],
        ["inspect", model, "--targets", "all"],
        ["profile", model, "--runs", "1"],
        ["diff", model, model],
    ]
    told = json.dumps([list(map(str, command)) for command in commands])
    ran = subprocess.run(
        [sys.executable, "-c", COMMANDS, told], capture_output=True, text=True, timeout=600, check=False
    )
    assert ran.stdout.split() == ["1"] * len(commands), ran.stderr
    assert ran.stderr.count("error: there is not enough memory") == len(commands)
    assert ran.stderr.count("[J2O332]") == len(commands)
    assert "Traceback" not in ran.stderr
    assert [file.name for file in tmp_path.iterdir()] == [model.name]

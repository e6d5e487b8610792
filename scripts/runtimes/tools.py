"""Pass models of the registered examples through the tools that people use behind an export; write what came of each.

python scripts/runtimes/tools.py OUT [--every N] [--first N] [--only TEXT] [--tool NAME]

Each tool gets the model of a case (static and symbolic). The outcomes, one line of JSON for each model and tool:

    passes      the tool's model is valid, onnxruntime loads it, and it agrees with JAX (what quantises: it runs)
    refused     the tool raises an error, or says that it cannot
    invalid     onnxruntime does not load or run the tool's model
    differs     the tool's model does not agree with JAX on ordinary inputs
    unordered   onnxruntime runs the tool's model, and onnx's checker calls it invalid

Tools that change numbers on purpose (float16, quantisers) are not compared with JAX, but run. They get the model of
``guards=False`` and opset 21, as docs/guides/quantisers.md says; onnxslim, onnxsim and the optimiser get the default.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from jax2onnx import check, to_onnx
from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner
from jax2onnx.errors import CheckError, ConversionError, InputSpecError
from jax2onnx.testing import Case, cases, x64

Model = onnx.ModelProto
SECONDS = 60  # a tool that takes longer is interrupted, and refuses
SIMPLE = {"guards": False, "opset": 21}  # what tools that change numbers get


def slim(model: Model) -> Model:
    """Return the model that onnxslim writes."""
    import onnxslim

    return onnxslim.slim(model)


def sim(model: Model) -> Model:
    """Return the model that onnxsim writes."""
    import onnxsim

    found, agrees = onnxsim.simplify(model)
    if not agrees:
        raise RuntimeError("onnxsim says that its model does not agree")
    return found


def float16(model: Model) -> Model:
    """Return the float16 model of onnxconverter-common, whose inputs and outputs stay float32."""
    from onnxconverter_common import float16

    return float16.convert_float_to_float16(model, keep_io_types=True)


def float16_ort(model: Model) -> Model:
    """Return the float16 model of onnxruntime's transformers package."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True)


def float16_blocked(model: Model) -> Model:
    """Return the float16 model of onnxconverter-common, told to leave alone what it makes invalid.

    Casts are named one by one: the operator ``Cast`` in the list of operators would hold for those that it inserts too,
    around which it inserts others, without end.
    """
    from onnxconverter_common import float16

    model = onnx.inliner.inline_local_functions(model)
    return float16.convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *SCATTERS],
        node_block_list=[node.name for node in nodes(model.graph) if node.op_type == "Cast"],
        check_fp16_ready=False,
    )


def float16_sorted(model: Model) -> Model:
    """Return the float16 model of onnxruntime's package, told to leave scatters alone; its nodes put in order.

    Casts around operators that it leaves in float32 are put into the main graph, even if these are in a body: so that
    those in bodies are converted too.
    """
    import onnx_ir as ir
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    model = onnx.inliner.inline_local_functions(model)
    inner = {node.op_type for node in nodes(model.graph)} - {node.op_type for node in model.graph.node}
    blocked = [op_type for op_type in [*DEFAULT_OP_BLOCK_LIST, *SCATTERS] if op_type not in inner]
    made = ir.from_proto(convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked))
    made.graph.sort()
    return ir.to_proto(made)


SCATTERS = ("ScatterElements", "ScatterND")  # onnxruntime's CPU provider has no float16 sums of them


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the bodies in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from nodes(attribute.g)


def dynamic(model: Model) -> Model:
    """Return the model of ``quantize_dynamic``."""
    from onnxruntime.quantization import quantize_dynamic

    return _by_files(model, quantize_dynamic)


def static(model: Model, **options: Any) -> Model:
    """Return the model of ``quantize_static`` in QDQ form, calibrated on drawn inputs."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Drawn(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = 3

        def get_next(self) -> dict[str, Any] | None:
            self.left -= 1
            return None if self.left < 0 else feeds(model, self.left)

    return _by_files(model, lambda a, b: quantize_static(a, b, Drawn(), quant_format=QuantFormat.QDQ, **options))


def static_forced(model: Model) -> Model:
    """Return the model of ``quantize_static``, which quantises what moves numbers even where its input is none."""
    return static(model, extra_options={"ForceQuantizeNoInputCheck": True})


def optimised(model: Model, **options: Any) -> Model:
    """Return the model of onnxruntime's optimiser of transformers: what it does itself, for which it needs no torch."""
    from onnxruntime.transformers import optimizer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        return optimizer.optimize_model(str(path), model_type="bert", opt_level=0, **options).model


def optimised_mended(model: Model) -> Model:
    """Return the model of that optimiser, told which names bodies read, and without the fusion that changes numbers.

    It looks for readers of a weight one body deep, and removes what is read deeper. Its ``BiasGelu`` is the exact one,
    also in the place of ``Gelu(approximate="tanh")``. Its domain of operators is not declared.
    """
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    def names_read(_: object, node: onnx.NodeProto) -> set[str]:
        bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
        return {name for body in bodies for inner in nodes(body) for name in inner.input}

    options = FusionOptions("bert")
    options.enable_bias_gelu = False
    base = optimizer.OnnxModel
    before = base._get_subgraph_inputs_of_node  # noqa: SLF001 - what looks one body deep
    base._get_subgraph_inputs_of_node = names_read  # noqa: SLF001
    try:
        made = optimised(model, optimization_options=options)
    finally:
        base._get_subgraph_inputs_of_node = before  # noqa: SLF001
    if all(entry.domain != "com.microsoft" for entry in made.opset_import):
        made.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return made


def _by_files(model: Model, tool: Callable[[str, str], object]) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        before, after = (str(Path(folder) / name) for name in ("before.onnx", "after.onnx"))
        onnx.save(model, before)
        tool(before, after)
        return onnx.load(after)


def feeds(model: Model, seed: int) -> dict[str, Any]:
    """Return inputs for a model; symbolic dims are 3."""
    rng = np.random.default_rng(seed)
    found = {}
    for value in model.graph.input:
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [dim.dim_value if dim.HasField("dim_value") else 3 for dim in value.type.tensor_type.shape.dim]
        drawn = rng.normal(size=shape)
        found[value.name] = np.asarray((np.abs(drawn) if kind.kind in "ub" else drawn).astype(kind))
    return found


EXACT = {
    "onnxslim": slim,
    "onnxsim": sim,
    "transformers optimiser": optimised,
    "transformers optimiser, mended": optimised_mended,
}
LOSSY = {
    "transformers optimiser, without guards": optimised,
    "float16 (onnxconverter-common)": float16,
    "float16 (onnxconverter-common), blocked": float16_blocked,
    "float16 (onnxruntime)": float16_ort,
    "float16 (onnxruntime), sorted": float16_sorted,
    "quantize_dynamic": dynamic,
    "quantize_static (QDQ)": static,
    "quantize_static (QDQ), forced": static_forced,
}


def outcome(name: str, tool: Callable[[Model], Model], case: Case, model: Model) -> tuple[str, str]:
    """Return what comes of a tool at a model."""
    given = onnx.ModelProto()
    given.CopyFrom(model)
    signal.alarm(SECONDS)
    try:
        made = tool(given)
    except Exception as error:  # noqa: BLE001 - the border to the tool
        return "refused", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    try:
        runner = Runner(made)
        drawn = feeds(model, 0)
        runner.run([drawn[one] for one in runner.input_names])
    except RUNTIME_ERRORS as error:
        return "invalid", str(error)
    if name not in LOSSY:
        try:
            compare(case, model, runner)
        except CheckError as error:
            return "differs", str(error)
    try:
        onnx.checker.check_model(made)
    except onnx.checker.ValidationError as error:
        return "unordered", str(error)
    return "passes", ""


def compare(case: Case, model: Model, runner: Runner) -> None:
    """Compare what a tool made of the model of a case with JAX, on ordinary inputs.

    Raises:
        CheckError: they differ.
    """
    check(
        model,
        case.example.make(),
        case.inputs,
        kinds=["ordinary"],
        rtol=1e-3,
        atol=1e-4,
        runtime=lambda _: Kept(model, runner),
        **case.shared,
    )


class Kept:
    """A tool's model, given the inputs that it still has of those of the model before: tools remove unread ones."""

    def __init__(self, before: Model, runner: Runner) -> None:
        self.name = runner.name
        self.input_names = [value.name for value in before.graph.input]
        self.output_names = runner.output_names
        self._runner = runner

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Return the outputs for the inputs of the model before."""
        given = dict(zip(self.input_names, arrays, strict=True))
        return self._runner.run([given[name] for name in self._runner.input_names])


def _too_long(_signal: int, _frame: Any) -> None:
    raise TimeoutError(f"it takes more than {SECONDS} s")


def main() -> None:
    """Run the tools as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--tool", action="append", default=[])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _too_long)
    chosen = [case for case in cases() if case.fusions and case.example.draw][args.first :: args.every]
    if args.only:
        chosen = [case for case in chosen if any(text in str(case) for text in args.only)]
    tools = {**EXACT, **LOSSY}
    with args.out.open("w") as out:
        for case in chosen:
            with x64(enabled=case.example.x64):
                for names, options in ((EXACT, {}), (LOSSY, SIMPLE)):
                    try:
                        model = to_onnx(case.example.make(), case.inputs, **{**case.options, **options})
                    except (ConversionError, InputSpecError):
                        continue
                    for name in names:
                        if not args.tool or name in args.tool:
                            what, message = outcome(name, tools[name], case, model)
                            out.write(json.dumps([str(case), name, what, message[:500]]) + "\n")
                            out.flush()


if __name__ == "__main__":
    sys.exit(main())

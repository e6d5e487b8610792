"""Draw the graphs of docs/graphs.md, at three stages of the pipeline: `python scripts/graphs.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from flax import nnx

from jax2onnx.inspect.picture import svg
from jax2onnx.inspect.summary import format_operators, summarise
from jax2onnx.options import Options
from jax2onnx.output.names import unique_names
from jax2onnx.pipeline.parts import at_stage, export_ir
from jax2onnx_examples.models.mlp import MLP
from jax2onnx_examples.models.transformer import TransformerBlock

if TYPE_CHECKING:
    import onnx

PAGE = Path(__file__).parents[1] / "docs" / "graphs.md"
FOLDER = PAGE.parent / "graphs"
BEGIN, END = "<!-- graphs: written by scripts/graphs.py -->\n", "<!-- end of graphs -->\n"


@dataclass(frozen=True)
class Model:
    """A model of the page."""

    name: str
    title: str
    make: Callable[[nnx.Rngs], nnx.Module]
    inputs: tuple[Any, ...]


MODELS = (
    Model("quickstart", "The quick start", lambda rngs: MLP(30, 20, 10, rngs=rngs), (("B", 30),)),
    Model(
        "block",
        "A transformer block",
        lambda rngs: TransformerBlock(32, 4, 128, rngs=rngs),
        (("B", 16, 32),),
    ),
)


def before_fusion(fn: Any, inputs: tuple[Any, ...]) -> ir.Model:
    """Return what the rules of the primitives emit."""
    return at_stage(fn, inputs, "lowered", Options(fusions=False))


def after_fusion(fn: Any, inputs: tuple[Any, ...]) -> ir.Model:
    """Return what the rules emit where functions are found."""
    return at_stage(fn, inputs, "lowered")


def after_tidy(fn: Any, inputs: tuple[Any, ...]) -> ir.Model:
    """Return what the user gets."""
    return export_ir(fn, inputs)


STAGES = {"before fusion": before_fusion, "after fusion": after_fusion, "after tidy": after_tidy}


def stages(model: Model) -> dict[str, onnx.ModelProto]:
    """Return a model at each stage."""
    module = model.make(nnx.Rngs(0))
    module.eval()
    protos = {}
    for stage, build in STAGES.items():
        built = build(module, model.inputs)
        unique_names(built)
        protos[stage] = ir.to_proto(built)
    return protos


def file_of(model: Model, stage: str) -> str:
    """Return the name of a picture's file."""
    return f"{model.name}-{stage.replace(' ', '-')}.svg"


def section(model: Model, protos: dict[str, onnx.ModelProto]) -> str:
    """Return what the page says of a model."""
    summaries = [summarise(proto) for proto in protos.values()]
    heads = [f"{stage}: {summary.nodes} nodes" for stage, summary in zip(protos, summaries, strict=True)]
    files = [f"graphs/{file_of(model, stage)}" for stage in protos]
    pictures = [f"[![{head}]({file})]({file})" for head, file in zip(heads, files, strict=True)]
    return "\n".join(
        [
            f"## {model.title}",
            "",
            f"| {' | '.join(heads)} |",
            "|---" * len(heads) + "|",
            f"| {' | '.join(pictures)} |",
            "",
            f"What is left: {format_operators(summaries[-1].operators)}.",
            "",
        ]
    )


def updated(page: str, sections: list[str]) -> str:
    """Return the page with its sections replaced."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{chr(10).join(sections)}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Draw all graphs and update the page."""
    FOLDER.mkdir(exist_ok=True)
    sections = []
    for model in MODELS:
        protos = stages(model)
        for stage, proto in protos.items():
            (FOLDER / file_of(model, stage)).write_text(svg(proto), encoding="utf-8")
            print(f"{file_of(model, stage)}: {len(proto.graph.node)} nodes")
        sections.append(section(model, protos))
    PAGE.write_text(updated(PAGE.read_text(), sections))


if __name__ == "__main__":
    main()

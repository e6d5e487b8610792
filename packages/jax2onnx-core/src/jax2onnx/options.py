"""The options of an export: as one value, and as types of the keyword arguments that functions pass on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, get_args

from jax2onnx._accepted import (
    Accept,
    accept_value,
    any_of,
    call,
    domain_version,
    flag,
    list_of,
    mapping,
    model_name,
    natural_number,
    nearest,
    none,
    number,
    one_of,
    path,
    shown,
    stored_text,
    text,
    version_number,
    whole_number,
)
from jax2onnx.earlier import SUCCESSORS
from jax2onnx.errors import InputSpecError

if TYPE_CHECKING:
    import os

    from jax2onnx.fusion.report import FusionReport

__all__ = [
    "DEFAULT_OPSET",
    "DEFAULT_TARGET",
    "STAGES",
    "CheckOptions",
    "ComparisonOptions",
    "DiagnoseOptions",
    "EntriesOptions",
    "ExportOptions",
    "Images",
    "Options",
    "Precision",
    "Provenance",
    "SaveOptions",
    "SharedOptions",
    "Stage",
    "check_values",
    "refuse_unknown",
]

DEFAULT_OPSET = 23
DEFAULT_TARGET = "onnxruntime-cpu"

Provenance: TypeAlias = Literal["none", "relative", "full"]
"""What nodes tell of where they come from: nothing, lines without the folders of this machine, or whole paths."""
Precision: TypeAlias = Literal["float32", "float16", "bfloat16"]
"""What products of arrays are computed in, or their weights stored in: half in place of float32, or the reverse."""
Stage: TypeAlias = Literal["program", "fused", "lowered", "tidied", "final"]
"""What an export has in turn: the flat program, the prepared one, the emitted model, the tidied one, the legal one."""
STAGES: tuple[Stage, ...] = get_args(Stage)

Images: TypeAlias = Sequence[str | int] | bool | None
"""Which inputs or outputs are images: their names or positions; True for all of rank 3 and above."""


class SharedOptions(TypedDict, total=False):
    """The keyword arguments that :func:`jax2onnx.to_onnx` and :func:`jax2onnx.check` both take."""

    input_params: Mapping[str, Any] | None
    static: Mapping[str, Any] | None
    inputs_as_nchw: Images
    outputs_as_nchw: Images
    constraints: Sequence[str]
    state: Literal["drop", "io"]
    training: bool
    weights: Any
    weight_names: Mapping[str, str] | Callable[[str], str | None] | None


class ExportOptions(SharedOptions, total=False):
    """The keyword arguments of :func:`jax2onnx.to_onnx`."""

    opset: int | None
    input_names: Sequence[str] | None
    output_names: Sequence[str] | None
    target: str | None
    guards: bool | None
    lowerings: Mapping[str, Callable[..., Any]] | None
    fusions: bool
    functions: Literal["marked", "modules"]
    fold_batch_norm: bool
    precision: Precision | None
    keep: Sequence[str]
    round_activations: bool
    unroll_layers: bool | None
    domains: Mapping[str, int] | None
    name: str | None
    provenance: Provenance
    metadata: Mapping[str, str] | None
    doc_string: str
    model_version: int
    producer: str | None
    explain: bool | Callable[[FusionReport], object]
    report: str | os.PathLike[str] | None


class SaveOptions(ExportOptions, total=False):
    """The keyword arguments of :func:`jax2onnx.save_onnx`."""

    progress: Callable[[int, int], object] | None


class EntriesOptions(SaveOptions, total=False):
    """The keyword arguments of :func:`jax2onnx.save_onnx` for several entries."""

    carry: Mapping[str, str] | None


class ComparisonOptions(SharedOptions, total=False):
    """The keyword arguments of :func:`jax2onnx.check` for one model."""

    values: Sequence[Any] | None
    sizes: Sequence[int] | Sequence[Mapping[str, int]] | None
    rtol: float | None
    atol: float | None
    kinds: Sequence[str]
    seed: int
    libraries: Sequence[str | os.PathLike[str]]
    runtime: Callable[..., Any] | None


class CheckOptions(ComparisonOptions, total=False):
    """The keyword arguments of :func:`jax2onnx.check`, those for several entries among them."""

    steps: int
    carry: Mapping[str, str] | None


class DiagnoseOptions(ExportOptions, ComparisonOptions, total=False):
    """The keyword arguments of :func:`jax2onnx.diagnose`: those of an export and those of a comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of an export with their defaults; :func:`jax2onnx.to_onnx` describes each."""

    opset: int | None = None
    input_names: Sequence[str] | None = None
    output_names: Sequence[str] | None = None
    input_params: Mapping[str, Any] | None = None
    static: Mapping[str, Any] | None = None
    inputs_as_nchw: Images = ()
    outputs_as_nchw: Images = ()
    constraints: Sequence[str] = ()
    target: str | None = DEFAULT_TARGET
    guards: bool | None = None
    lowerings: Mapping[str, Callable[..., Any]] | None = None
    fusions: bool = True
    functions: Literal["marked", "modules"] = "marked"
    state: Literal["drop", "io"] = "drop"
    training: bool = False
    fold_batch_norm: bool = False
    precision: Precision | None = None
    keep: Sequence[str] = ()
    round_activations: bool = False
    unroll_layers: bool | None = None
    domains: Mapping[str, int] | None = None
    name: str | None = None
    provenance: Provenance = "relative"
    metadata: Mapping[str, str] | None = None
    doc_string: str = ""
    model_version: int = 0
    producer: str | None = None
    explain: bool | Callable[[FusionReport], object] = False
    report: str | os.PathLike[str] | None = None
    weights: Any = None
    weight_names: Mapping[str, str] | Callable[[str], str | None] | None = None

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in self.__slots__}
        check_values(values)

    @classmethod
    def of(cls, given: ExportOptions, known: Collection[str] = ()) -> Options:
        """Return the options of keyword arguments.

        Args:
            given: the arguments.
            known: what the caller accepts besides, for the message.

        Raises:
            InputSpecError: there is no option of such a name.
        """
        refuse_unknown(given, known or ExportOptions.__annotations__)
        return cls(**given)


_names = any_of(none, list_of(model_name, "['x', 'y']", ordered=True))
_images = any_of(none, flag, list_of(any_of(whole_number, text), "['x'], or True for every image"))
_sizes = list_of(any_of(mapping(natural_number, "{'B': 2}"), natural_number), "[1, 3] or [{'B': 2, 'T': 5}]")


def _anything(_option: str, _value: Any) -> None:
    """Accept any value: other code looks at it."""


_strings = mapping(stored_text, "{'license': 'MIT'}")


def _metadata(option: str, value: Any) -> None:
    """Accept a mapping from names to texts."""
    _strings(option, value)
    for key in value:
        model_name(f"{option}: the name {key!r}", key)


_versions = mapping(domain_version, "{'my.domain': 1}")


def _domains(option: str, value: Any) -> None:
    """Accept a mapping from domains of operators to versions; that of ONNX's own is the opset."""
    _versions(option, value)
    for domain, version in value.items():
        if domain in {"", "ai.onnx"}:
            raise InputSpecError(f"{option}: {domain!r} is ONNX's own domain; write opset={version}")
        model_name(f"{option}: the domain {domain!r}", domain)


def _report(option: str, value: Any) -> None:
    """Accept the name of a file for a report, with or without an ending."""
    path(option, value)
    if Path(value).name in {"", ".."}:
        raise InputSpecError(f"{option}: {shown(value)} is a folder; add a name such as report.html")


_ACCEPTED: Mapping[str, Accept] = {
    "opset": any_of(none, whole_number),
    "input_names": _names,
    "output_names": _names,
    "input_params": any_of(none, mapping(_anything, "{'scale': 'float32[]'}")),
    "static": any_of(none, mapping(_anything, "{'train': False}")),
    "inputs_as_nchw": _images,
    "outputs_as_nchw": _images,
    "constraints": list_of(text, "['T >= 4']"),
    "target": any_of(none, text),
    "guards": any_of(none, flag),
    "lowerings": any_of(none, mapping(call, "{'primitive': rule}")),
    "fusions": flag,
    "functions": one_of(("marked", "modules")),
    "state": one_of(("drop", "io")),
    "training": flag,
    "fold_batch_norm": flag,
    "precision": any_of(none, one_of(get_args(Precision))),
    "keep": list_of(text, "['*.norm', 'logits']"),
    "round_activations": flag,
    "unroll_layers": any_of(none, flag),
    "domains": any_of(none, _domains),
    "name": any_of(none, model_name),
    "provenance": one_of(get_args(Provenance)),
    "metadata": any_of(none, _metadata),
    "doc_string": stored_text,
    "model_version": version_number,
    "producer": any_of(none, model_name),
    "explain": any_of(call, flag),
    "report": any_of(none, _report),
    "reproducer": any_of(none, path),
    "inner": flag,
    "progress": any_of(none, call),
    "steps": natural_number,
    "weights": _anything,
    "weight_names": any_of(none, call, mapping(text, "{'layer.kernel': 'fc.weight'}")),
    "carry": any_of(none, mapping(text, "{'cache': '1'}")),
    "values": any_of(none, _anything),
    "sizes": any_of(none, _sizes),
    "rtol": any_of(none, number),
    "atol": any_of(none, number),
    "kinds": list_of(text, "['ordinary']"),
    "seed": natural_number,
    "libraries": list_of(path, "['operators.so']"),
    "runtime": any_of(none, call),
}
"""Option -> what it accepts. Names of inputs, symbols and targets are looked up where these are known."""


def check_values(given: Mapping[str, Any]) -> None:
    """Raise InputSpecError for the first option whose value is not accepted."""
    for option, value in given.items():
        accept_value(_ACCEPTED[option], option, value)


def refuse_unknown(names: Iterable[str], known: Collection[str]) -> None:
    """Raise InputSpecError for the first name that is no known option."""
    for name in names:
        if name not in known:
            hint = SUCCESSORS.get(name) or nearest(name, known, "the options are")
            raise InputSpecError(f"there is no option {name!r}; {hint}")

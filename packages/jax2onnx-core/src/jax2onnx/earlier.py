"""Calls in the form of jax2onnx 0.17: what its keywords mean here, or what to write instead.

keras exports its models by such a call: ``to_onnx(fn, inputs=[...], return_mode="file", output_path="m.onnx")``.
docs/migrating.md lists all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from jax2onnx._accepted import accept_value, nearest, shown
from jax2onnx._accepted import path as accepted_path
from jax2onnx.errors import InputSpecError

__all__ = ["SUCCESSORS", "Delivery", "EarlierOptions", "ReturnMode", "delivery_of", "model_first", "refuse_positions"]

ReturnMode: TypeAlias = Literal["proto", "ir", "file"]
"""What a call returns: an ``onnx.ModelProto``, an ``onnx_ir.Model``, or the path of the file that it wrote."""


class EarlierOptions(TypedDict, total=False):
    """The keyword arguments of jax2onnx 0.17's ``to_onnx`` that have another name here, or none."""

    model_name: str
    export_mode: Literal["standard", "web"]
    enable_double_precision: bool
    normalization_mode: Literal["auto", "prefer_native", "force_decomposed"]
    record_primitive_calls_file: str | None


SUCCESSORS = {
    "model_name": "write name='...'",
    "return_mode": "save_onnx(fn, inputs, path) writes a file and to_onnx(fn, inputs) returns the model",
    "output_path": "write save_onnx(fn, inputs, path)",
    "export_mode": "write to_onnx(fn, inputs).SerializeToString() into a file for one file without weights beside it",
    "enable_double_precision": (
        "call jax.config.update('jax_enable_x64', True) first, and write 'float64[B,3]' for a spec ('B', 3)"
    ),
    "normalization_mode": "write fusions=False for a model without normalisation operators",
    "record_primitive_calls_file": "print(jax2onnx.show(fn, inputs, 'program')) shows the primitives of a program",
}
"""Option of jax2onnx 0.17 -> what to write instead."""

_IDLE: Mapping[str, tuple[Any, ...]] = {
    "enable_double_precision": (False,),
    "normalization_mode": ("auto", "prefer_native"),
    "record_primitive_calls_file": (None,),
}
"""Option -> the values that ask for what is done in any case: float32, and an operator where it gives the same."""

_POSITIONS = {
    "to_onnx": ("input_params", "name", "opset"),
    "allclose": ("input_params", "rtol", "atol"),
}
"""Function -> what its further positional arguments were."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a call of ``to_onnx`` gives back.

    Attributes:
        mode: what is returned.
        path: the file to write, if ``mode`` is ``file``.
        single_file: whether weights stay in that file, however large they are.
        name: the graph's name, if one was given.
    """

    mode: ReturnMode
    path: str
    single_file: bool
    name: str | None


def delivery_of(
    mode: ReturnMode,
    path: str | os.PathLike[str] | None,
    earlier: EarlierOptions,
    name: str | None,
) -> Delivery:
    """Return what a call of ``to_onnx`` gives back.

    Args:
        mode: its ``return_mode``.
        path: its ``output_path``.
        earlier: further keywords of jax2onnx 0.17, all of them known.
        name: the option ``name`` of the same call.

    Raises:
        InputSpecError: a keyword asks for what another option does here, or contradicts another.
    """
    _refuse_replaced(earlier)
    given_name = earlier.get("model_name")
    if given_name is not None and name is not None:
        raise InputSpecError("model_name: name is given too, and means the same; leave model_name out")
    export_mode = _one_of("export_mode", earlier.get("export_mode", "standard"), ("standard", "web"))
    _one_of("return_mode", mode, get_args(ReturnMode))
    if path is not None:
        accepted_path("output_path", path)
    if mode == "file" and path is None:
        raise InputSpecError("return_mode: 'file' needs output_path; or write save_onnx(fn, inputs, path)")
    if mode != "file" and path is not None:
        raise InputSpecError(
            f"output_path: return_mode={mode!r} writes no file; add return_mode='file', "
            "or write save_onnx(fn, inputs, path)"
        )
    return Delivery(mode, os.fspath(path or ""), export_mode == "web", name if given_name is None else given_name)


def refuse_positions(function: str, further: Sequence[Any]) -> None:
    """Raise InputSpecError if a call has more positional arguments than the function takes; name their keywords."""
    if not further:
        return
    names = _POSITIONS[function][: len(further)]
    written = ", ".join(f"{name}=..." for name in names)
    raise InputSpecError(f"{function}: {len(further)} positional arguments too many; write {written}")


def model_first(model: Any, fn: Any) -> tuple[Any, Any]:
    """Return the model and the callable of ``allclose``, given in any order: jax2onnx 0.17 takes the callable first."""
    if _is_model(fn) and not _is_model(model):
        return fn, model
    return model, fn


def _is_model(value: Any) -> bool:
    import onnx  # noqa: PLC0415 - the options are read where nothing heavy may be imported

    return isinstance(value, str | os.PathLike | onnx.ModelProto)


def _refuse_replaced(earlier: Mapping[str, Any]) -> None:
    for option in _IDLE:
        if option in earlier:
            accept_value(_accept_idle, option, earlier[option])


def _accept_idle(option: str, value: Any) -> None:
    """Accept a value that asks for what is done in any case."""
    if value not in _IDLE[option]:
        raise InputSpecError(f"{option}: {shown(value)} is not taken any more; {SUCCESSORS[option]}")


def _one_of(option: str, value: Any, known: Iterable[str]) -> Any:
    choices = tuple(known)

    def accept(option: str, value: Any) -> None:
        if value not in choices:
            nearby = nearest(value, choices, "write")
            raise InputSpecError(f"{option}: {shown(value)} is none of {', '.join(choices)}; {nearby}")

    accept_value(accept, option, value)
    return value

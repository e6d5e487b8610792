"""The public entry points: ``to_onnx`` and ``save_onnx``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast, overload

import onnx  # noqa: TC002 - whoever asks for the types of to_onnx resolves them here
import onnx_ir as ir  # noqa: TC002 - likewise

from jax2onnx._accepted import NEEDED, lacking, readable, shown
from jax2onnx._accepted import path as accepted_path
from jax2onnx.earlier import EarlierOptions, ReturnMode, delivery_of, refuse_positions
from jax2onnx.errors import InputSpecError
from jax2onnx.options import (
    DEFAULT_TARGET,
    EntriesOptions,
    ExportOptions,
    Images,
    Options,
    Precision,
    Provenance,
    SaveOptions,
    Stage,
    check_values,
    refuse_unknown,
)
from jax2onnx.output.memory import memory_explained
from jax2onnx.output.proto import add_weights
from jax2onnx.output.report.write import refuse_one_file
from jax2onnx.output.save import EXTERNAL_DATA_THRESHOLD, preflight, save
from jax2onnx.output.stream import MOST_BYTES
from jax2onnx.pipeline.assemble import require_one_message
from jax2onnx.pipeline.collector import seldom_collecting
from jax2onnx.pipeline.entries import write_entries
from jax2onnx.pipeline.finish import exported
from jax2onnx.pipeline.parts import at_stage
from jax2onnx.program.program import Program
from jax2onnx.program.text import describe

if TYPE_CHECKING:
    from jax2onnx.fusion.report import FusionReport
    from jax2onnx.output.data_file import Progress
    from jax2onnx.pipeline.export import Export


class _CallOptions(ExportOptions, EarlierOptions, total=False):
    """The keyword arguments of :func:`to_onnx`, without those that decide what it returns."""


@overload
def to_onnx(
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    return_mode: Literal["proto"] = "proto",
    **options: Unpack[_CallOptions],
) -> onnx.ModelProto: ...
@overload
def to_onnx(
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    return_mode: Literal["ir"],
    **options: Unpack[_CallOptions],
) -> ir.Model: ...
@overload
def to_onnx(
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    return_mode: Literal["file"],
    output_path: str | os.PathLike[str],
    **options: Unpack[_CallOptions],
) -> str: ...
@readable
@memory_explained()
def to_onnx(
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    *further: Any,
    opset: int | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    input_params: Mapping[str, Any] | None = None,
    static: Mapping[str, Any] | None = None,
    inputs_as_nchw: Images = (),
    outputs_as_nchw: Images = (),
    constraints: Sequence[str] = (),
    target: str | None = DEFAULT_TARGET,
    guards: bool | None = None,
    lowerings: Mapping[str, Callable[..., Any]] | None = None,
    fusions: bool = True,
    functions: Literal["marked", "modules"] = "marked",
    state: Literal["drop", "io"] = "drop",
    training: bool = False,
    fold_batch_norm: bool = False,
    precision: Precision | None = None,
    keep: Sequence[str] = (),
    round_activations: bool = False,
    unroll_layers: bool | None = None,
    domains: Mapping[str, int] | None = None,
    name: str | None = None,
    provenance: Provenance = "relative",
    metadata: Mapping[str, str] | None = None,
    doc_string: str = "",
    model_version: int = 0,
    producer: str | None = None,
    explain: bool | Callable[[FusionReport], object] = False,
    report: str | os.PathLike[str] | None = None,
    weights: Any = None,
    weight_names: Mapping[str, str] | Callable[[str], str | None] | None = None,
    return_mode: ReturnMode = "proto",
    output_path: str | os.PathLike[str] | None = None,
    **earlier: Unpack[EarlierOptions],
) -> onnx.ModelProto | ir.Model | str:
    """Convert a JAX callable to an ONNX model.

    Args:
        fn: a function, or a framework object that a plugin opens (e.g. a flax.nnx module). A module in training mode is
            exported as its inference self, with one ``UserWarning``.
        inputs: one spec per positional argument (a mapping: keyword arguments). A spec is a shape tuple such as
            ``('B', 30)`` (float32), a string such as ``'int32[B,T]'``, a ``jax.ShapeDtypeStruct``, an array, or a
            pytree of these; a Python bool is a static value. 64-bit dtypes need ``jax_enable_x64``.
        opset: the ONNX opset, from 13 on; no newer operator is emitted (default: 23, or the newest of the target).
        input_names: names of the flattened inputs (default: the callable's parameter names and pytree paths).
        output_names: names of the flattened outputs (default: their pytree paths, or ``output``).
        input_params: specs of keyword arguments that stay inputs of the model; a Python bool among them is static.
        static: parameter name -> Python value that the callable gets as it is, e.g. ``{'train': False}``; the inputs
            go to the other parameters. A required parameter of a usual name for the mode (``train``,
            ``deterministic``, …) needs none.
        inputs_as_nchw: names or positions of inputs that are images, channels-last in the JAX program as in their
            specs, and channels-first (N, C, spatial dims) in the model; True for all inputs of rank 3 and above.
        outputs_as_nchw: names or positions of outputs likewise.
        constraints: what holds between symbolic dims, e.g. ``['T >= 4', 'mod(T, 2) == 0']``.
        target: the runtime to legalise for, with a range of versions if you like (``'onnxruntime>=1.20'``: the model
            runs in all of them); ``'onnx'`` or None keeps the form that the ONNX spec allows.
        guards: whether the model keeps NaN, infinities and empty arrays where the runtime's kernels lose them (default:
            what the target promises). Without, a layer such as an LSTM or a max pool is its operator alone, as
            quantisers and NPUs expect it.
        lowerings: primitive name -> rule; beats every plugin.
        fusions: whether to emit whole functions (gelu, softmax, …) as ONNX's own operators.
        functions: ``'marked'`` keeps what ``onnx_function`` marks as ONNX functions; ``'modules'`` every submodule of a
            framework's module too.
        state: ``'drop'`` drops the updates that a module makes to its own state; ``'io'`` exports a pure step: each
            updated variable is a further input and, as ``<name>.next``, a further output.
        training: export training behaviour (batch statistics, dropout) instead of inference.
        fold_batch_norm: let the weights of convolutions and products do the work of batch normalisations after them;
            the weights are then not those of the module, and results differ by rounding.
        precision: ``'float16'`` or ``'bfloat16'`` instead of float32 for products of arrays and convolutions, and what
            lies between them; norms, softmax, sums, inputs and outputs stay float32. For a runtime without such
            kernels, as the default one, only their weights are stored so. ``'float32'`` computes in float32 what the
            program has in half, without rounding in between; weights, inputs and outputs stay in half.
        keep: what stays float32 then, as globs: modules (``'*.norm'``), weights, outputs, functions or primitives, or
            lines (``'model.py:42'``).
        round_activations: leave products with weights of 4 or 8 bits to onnxruntime, which rounds what they multiply to
            8 bits: faster, with relative errors of about 1e-2.
        unroll_layers: write a scan over stacked weights as one layer after the other, each with weights of its own name
            (``blocks.3.kernel``): a larger graph, and often a faster one; None does so with quantised weights only.
        domains: domain of operators -> version, for domains that the runtime of the model has and that a plugin's rules
            use; ``onnx_op`` needs no entry here.
        name: the graph's name.
        provenance: what nodes tell of where they come from: ``'relative'``, the user's line without the folders of this
            machine and the path of the module (``namespace``); ``'full'`` with absolute paths; ``'none'`` neither.
        metadata: name -> text, stored in the model's metadata.
        doc_string: the model's description.
        model_version: the model's version.
        producer: who made the model, instead of jax2onnx.
        explain: True prints, on stderr, which functions were found in the program, which were nearly found and why not,
            which arrays of the model became constants, what was computed at conversion, and what was not since that
            would take too much; a callable gets this as a :class:`~jax2onnx.fusion.report.FusionReport` instead.
        report: a file, ``report.html``, for a report of the export as a page, with ``report.json`` beside it: stages,
            fusions, casts, guards, sizes, dims, and for which targets the model has kernels. A failed export leaves
            one too.
        weights: where the arrays of abstract parameters (``nnx.eval_shape`` and the like) are: the path of a
            ``.safetensors`` or ``.npz`` file or of a checkpoint of orbax, a mapping, or a callable name -> array. Of a
            callable whose parameters have arrays, it replaces them. docs/guides/big-models.md tells more.
        weight_names: parameter -> name in ``weights``, where that is another one; a callable may return None.
        *further: nothing; what is given here is refused, and the message names its keyword.
        return_mode: ``'proto'`` returns the model, ``'ir'`` an ``onnx_ir.Model`` that shares the weights; ``'file'``
            writes it to ``output_path``, as :func:`save_onnx` does, and returns the path.
        output_path: the file to write.
        **earlier: keywords of jax2onnx 0.17 that are called otherwise here; docs/migrating.md lists them.

    Returns:
        The model, self-contained, or what ``return_mode`` asks for.

    Raises:
        InputSpecError: an argument is not of an accepted form.
        ConversionError: the program cannot be traced or expressed; the message names the user's line and a remedy.
        SaveError: ``output_path`` cannot be written.
    """
    refuse_positions("to_onnx", further)
    refuse_unknown(earlier, _CallOptions.__annotations__)
    delivery = delivery_of(return_mode, output_path, earlier, name)
    options = Options(
        opset=opset,
        input_names=input_names,
        output_names=output_names,
        input_params=input_params,
        static=static,
        inputs_as_nchw=inputs_as_nchw,
        outputs_as_nchw=outputs_as_nchw,
        constraints=constraints,
        target=target,
        guards=guards,
        lowerings=lowerings,
        fusions=fusions,
        functions=functions,
        state=state,
        training=training,
        fold_batch_norm=fold_batch_norm,
        precision=precision,
        keep=keep,
        round_activations=round_activations,
        unroll_layers=unroll_layers,
        domains=domains,
        name=delivery.name,
        provenance=provenance,
        metadata=metadata,
        doc_string=doc_string,
        model_version=model_version,
        producer=producer,
        explain=explain,
        report=report,
        weights=weights,
        weight_names=weight_names,
    )
    if delivery.mode == "file":
        refuse_one_file(report, delivery.path)
        preflight(delivery.path)
    with seldom_collecting():
        export = exported(fn, inputs, options)
        model = export.model
        if delivery.mode == "ir":
            return model
        if delivery.mode == "file" and not delivery.single_file and not export.one_file:
            save(model, delivery.path)
            return delivery.path
        require_one_message(model)
        if delivery.mode == "file":
            save(model, delivery.path, external_data_threshold=MOST_BYTES)
            return delivery.path
        return add_weights(export.proto, model)


@overload
def save_onnx(
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    path: str | os.PathLike[str],
    **options: Unpack[SaveOptions],
) -> None: ...
@overload
def save_onnx(
    fn: Mapping[str, Any],
    inputs: str | os.PathLike[str],
    **options: Unpack[EntriesOptions],
) -> None: ...
@readable
@memory_explained()
def save_onnx(fn: Any, inputs: Any = NEEDED, path: Any = NEEDED, **options: Any) -> None:
    """Convert a JAX callable and write the model to ``path``; options are those of :func:`to_onnx`.

    Weights of more than 1 GiB in all go beside the model, to ``<path>.data``. A failed export leaves no file, and an
    existing file is replaced only by a complete one.

    ``save_onnx({"prefill": (fn, inputs), "decode": (fn, inputs, options)}, path)`` writes one model for each entry,
    and one file of weights that they share. ``path`` is a folder, which gets ``prefill.onnx``, ``decode.onnx`` and
    ``weights.data``; or ``name.onnx``, for ``name.prefill.onnx`` and so on. What an entry returns and an argument of
    any entry takes has the name of that input and ``.next``, in all models. The option ``carry`` (argument -> path in
    the result, e.g. ``{"cache": "1"}``) says which, where pytrees do not tell.

    The option ``progress`` is called with the bytes of weights that are written, and the bytes that there are.

    Raises:
        SaveError: the path cannot be written; checked before work starts where that is possible.
        InputSpecError: as ``to_onnx``; also for an option that ``to_onnx`` does not have.
        ConversionError: as ``to_onnx``.
    """
    if isinstance(fn, Mapping) and path is NEEDED and isinstance(inputs, str | os.PathLike):
        write_entries(fn, inputs, options)
        return
    if isinstance(fn, Mapping) and inputs is NEEDED:
        raise InputSpecError("save_onnx: path is missing; write save_onnx(entries, path): path is a folder")
    missing = [name for name, given in (("inputs", inputs), ("path", path)) if given is NEEDED]
    if missing:
        raise InputSpecError(lacking("save_onnx", ["fn", "inputs", "path"], missing))
    progress = options.pop("progress", None)
    checked = options_to_save(path, options, progress)
    export = exported(fn, inputs, checked)
    save_export(export, path, progress)


def options_to_save(path: Any, options: Mapping[str, Any], progress: Any) -> Options:
    """Return the options of an export whose model goes to a file; refuse what would fail only after the export."""
    if not isinstance(path, str | os.PathLike):
        raise InputSpecError(
            f"path: expected the name of a file, got {shown(path)}; the order is save_onnx(fn, inputs, path)"
        )
    if not isinstance(path, str):
        accepted_path("path", path)
    check_values({"progress": progress})
    checked = Options.of(cast("ExportOptions", options), SaveOptions.__annotations__)
    refuse_one_file(checked.report, path)
    preflight(path)
    return checked


def save_export(export: Export, path: str | os.PathLike[str], progress: Progress | None) -> None:
    """Write the model of an export that is done."""
    threshold = EXTERNAL_DATA_THRESHOLD
    if export.one_file:
        require_one_message(export.model)
        threshold = MOST_BYTES
    save(export.model, path, external_data_threshold=threshold, progress=progress)


@readable
@memory_explained()
def show(
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    stage: Stage = "fused",
    **options: Unpack[ExportOptions],
) -> str:
    """Return as text what an export has at a stage, for debugging; options are those of :func:`to_onnx`.

    Args:
        fn: as ``to_onnx``.
        inputs: as ``to_onnx``.
        stage: ``program`` (the flat program), ``fused`` (after fusions, folding and analyses), ``lowered`` (the model
            as the rules emitted it), ``tidied``, or ``final`` (legalised for the target).
        **options: as ``to_onnx``.

    Raises:
        InputSpecError: there is no such stage or option.
        ConversionError: as ``to_onnx``.
    """
    result = at_stage(fn, inputs, stage, Options.of(options))
    return describe(result) if isinstance(result, Program) else str(result)

"""The public entry points: ``to_onnx`` and ``save_onnx``."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Unpack, cast, overload

import onnx
import onnx_ir as ir

from jax2onnx._accepted import NEEDED, nearest, readable, shown
from jax2onnx._collector import seldom_collecting
from jax2onnx._compat import unchecked
from jax2onnx._printable import printable
from jax2onnx.earlier import EarlierOptions, ReturnMode, delivery_of, refuse_positions
from jax2onnx.errors import ConversionError, InputSpecError, InvalidModelError, OpsetError
from jax2onnx.frontend.elsewhere import Elsewhere, in_memory, opened_weights, require_weights, without_key
from jax2onnx.frontend.entries import Ports, find_links, read_entries
from jax2onnx.frontend.explain import explained, internal, named_error, refuse_nested
from jax2onnx.frontend.layers import unroll_layers
from jax2onnx.frontend.memory import memory_explained
from jax2onnx.frontend.open import open_callable
from jax2onnx.frontend.specs import parse_inputs
from jax2onnx.frontend.trace import trace
from jax2onnx.frontend.unopened import unopened
from jax2onnx.fusion.fuse import fuse
from jax2onnx.fusion.records import MadeConstant
from jax2onnx.fusion.report import report as summed_up
from jax2onnx.legalise.half_storage import computes_in, store_in_half
from jax2onnx.legalise.legalise import legalise, missing_kernels
from jax2onnx.legalise.mending import mend
from jax2onnx.legalise.opsets.dtypes import require_dtypes, specified
from jax2onnx.legalise.opsets.history import OLDEST_OPSET
from jax2onnx.legalise.opsets.restate import restate
from jax2onnx.legalise.targets import load_target
from jax2onnx.lowering.builder import stored_tensor
from jax2onnx.lowering.collect import Collector
from jax2onnx.lowering.domains import known_to_onnx
from jax2onnx.lowering.driver import Driver
from jax2onnx.lowering.model_io import Border
from jax2onnx.options import (
    DEFAULT_OPSET,
    DEFAULT_TARGET,
    STAGES,
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
from jax2onnx.output.names import NEXT, rename_constants, unique_names
from jax2onnx.output.proto import add_weights
from jax2onnx.output.report.write import files_of, write_report
from jax2onnx.output.save import EXTERNAL_DATA_THRESHOLD, preflight, save
from jax2onnx.output.save_entries import entry_files, preflight_entries, save_entries
from jax2onnx.output.sources import write_sources
from jax2onnx.output.stream import MOST_BYTES
from jax2onnx.output.verify import Verifier
from jax2onnx.plugin import loader
from jax2onnx.plugin.functions import exporting, marked_call
from jax2onnx.plugin.lowerings import MIN_OPSET
from jax2onnx.plugin.opening import Opening
from jax2onnx.plugin.own_operators import ONNX_OP
from jax2onnx.plugin.targets import at_opset, default_opset, find_target
from jax2onnx.program.flatten import Note, Warned
from jax2onnx.program.halve import halve, widen
from jax2onnx.program.prepare import FindFunctions, Preparer
from jax2onnx.program.program import Program
from jax2onnx.program.represent import is_complex, represented
from jax2onnx.program.shapes import is_static
from jax2onnx.program.text import describe
from jax2onnx.tidy.idle_nodes import remove_unused, unused_initializers
from jax2onnx.tidy.subgraphs import stored_bytes
from jax2onnx.tidy.tidy import tidy

if TYPE_CHECKING:
    from jax2onnx.errors import MissingPluginWarning
    from jax2onnx.frontend.entries import Entry
    from jax2onnx.frontend.specs import Inputs
    from jax2onnx.frontend.trace import Traced
    from jax2onnx.fusion.records import Record
    from jax2onnx.fusion.report import FusionReport
    from jax2onnx.legalise.targets import Target
    from jax2onnx.lowering.domains import Domains
    from jax2onnx.lowering.trail import Trail
    from jax2onnx.plugin.fusions import Fusion
    from jax2onnx.plugin.opening import Opened
    from jax2onnx.plugin.registry import Named, Registry
    from jax2onnx.program.facts import FactTable
    from jax2onnx.weights.stored import StoredArray

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

_Specs: TypeAlias = Sequence[Any] | Mapping[str, Any]


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
        preflight(delivery.path)
    with memory_explained(), seldom_collecting():
        export = _exported(fn, inputs, options)
        model = export.model
        if delivery.mode == "ir":
            return model
        if delivery.mode == "file" and not delivery.single_file and not export.one_file:
            save(model, delivery.path)
            return delivery.path
        _require_one_message(model)
        if delivery.mode == "file":
            save(model, delivery.path, external_data_threshold=MOST_BYTES)
            return delivery.path
        return add_weights(export.proto, model)


def _require_one_message(model: ir.Model) -> None:
    """Raise ConversionError if the model is too large for one protobuf message."""
    size = 0
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            size += stored_bytes(value.const_value)
    if size > MOST_BYTES:
        raise ConversionError(
            f"the model holds {size / 2**30:.1f} GiB of weights, more than one protobuf message can",
            remedy="use save_onnx with another target than 'web', which writes weights beside the model",
        )


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
def save_onnx(fn: Any, inputs: Any, path: Any = NEEDED, **options: Any) -> None:
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
        _save_entries(fn, inputs, options)
        return
    if path is NEEDED:
        raise InputSpecError(
            "save_onnx: path is missing; write save_onnx(fn, inputs, path, ...): path is the file to write, such as "
            "'model.onnx'"
        )
    if not isinstance(path, str | os.PathLike):
        raise InputSpecError(
            f"path: expected the name of a file, got {shown(path)}; the order is save_onnx(fn, inputs, path)"
        )
    progress = options.pop("progress", None)
    check_values({"progress": progress})
    checked = Options.of(cast("ExportOptions", options), SaveOptions.__annotations__)
    preflight(path)
    with memory_explained():
        export = _exported(fn, inputs, checked)
        threshold = EXTERNAL_DATA_THRESHOLD
        if export.one_file:
            _require_one_message(export.model)
            threshold = MOST_BYTES
        save(export.model, path, external_data_threshold=threshold, progress=progress)


def _save_entries(given: Mapping[str, Any], path: str | os.PathLike[str], options: Mapping[str, Any]) -> None:
    """Write the models of several entries, and their weights."""
    entries = read_entries(given)
    own = {name: options.get(name) for name in ("carry", "progress")}
    check_values(own)
    shared = {name: value for name, value in options.items() if name not in own}
    # Opened once, so that entries which have one of its arrays share it.
    shared["weights"] = opened_weights(shared.get("weights"), loader.load().hook)
    checked = {}
    for name, entry in entries.items():
        with _in_entry(name):
            together = cast("ExportOptions", {"name": name, **shared, **entry.options})
            checked[name] = Options.of(together, EntriesOptions.__annotations__)
    with entry_files(path, entries) as files:
        preflight_entries(files)
        with memory_explained(), seldom_collecting():
            models = _exported_entries(entries, checked, own["carry"])
            save_entries(models, files, own["progress"])


def _exported_entries(
    entries: Mapping[str, Entry], options: Mapping[str, Options], carry: Mapping[str, str] | None
) -> dict[str, ir.Model]:
    """Do all stages of the exports of entries; what one gives another has one name in both."""
    options = {name: _with_own_report(chosen, name) for name, chosen in options.items()}
    exports = {name: _Export(entry.fn, entry.inputs, options[name]) for name, entry in entries.items()}
    running = {}
    ports = {}
    for name, export in exports.items():
        with _in_entry(name):
            running[name] = export.stages()
            next(running[name])
            ports[name] = export.ports()
    links = find_links(ports, carry)
    for name, export in exports.items():
        carried = {link.output: link.name + NEXT for link in links[name]}
        export.traced = replace(export.traced, carried=carried)
        with _in_entry(name):
            _finish(export, running[name], options[name])
    _warn_unused(export, stacklevel=6)
    return {name: export.model for name, export in exports.items()}


def _with_own_report(options: Options, name: str) -> Options:
    """Return the options of an entry, whose report has its name."""
    if options.report is None:
        return options
    page, _ = files_of(options.report)
    return replace(options, report=page.with_name(f"{page.stem}-{name}.html"))


@contextlib.contextmanager
def _in_entry(name: str) -> Iterator[None]:
    """Say in which entry an error was."""
    try:
        yield
    except ConversionError as error:
        error.what = f"entry {name!r}: {error.what}"
        raise
    except InputSpecError as error:
        raise InputSpecError(f"entry {name!r}: {error.message}") from error.__cause__


def export_ir(fn: Any, inputs: _Specs, options: Options | None = None) -> ir.Model:
    """As :func:`to_onnx`, returning an ``onnx_ir.Model`` whose weights are not copied."""
    return _exported(fn, inputs, options or Options()).model


def runnable(model: ir.Model) -> ir.Model:
    """Return a model for any target as one that onnxruntime's CPU provider runs, with casts where it has no kernels."""
    target = load_target(DEFAULT_TARGET)
    assert target is not None
    legalise(model, target.at(model.opset_imports[""]))
    return model


@seldom_collecting()
def _exported(fn: Any, inputs: _Specs, options: Options) -> _Export:
    """Do all stages of an export, verify the model, and tell the user what there is to tell."""
    export = _Export(fn, inputs, options)
    _finish(export, export.stages(), options, stacklevel=6)
    _warn_unused(export, stacklevel=6)
    return export


def _warn_unused(export: _Export, *, stacklevel: int) -> None:
    """Warn of weights that no parameter has taken."""
    unused = export.unused_weights()
    if unused:
        warnings.warn(unused, UserWarning, stacklevel=stacklevel)


def _finish(export: _Export, stages: Iterator[object], options: Options, *, stacklevel: int = 7) -> None:
    """Do the stages of an export that are left, verify the model, and tell the user what there is to tell."""
    try:
        for _ in stages:
            pass
    finally:
        for told in export.unopened:
            warnings.warn(told, stacklevel=stacklevel)
    with export.reporting():
        export.verify()
    for message in dict.fromkeys(export.warnings):
        warnings.warn(message, UserWarning, stacklevel=stacklevel)
    export.write_report()
    if export.records is not None and options.explain:
        receive = _print if options.explain is True else options.explain
        assert callable(receive)
        _deliver(receive, summed_up(export.records, export.notes))


@readable
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
    with memory_explained():
        result = at_stage(fn, inputs, stage, Options.of(options))
    return describe(result) if isinstance(result, Program) else str(result)


def traced_ports(fn: Any, inputs: _Specs, options: Options) -> Ports:
    """Return the inputs and outputs of a callable; nothing is lowered."""
    export = _Export(fn, inputs, options, is_whole=False)
    next(export.stages())
    return export.ports()


def at_stage(fn: Any, inputs: _Specs, stage: Stage, options: Options | None = None) -> Program | ir.Model:
    """As :func:`show`, returning the program or model itself; what comes after the stage is not done."""
    if stage not in STAGES:
        raise InputSpecError(f"stage: {shown(stage)} is none of {', '.join(STAGES)}; {nearest(stage, STAGES)}")
    export = _Export(fn, inputs, options or Options(), is_whole=False)
    return next(result for name, result in export.stages() if name == stage)


def followed(fn: Any, inputs: _Specs, options: Options, trail: Trail) -> Iterator[tuple[Stage, Program | ir.Model]]:
    """Do one stage of an export after the other; ``trail`` receives what each value of the program became."""
    export = _Export(fn, inputs, options)
    export.trail = trail
    yield from export.stages()


class _Export:
    """One export.

    Attributes:
        model: the model, from the stage ``lowered`` on.
        parsed: the inputs, from the stage ``program`` on.
        traced: the traced callable likewise; until the next stage it may be replaced.
        proto: the finished model without its weights, once it is verified.
        warnings: messages to show the user.
        records: what was found, missed and made a constant; None if that was not asked for.
        notes: what flattening has to tell of the program.
        one_file: whether the target takes no weights beside the model.
        unopened: warnings of objects whose frameworks' plugins are not in use.
        trail: receives what each value of the program became; None if that was not asked for.
    """

    def __init__(self, fn: Any, inputs: _Specs, options: Options, *, is_whole: bool = True) -> None:
        refuse_nested()
        self._is_whole = is_whole
        self._elsewhere: Elsewhere
        self._fn = fn
        self._inputs = inputs
        self._options = options
        self._opset = options.opset or DEFAULT_OPSET
        self.model: ir.Model
        self.parsed: Inputs
        self.traced: Traced
        self.proto: onnx.ModelProto
        self.warnings: list[str] = []
        self.records: list[Record] | None = [] if options.explain or options.report else None
        self.collector = None if options.report is None else Collector(self._name(), inputs, options)
        self.notes: list[Note] = []
        self.unopened: list[MissingPluginWarning] = []
        self.trail: Trail | None = None
        self.one_file = False
        self._domains: frozenset[str] = frozenset()

    def ports(self) -> Ports:
        """Return the inputs and outputs, from the stage ``program`` on."""
        return Ports(self.parsed.specs, self.traced.outputs, self.traced.avals)

    def verify(self) -> None:
        """Check that the model is valid ONNX."""
        with unchecked():
            verifier = Verifier(domains=self._domains, own=ONNX_OP, describe_plugin=loader.load().describe)
            try:
                self.proto = verifier.verified(self.model)
            except InvalidModelError as error:
                self._blame(error)
                raise

    def _blame(self, error: InvalidModelError) -> None:
        """Note which plugin is at fault for an invalid model; name those that changed the finished one."""
        loaded = loader.load()
        finalizers = loaded.hook.finalizers()
        for plugin in finalizers or [error.plugin or ""]:
            loaded.blame(plugin.partition(" ")[0], error.what)
        if finalizers:
            error.what += f"; jax2onnx_finalize of {', '.join(finalizers)} changed it last"
            error.plugin = error.plugin or finalizers[-1]

    def stages(self) -> Iterator[tuple[Stage, Program | ir.Model]]:
        """Do one stage after the other; yield the name and the result of each."""
        stages = self._stages()
        while True:
            with self.reporting(), internal():
                done = next(stages, None)
            if done is None:
                return
            if self.collector is not None:
                self.collector.stage(*done)
            yield done

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Write the report, if one was asked for, of an export that fails."""
        try:
            yield
        except Exception as error:
            if self.collector is not None:
                self.collector.failed(error)
                self.write_report()
            raise

    def write_report(self) -> None:
        """Write the report, if one was asked for."""
        collector, options = self.collector, self._options
        if collector is None or options.report is None:
            return
        loaded = loader.load()
        collector.plugins(loaded)
        collector.fusions(self.records or [], self.notes)
        collector.warnings([*self.warnings, *map(str, self.unopened)])
        if "error" not in collector.told:
            collector.model(self.model, tuple(loaded.registry().targets), options.constraints)
        write_report(collector.document(), options.report)

    def _name(self) -> str:
        """Return what the callable is called."""
        return self._options.name or str(getattr(self._fn, "__name__", type(self._fn).__name__))

    def _stages(self) -> Iterator[tuple[Stage, Program | ir.Model]]:
        options = self._options
        if options.opset is not None:
            _check_opset(options.opset)
        if options.keep and options.precision is None:
            raise InputSpecError("keep: everything stays float32 without precision; write precision='float16' too")
        if options.weight_names is not None and options.weights is None:
            raise InputSpecError("weight_names: no array is looked for without weights; write weights='file.npz' too")
        loaded = loader.load()
        registry = loaded.registry()
        facts = registry.facts.with_lowered(options.lowerings or ())
        found = find_target(options.target, registry.targets)
        if options.opset is None:
            self._opset = default_opset(found, DEFAULT_OPSET)
        target = at_opset(found, options.target, self._opset)
        self.one_file = target is not None and target.one_file
        self.unopened = unopened(self._fn, loaded.without_opener())
        kernels = () if target is None else target.kernels or ()
        self._domains = known_to_onnx() | {domain for domain, _ in kernels} | set(options.domains or ())
        opened, parsed = self._open(loaded.hook)
        _refuse_symbols(target, parsed)
        stored = self._find_weights(opened, loaded.hook)
        carry = exporting(lambda node: loaded.hook.jax2onnx_carry(target=node))
        with carry, explained(self._fn, opened, parsed):
            traced = trace(opened, parsed, facts, stored)
        late = {name: array for name, array in traced.params.items() if name in opened.state}
        stored |= self._elsewhere.arrays(late) if late else {}
        if options.unroll_layers is not False:
            traced = unroll_layers(traced, facts, stored, quantised=options.unroll_layers is None)
        self.notes += traced.notes
        if self.records is not None:
            arrays = {**opened.params, **opened.state}
            self.records += [MadeConstant.of(name, arrays[name], where) for name, where in traced.constants.items()]
        self.parsed = parsed
        self.traced = traced
        yield "program", traced.program

        traced = self.traced
        preparer = Preparer(facts, self._find_functions(registry.fusions, facts), marked_call, self.notes)
        with unchecked():
            program = preparer.prepare(traced.program)
            if options.precision is not None:
                # What half holds is decided by the numbers.
                held = in_memory(traced.params, stored)
                held = {name: represented(array) if is_complex(array) else array for name, array in held.items()}
                traced = replace(traced, params=held)
                stored = {}
                program, traced = self._halved(program, traced, facts, target)
        if self.trail is not None:
            self.trail.params, self.trail.updated = traced.params, traced.updated
        yield "fused", program

        lowerings = registry.lowerings.with_user(options.lowerings) if options.lowerings else registry.lowerings
        driver = Driver(
            asked=self._opset,
            domains=options.domains or {},
            target=target,
            guards=(target is not None and target.guards) if options.guards is None else options.guards,
            lowerings=lowerings,
            preparer=preparer,
            describe_plugin=loaded.describe,
            problems=loaded.problems,
            provider=loaded.provider,
            records=self.records,
            trail=self.trail,
            guarded=None if self.collector is None else self.collector.guards,
        )
        with unchecked():
            border = Border(driver.op, parsed, traced, options, stored)
            border.outputs(_lowered(driver, program, border.operands()))
            self.model = _assemble(border, driver, options, opened.name, is_whole=self._is_whole)
        _refuse_unused(options.lowerings or {}, registry, driver.primitives)
        told = [note.message for note in self.notes if isinstance(note, Warned)]
        self.warnings += [*opened.warnings, *parsed.warnings, *told, *driver.warnings, *loaded.untold()]
        yield "lowered", self.model

        with unchecked():
            tidy(self.model, fold_batch_norm=options.fold_batch_norm)
            loaded.hook.jax2onnx_finalize(model=self.model)
        yield "tidied", self.model

        with unchecked():
            _legalise(self.model, target, self._opset, round_activations=options.round_activations)
            if options.precision is not None:
                halves = [half for half in _HALVES if options.precision in {"float32", half.name.lower()}]
                store_in_half(self.model, halves)
        unique_names(self.model)
        write_sources(self.model, options.provenance)
        yield "final", self.model

    def _open(self, hook: Any) -> tuple[Opened, Inputs]:
        options = self._options
        opening = Opening(training=options.training, functions=options.functions, state=options.state)
        with unchecked():
            opened = open_callable(self._fn, hook, opening)
            parsed = parse_inputs(
                opened.signature or self._fn,
                self._inputs,
                input_params=options.input_params,
                input_names=options.input_names,
                constraints=options.constraints,
                static=options.static,
                training=options.training,
            )
        return opened, parsed

    def _halved(
        self, program: Program, traced: Traced, facts: FactTable, target: Target | None
    ) -> tuple[Program, Traced]:
        """Return the program, and the weights, in the precision that the user asks for."""
        options = self._options
        assert options.precision is not None
        if options.precision == "float32":
            both = [half.numpy() for half in _HALVES]
            halved = widen(program, traced.params, facts, halves=both, keep=options.keep)
        else:
            half = ir.DataType[options.precision.upper()]
            halved = halve(
                program,
                traced.params,
                facts,
                dtype=half.numpy(),
                keep=options.keep,
                outputs=options.output_names or traced.outputs,
                computes=computes_in(half, self._opset, target),
            )
        for entry in halved.keep.unused():
            raise InputSpecError(f"keep: nothing in the program is called {entry!r}; {_meant(entry, halved.keep.seen)}")
        self.warnings += halved.warnings
        return halved.program, replace(traced, params=halved.params)

    def _find_weights(self, opened: Opened, hook: Any) -> dict[str, StoredArray]:
        """Return where the arrays of parameters are that are not in memory; state may be an input of the model."""
        options = self._options
        self._elsewhere = Elsewhere(options.weights, options.weight_names, hook)
        sure = {name: array for name, array in opened.params.items() if name not in opened.state}
        if self._is_whole and options.weights is None:
            require_weights(sure)
        return self._elsewhere.arrays(sure)

    def unused_weights(self) -> str:
        """Return a warning of weights that no parameter has taken; empty if there are none."""
        return self._elsewhere.unused()

    def _find_functions(self, registered: Named[Fusion], facts: FactTable) -> FindFunctions | None:
        fusions = tuple(registered)
        if not self._options.fusions or not fusions:
            return None

        def find(program: Program, *, exclude: frozenset[str], derived: bool) -> Program:
            records = None if derived else self.records
            return fuse(program, fusions, facts, opset=self._opset, exclude=exclude, explain=records)

        return find


def _meant(entry: str, seen: Collection[str]) -> str:
    """Return what an entry of a keep-list was probably meant to be, or some of what it may be."""
    known = {name for name in seen if "/" not in name}
    known |= {f"*.{name.rpartition('.')[2]}" for name in known if "." in name and ":" not in name}
    hint = nearest(entry, known)
    if hint.startswith("did you mean"):
        return hint
    some = sorted(known, key=lambda name: (name.count("."), name))[:12]
    return f"write the path of a module or weight, an output, a function or a line, such as {', '.join(some)}"


def _lowered(driver: Driver, program: Program, operands: Sequence[ir.Value]) -> list[ir.Value]:
    """Emit a program; if a part of it cannot be converted, tell which nodes of the rest have no kernel, too."""
    try:
        return driver.run(program, operands)
    except ConversionError as error:
        if not driver.unsupported or driver.target is None:
            raise
        functions = driver.outliner.functions
        graphs = [driver.op.scope.nodes, *functions.values()]
        opsets = {"": driver.opset} | {domain: 1 for domain, _ in functions}
        without = missing_kernels(graphs, driver.target, opsets, frozenset(functions))
        raise ConversionError.together([*driver.unsupported, *without]) from error.__cause__


def _legalise(model: ir.Model, target: Target | None, opset: int, *, round_activations: bool) -> None:
    """Make every node one of the opset that is asked for, with a kernel of the target."""
    if opset < MIN_OPSET:
        unused = unused_initializers(model)
        if target is not None:
            mend(model, target)
        restate(model, MIN_OPSET, opset)
        legalise(model, target or specified(opset), round_activations=round_activations)
        restate(model, MIN_OPSET, opset)  # what legalising put in
        remove_unused(model, keep=unused)
        require_dtypes(model, opset)
    elif target is not None:
        legalise(model, target, round_activations=round_activations)


def _assemble(border: Border, driver: Driver, options: Options, name: str, *, is_whole: bool) -> ir.Model:
    """Return the model of the nodes that were emitted, between its inputs and outputs."""
    root, functions = driver.op.scope, driver.outliner.functions
    inputs = list(border.inputs)
    initializers: list[ir.Value] = []
    for value in (*border.params, *root.initializers):
        value.const_value = stored_tensor(value)  # from now on nobody looks at numbers without need
        if value.const_value is not None:
            initializers.append(value)
        elif value.uses():
            if is_whole:
                raise without_key(value.name or "")
            inputs.append(value)  # a graph to look at needs no weights
    rename_constants(border.params, root.initializers)
    graph = ir.Graph(
        inputs,
        border.results,
        nodes=root.nodes,
        initializers=initializers,
        opset_imports={domain: 1 for domain, _ in functions} | driver.op.domains.imports,
        name=options.name or name,
    )
    return ir.Model(
        graph,
        ir_version=_ir_version(driver.op.domains, functions=bool(functions)),
        producer_name=options.producer or "jax2onnx",
        producer_version="" if options.producer else _version(),
        model_version=int(options.model_version),
        doc_string=options.doc_string or None,
        metadata_props=dict(options.metadata or {}),
        functions=list(functions.values()),
    )


def _ir_version(domains: Domains, *, functions: bool) -> int:
    """Return the oldest version of the format that has the versions of ONNX's own domains, and functions."""
    known = known_to_onnx()
    imports = {**domains.imports, "": domains.opset}
    used = [onnx.helper.make_opsetid(*item) for item in imports.items() if item[0] in known]
    return max(onnx.helper.find_min_ir_version_for(used), _FUNCTIONS if functions else 0)


_FUNCTIONS = 8
"""The version of the format that brought functions."""


@functools.cache
def _version() -> str:
    return version("jax2onnx-core")


def _deliver(receive: Callable[[FusionReport], object], fusions: FusionReport) -> None:
    """Give the user's callable the report."""
    try:
        receive(fusions)
    except Exception as error:  # the border to the user's code
        raise InputSpecError(
            f"explain: the callable raises {named_error(error)}; pass one that takes a FusionReport, such as print"
        ) from error


def _print(fusions: FusionReport) -> None:
    print(printable(str(fusions)), file=sys.stderr)  # noqa: T201 - explain=True asks for it


def _refuse_unused(rules: Collection[str], registry: Registry, used: Collection[str]) -> None:
    """Raise InputSpecError for a rule of the user whose primitive is nowhere, and is written nearly like another."""
    known = {entry.primitive for entry in registry.lowerings} | set(used)
    for name in rules:
        if name in known:
            continue
        hint = nearest(name, known)
        if hint.startswith("did you mean"):
            raise InputSpecError(f"lowerings: there is no primitive {name!r} in the program; {hint}")


def _check_opset(opset: int) -> None:
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise OpsetError(
            f"opset: {opset!r} is not supported",
            remedy=f"pass an int from {OLDEST_OPSET} to {newest} (the newest of the installed onnx)",
        )


def _refuse_symbols(target: Target | None, parsed: Inputs) -> None:
    """Raise InputSpecError for an input with symbolic dims, if the target takes none."""
    if target is None or not target.static_shapes:
        return
    for spec in parsed.specs:
        if not is_static(*spec.aval.shape):
            raise InputSpecError(
                f"input {spec.name}: {target.runtime} takes static shapes only, and this one is "
                f"{spec.aval.dtype}[{','.join(map(str, spec.aval.shape))}]; write numbers for its dims"
            )

"""The public entry points: ``to_onnx`` and ``save_onnx``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import jax
import onnx
import onnx_ir as ir

from jax2onnx import plugins
from jax2onnx.builder import ir_dtype
from jax2onnx.dims import find_sources
from jax2onnx.errors import ConversionError, InputSpecError, OpsetError
from jax2onnx.flatten import flatten
from jax2onnx.functions import exporting, is_marked
from jax2onnx.fuse import fuse
from jax2onnx.legalise import legalise
from jax2onnx.lower import LoweringContext, lower
from jax2onnx.registry import MIN_OPSET, Opening
from jax2onnx.represent import form, represented
from jax2onnx.save import preflight, save
from jax2onnx.specs import InputSpec, parse_inputs
from jax2onnx.tidy import tidy
from jax2onnx.trace import open_callable, trace

if TYPE_CHECKING:
    import os

    from jax2onnx.legalise import Target

DEFAULT_OPSET = 23
DEFAULT_TARGET = "onnxruntime-cpu"
_PROTO_LIMIT = 2**31 - 1


def to_onnx(
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    opset: int = DEFAULT_OPSET,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    input_params: Mapping[str, Any] | None = None,
    constraints: Sequence[str] = (),
    target: str | None = DEFAULT_TARGET,
    lowerings: Mapping[str, Callable[..., Any]] | None = None,
    fusions: bool = True,
    functions: Literal["marked", "modules"] = "marked",
    state: Literal["drop", "io"] = "drop",
    training: bool = False,
    name: str | None = None,
) -> onnx.ModelProto:
    """Convert a JAX callable to an ONNX model.

    Args:
        fn: a function, or a framework object that a plugin opens (e.g. a flax.nnx module). A module in training mode is
            exported as its inference self, with one ``UserWarning``.
        inputs: one spec per positional argument (a mapping: keyword arguments). A spec is a shape tuple such as
            ``('B', 30)`` (float32), a string such as ``'int32[B,T]'``, a ``jax.ShapeDtypeStruct``, an array, or a
            pytree of these. 64-bit dtypes need ``jax_enable_x64``.
        opset: the ONNX opset; no newer operator is emitted.
        input_names: names of the flattened inputs (default: the callable's parameter names and pytree paths).
        output_names: names of the flattened outputs (default: their pytree paths, or ``output``).
        input_params: specs of keyword arguments that stay inputs of the model.
        constraints: what holds between symbolic dims, e.g. ``['T >= 4', 'mod(T, 2) == 0']``.
        target: the runtime to legalise for; ``'onnx'`` or None keeps the form that the ONNX spec allows.
        lowerings: primitive name -> rule; beats every plugin.
        fusions: whether to emit whole functions (gelu, softmax, …) as ONNX's own operators.
        functions: ``'marked'`` keeps what ``onnx_function`` marks as ONNX functions; ``'modules'`` every submodule of a
            framework's module too.
        state: ``'drop'`` drops the updates that a module makes to its own state; ``'io'`` exports a pure step: each
            updated variable is a further input and, as ``<name>.next``, a further output.
        training: export training behaviour (batch statistics, dropout) instead of inference.
        name: the graph's name.

    Returns:
        The model, self-contained.

    Raises:
        InputSpecError: an argument is not of an accepted form.
        ConversionError: the program cannot be traced or expressed; the message names the user's line and a remedy.
    """
    model = export_ir(
        fn,
        inputs,
        opset=opset,
        input_names=input_names,
        output_names=output_names,
        input_params=input_params,
        constraints=constraints,
        target=target,
        lowerings=lowerings,
        fusions=fusions,
        functions=functions,
        state=state,
        training=training,
        name=name,
    )
    size = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    if size > _PROTO_LIMIT:
        msg = f"the model holds {size / 2**30:.1f} GiB of weights, more than one protobuf message can"
        raise ConversionError(msg, remedy="use save_onnx, which writes weights beside the model")
    return ir.to_proto(model)


def save_onnx(fn: Any, inputs: Sequence[Any] | Mapping[str, Any], path: str | os.PathLike[str], **options: Any) -> None:
    """Convert a JAX callable and write the model to ``path``; options are those of :func:`to_onnx`.

    Large weights are written beside the model, to ``<path>.data``. A failed export leaves no file, and an existing file
    is replaced only by a complete one.

    Raises:
        SaveError: the path cannot be written; checked before work starts where that is possible.
        InputSpecError: as ``to_onnx``.
        ConversionError: as ``to_onnx``.
    """
    preflight(path)
    save(export_ir(fn, inputs, **options), path)


def export_ir(
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    opset: int = DEFAULT_OPSET,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    input_params: Mapping[str, Any] | None = None,
    constraints: Sequence[str] = (),
    target: str | None = DEFAULT_TARGET,
    lowerings: Mapping[str, Callable[..., Any]] | None = None,
    fusions: bool = True,
    functions: Literal["marked", "modules"] = "marked",
    state: Literal["drop", "io"] = "drop",
    training: bool = False,
    name: str | None = None,
) -> ir.Model:
    """As :func:`to_onnx`, returning an ``onnx_ir.Model`` whose weights are not copied."""
    _check_opset(opset)
    loaded = plugins.load()
    registry = loaded.registry()
    runtime = _find_target(target, registry.targets)
    opened = open_callable(fn, loaded.hook, Opening(training=training, functions=functions, state=state))
    parsed = parse_inputs(
        opened.signature or fn,
        inputs,
        input_params=input_params,
        input_names=input_names,
        constraints=constraints,
    )
    with exporting(lambda node: loaded.hook.jax2onnx_carry(target=node)):
        traced = trace(opened, parsed)
    used = tuple(registry.fusions) if fusions else ()
    program = fuse(flatten(traced.jaxpr, keep=is_marked), used, opset=opset)
    ctx = LoweringContext(
        opset=opset,
        target=runtime,
        lowerings=registry.lowerings.with_user(lowerings) if lowerings else registry.lowerings,
        fusions=used,
        describe_plugin=loaded.describe,
        problems=loaded.problems,
    )
    params = _parameters(traced.params)
    held = _parameters({n: a for n, a in traced.state.items() if n not in traced.updated})
    specs = (*parsed.specs, *(InputSpec(n, jax.typeof(traced.state[n])) for n in traced.state if n in traced.updated))
    graph_inputs = [ctx.input(form(s.aval), s.name) for s in specs]
    root = ctx.op.scope
    root.sources.update(find_sources([(v, s.aval.shape) for v, s in zip(graph_inputs, specs, strict=True)]))
    by_name = {v.name: v for v in (*held, *graph_inputs[len(parsed.specs) :])}
    states = [by_name[n] for n in traced.state]
    values = lower(ctx, program, [*params, *graph_inputs[: len(parsed.specs)], *states])
    results = len(traced.output_paths)
    values[results:] = [v for n, v in zip(traced.state, values[results:], strict=True) if n in traced.updated]
    names = _output_names(traced.output_paths, output_names, {v.name for v in graph_inputs})
    names += [f"{n}.next" for n in traced.state if n in traced.updated]
    _set_apart(params, {*names, *(v.name for v in graph_inputs)})
    graph = ir.Graph(
        graph_inputs,
        _graph_outputs(ctx, values, names),
        nodes=root.nodes,
        initializers=[*params, *held, *root.initializers],
        opset_imports={"": opset} | {domain: 1 for domain, _ in ctx.outliner.functions},
        name=name or opened.name,
    )
    model = ir.Model(
        graph,
        ir_version=onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)]),
        producer_name="jax2onnx",
        producer_version=version("jax2onnx-core"),
        functions=list(ctx.outliner.functions.values()),
    )
    tidy(model)
    loaded.hook.jax2onnx_finalize(model=model)
    if runtime is not None:
        legalise(model, runtime)
    _unique_names(model)
    for message in dict.fromkeys((*opened.warnings, *ctx.warnings)):
        warnings.warn(message, UserWarning, stacklevel=3)
    return model


def _unique_names(model: ir.Model) -> None:
    """Give values of subgraphs names that no other graph uses; onnxruntime wants that even where none shadows."""
    for root in (model.graph, *(f.graph for f in model.functions.values())):
        inner = [g for g in root.subgraphs() if g is not root]
        if not inner:
            continue
        taken = {v.name for v in (*root.inputs, *root.initializers.values())}
        taken.update(v.name for node in root for v in node.outputs)
        for graph in inner:
            for value in (*graph.inputs, *(v for node in graph for v in node.outputs)):
                name = value.name or "value"
                count = 1
                while value.name is None or value.name in taken:
                    value.name = f"{name}_{count}"
                    count += 1
                taken.add(value.name)


def _check_opset(opset: int) -> None:
    newest = onnx.defs.onnx_opset_version()
    if not MIN_OPSET <= opset <= newest:
        msg = f"opset: {opset!r} is not supported"
        raise OpsetError(msg, remedy=f"pass an int from {MIN_OPSET} to {newest} (the newest of the installed onnx)")


def _find_target(name: str | None, targets: Mapping[str, tuple[Target, str]]) -> Target | None:
    if name is None or name == "onnx":
        return None
    if name not in targets:
        msg = f"target: {name!r} is not known; known are {', '.join(sorted({'onnx', *targets}))}"
        raise InputSpecError(msg)
    return targets[name][0]


def _parameters(params: Mapping[str, Any]) -> list[ir.Value]:
    values = []
    for name, array in params.items():
        held = represented(array)
        tensor = ir.Tensor(held, dtype=ir_dtype(held.dtype), name=name)
        values.append(ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor))
    return values


def _set_apart(params: Sequence[ir.Value], taken: AbstractSet[str | None]) -> None:
    """Rename parameters named as an input, whose value an initializer of that name would be, or as an output."""
    used = {*taken, *(p.name for p in params)}
    for value in params:
        if value.name in taken:
            while value.name in used:
                value.name = f"params.{value.name}"
            used.add(value.name)


def _output_names(paths: Sequence[str], wanted: Sequence[str] | None, taken: set[str | None]) -> list[str]:
    if wanted is not None:
        names = list(wanted)
        if len(names) != len(paths):
            msg = f"output_names: {len(names)} names for {len(paths)} outputs"
            raise InputSpecError(msg)
        repeated = [n for n in names if n in taken or names.count(n) > 1]
        if repeated:
            msg = f"output_names: {repeated[0]!r} is also the name of an input or of another output"
            raise InputSpecError(msg)
        return names
    names = [_default_output(p) for p in paths]
    return [f"output_{n}" if n in taken else n for n in names]


def _default_output(path: str) -> str:
    if not path:
        return "output"
    return f"output_{path}" if path[0].isdigit() else path


def _graph_outputs(ctx: LoweringContext, values: Sequence[ir.Value], names: Sequence[str]) -> list[ir.Value]:
    """Name the outputs; one that is an input, a constant or a duplicate becomes a value of its own."""
    outputs = ctx.distinct(values)
    for output, name in zip(outputs, names, strict=True):
        output.name = name
    return outputs

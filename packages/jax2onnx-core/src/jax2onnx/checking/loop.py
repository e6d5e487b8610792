"""Loop: the models of several entries run one after the other, as the program does: prefill, then steps of decode."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx._accepted import nearest, shown
from jax2onnx._compat import is_symbolic, unchecked
from jax2onnx._printable import counted
from jax2onnx.checking.comparison import Comparison, loaded_model
from jax2onnx.checking.given import given_batch
from jax2onnx.checking.inputs import draw
from jax2onnx.checking.kernels import coarse_primitives, keeps_local
from jax2onnx.checking.reference import Reference
from jax2onnx.errors import CheckError, InputSpecError
from jax2onnx.frontend.elsewhere import with_arrays
from jax2onnx.frontend.entries import Entry, Link, Ports, find_links
from jax2onnx.frontend.open import open_callable
from jax2onnx.frontend.specs import Inputs, parse_inputs
from jax2onnx.options import Options
from jax2onnx.pipeline.parts import traced_ports
from jax2onnx.plugin import loader as plugins
from jax2onnx.plugin.opening import Opened, Opening
from jax2onnx.program.represent import represented

if TYPE_CHECKING:
    from jax2onnx.checking.compare import CheckReport
    from jax2onnx.checking.runtime import Runtime

__all__ = ["EntriesReport", "compare_loop", "model_files"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class EntriesReport:
    """What was compared of several entries.

    Attributes:
        entries: the report of each entry alone.
        loop: that of all of them, one after the other; its outputs are called ``decode.2.logits`` after the entry and
            the call.
    """

    entries: Mapping[str, CheckReport]
    loop: CheckReport | None

    def __str__(self) -> str:
        parts = [f"{name} {report}" for name, report in self.entries.items()]
        if self.loop is not None:
            parts.append(f"all, one after the other, {self.loop}")
        return "\n".join(parts)


def model_files(model: Any, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Return the model of each entry.

    Args:
        model: the path that ``save_onnx`` got, or entry -> model.
        entries: the entries.

    Raises:
        InputSpecError: one is missing.
    """
    if isinstance(model, Mapping):
        for name in entries:
            if name not in model:
                raise InputSpecError(f"model: there is none of the entry {name!r}; {nearest(name, model)}")
        return {name: model[name] for name in entries}
    if not isinstance(model, str | os.PathLike):
        raise InputSpecError(f"model: expected the folder of the entries, got {shown(model)}; name what save_onnx got")
    path = Path(model)
    files = {name: path / f"{name}.onnx" for name in entries}
    if not path.is_dir():
        files = {name: path.with_name(f"{path.name.removesuffix('.onnx')}.{name}.onnx") for name in entries}
    for file in files.values():
        if not file.is_file():
            raise InputSpecError(f"model: there is no file {str(file)!r}; write the entries by save_onnx first")
    return files


@dataclass(frozen=True, slots=True)
class _Part:
    """An entry that can be called.

    Attributes:
        opened: the callable.
        inputs: its inputs.
        links: which of its outputs an argument of an entry takes later.
        repeats: whether it takes what it returns.
    """

    opened: Opened
    inputs: Inputs
    links: Sequence[Link]
    repeats: bool


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of an entry.

    Attributes:
        name: what it is called: the entry, and the number of the call if there are several.
        entry: the entry.
        given: for each flattened input, its name among those of the loop; None for one that an earlier call returned.
    """

    name: str
    entry: str
    given: tuple[str | None, ...]


def compare_loop(
    models: Mapping[str, Any], entries: Mapping[str, Entry], options: Mapping[str, Any], steps: int
) -> Comparison:
    """Return the comparison of all models, one after the other, with the program.

    Each entry is called once, in the order in which they stand, one that takes what it returns ``steps`` times.
    """
    parts = _parts(entries, options)
    calls = list(_calls(parts, steps))
    specs = {}
    for call in calls:
        for name, spec in zip(call.given, parts[call.entry].inputs.specs, strict=True):
            if name is not None:
                dims = [str(dim) if is_symbolic(dim) else dim for dim in spec.aval.shape]
                specs[name] = jax.ShapeDtypeStruct(dims, spec.aval.dtype)
    constraints = list(dict.fromkeys(c for entry in entries.values() for c in _own(entry, options, "constraints", ())))
    with unchecked():
        inputs = parse_inputs(_anything, specs, constraints=constraints)
    protos, runners = {}, {}
    for name, model in models.items():
        protos[name], runners[name] = loaded_model(model, options)
    runner = _Runner(runners, calls, parts, [spec.name for spec in inputs.specs])
    last = protos[calls[-1].entry]
    opened = _composed(parts, calls)
    reference = Reference(
        opened,
        inputs,
        (),
        (),
        (),
        facts=plugins.load().registry().facts,
        coarse=coarse_primitives(last),
        local=any(map(keeps_local, protos.values())),
    )
    if options["values"] is not None:
        batches = [given_batch(batch, inputs.specs) for batch in options["values"]]
    else:
        avals = [spec.aval for spec in inputs.specs]
        with unchecked():
            batches = draw(avals, options["sizes"], constraints=constraints, kinds=("ordinary",), seed=options["seed"])
    return Comparison(last, runner, reference, batches, constraints, options["rtol"], options["atol"])


def _anything(**_inputs: Any) -> None:
    """Stand for a callable with any keyword arguments."""


def _own(entry: Entry, options: Mapping[str, Any], option: str, default: Any) -> Any:
    return entry.options.get(option, options.get(option, default))


def _parts(entries: Mapping[str, Entry], options: Mapping[str, Any]) -> dict[str, _Part]:
    """Open the callables, and find which outputs of one are inputs of another."""
    loaded = plugins.load()
    opened: dict[str, tuple[Opened, Inputs]] = {}
    ports: dict[str, Ports] = {}
    for name, entry in entries.items():
        for option in ("state", "inputs_as_nchw", "outputs_as_nchw"):
            if _own(entry, options, option, None) not in {None, (), "drop", False}:
                raise InputSpecError(f"steps: entries with {option}= are not run one after the other; pass steps=0")
        given = {name: _own(entry, options, name, None) for name in ("input_params", "static")}
        training = bool(_own(entry, options, "training", None))
        with unchecked():
            one = open_callable(entry.fn, loaded.hook, Opening(training=training))
            signature = one.signature or entry.fn
            constraints = _own(entry, options, "constraints", ())
            inputs = parse_inputs(signature, entry.inputs, constraints=constraints, training=training, **given)
            one = with_arrays(one, options["weights"], options["weight_names"], loaded.hook)
        opened[name] = replace(one, signature=signature), inputs
        own = {option: value for option, value in entry.options.items() if option in Options.__slots__}
        ports[name] = traced_ports(entry.fn, entry.inputs, Options(**own))
    links = find_links(ports, options["carry"])
    found = {}
    for name, (one, inputs) in opened.items():
        arguments = {spec.argument for spec in inputs.specs}
        repeats = any(link.argument in arguments for link in links[name])
        found[name] = _Part(opened=one, inputs=inputs, links=links[name], repeats=repeats)
    return found


def _calls(parts: Mapping[str, _Part], steps: int) -> Iterator[_Call]:
    """Yield the calls in their order."""
    there: set[tuple[str, str]] = set()
    for entry, part in parts.items():
        for number in range(steps if part.repeats else 1):
            name = f"{entry}.{number}" if part.repeats else entry
            given = []
            for spec in part.inputs.specs:
                is_there = (spec.argument, spec.below) in there
                given.append(None if is_there else f"{name}.{spec.name}")
            yield _Call(name, entry, tuple(given))
            there |= {(link.argument, link.below) for link in part.links}


def _leaves(call: _Call, part: _Part, given: Mapping[str, Any], held: Mapping[tuple[str, str], Any]) -> list[Any]:
    """Return the flattened inputs of a call."""
    leaves = []
    for name, spec in zip(call.given, part.inputs.specs, strict=True):
        leaves.append(held[spec.argument, spec.below] if name is None else given[name])
    return leaves


def _composed(parts: Mapping[str, _Part], calls: Sequence[_Call]) -> Opened:
    """Return all calls as one pure function, which returns the flattened results of each."""
    params = {f"{name}.{key}": array for name, part in parts.items() for key, array in part.opened.params.items()}

    def function(params: Mapping[str, Any], **given: Any) -> list[Any]:
        held: dict[tuple[str, str], Any] = {}
        results = []
        for call in calls:
            part = parts[call.entry]
            own = {key: params[f"{call.entry}.{key}"] for key in part.opened.params}
            leaves = _leaves(call, part, given, held)

            def pure(*args: Any, own: Mapping[str, Any] = own, part: _Part = part, **kwargs: Any) -> Any:
                return part.opened.function(own, *args, **kwargs)

            flat = jax.tree_util.tree_leaves(part.inputs.call(pure, leaves))
            held.update({(link.argument, link.below): flat[link.output] for link in part.links})
            results += flat
        return results

    return Opened(function=function, params=params, name="loop", signature=_anything)


class _Runner:
    """Runs the models of the calls, one after the other, each on what the earlier ones returned."""

    def __init__(
        self, runners: Mapping[str, Runtime], calls: Sequence[_Call], parts: Mapping[str, _Part], names: Sequence[str]
    ) -> None:
        self._runners = runners
        self._calls = calls
        self._parts = parts
        self.name = next(iter(runners.values())).name
        self.input_names = names
        self.output_names = [f"{call.name}.{output}" for call in calls for output in runners[call.entry].output_names]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the outputs of all calls."""
        given = dict(zip(self.input_names, arrays, strict=True))
        held: dict[tuple[str, str], Array] = {}
        results = []
        for call in self._calls:
            part, runner = self._parts[call.entry], self._runners[call.entry]
            feeds = [represented(leaf) for leaf in _leaves(call, part, given, held)]
            if len(feeds) != len(runner.input_names):
                raise CheckError(
                    f"the model of {call.entry!r} has {counted(len(runner.input_names), 'input')}, and the specs "
                    f"describe {len(feeds)}; pass the entries of the export"
                )
            outputs = runner.run(feeds)
            held.update({(link.argument, link.below): outputs[link.output] for link in part.links})
            results += outputs
        return results

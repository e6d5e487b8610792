"""One export: its stages, one after the other."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import onnx_ir as ir

from jax2onnx._compat import unchecked
from jax2onnx.errors import ConversionError, InputSpecError, InvalidModelError
from jax2onnx.frontend.elsewhere import Elsewhere, in_memory, require_weights
from jax2onnx.frontend.entries import Ports
from jax2onnx.frontend.explain import explained, internal, refuse_nested
from jax2onnx.frontend.layers import unroll_layers
from jax2onnx.frontend.open import open_callable
from jax2onnx.frontend.specs import parse_inputs
from jax2onnx.frontend.trace import trace
from jax2onnx.frontend.unopened import unopened
from jax2onnx.fusion.fuse import fuse
from jax2onnx.fusion.records import MadeConstant
from jax2onnx.legalise.half_storage import computes_in, store_in_half
from jax2onnx.legalise.legalise import legalise, missing_kernels
from jax2onnx.legalise.mending import mend
from jax2onnx.legalise.opsets.dtypes import require_dtypes, specified
from jax2onnx.legalise.opsets.restate import restate
from jax2onnx.lowering.collect import Collector
from jax2onnx.lowering.domains import known_to_onnx
from jax2onnx.lowering.driver import Driver
from jax2onnx.lowering.faults import Faults
from jax2onnx.lowering.model_io import Border
from jax2onnx.options import DEFAULT_OPSET
from jax2onnx.output.names import unique_names
from jax2onnx.output.report.write import write_report
from jax2onnx.output.sources import write_sources
from jax2onnx.output.verify import Verifier
from jax2onnx.pipeline.assemble import assemble
from jax2onnx.pipeline.demands import check_combined, meant, refuse_symbols, refuse_unused
from jax2onnx.plugin import loader
from jax2onnx.plugin.functions import exporting
from jax2onnx.plugin.lowerings import MIN_OPSET
from jax2onnx.plugin.marks import marked_call
from jax2onnx.plugin.opening import Opening
from jax2onnx.plugin.own_operators import ONNX_OP
from jax2onnx.plugin.targets import at_opset, default_opset, find_target
from jax2onnx.program.flatten import Note, Warned
from jax2onnx.program.halve import halve, widen
from jax2onnx.program.prepare import FindFunctions, Preparer
from jax2onnx.program.represent import is_complex, represented
from jax2onnx.tidy.idle_nodes import remove_unused, unused_initializers
from jax2onnx.tidy.tidy import tidy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx

    from jax2onnx.errors import MissingPluginWarning
    from jax2onnx.frontend.specs import Inputs
    from jax2onnx.frontend.trace import Traced
    from jax2onnx.fusion.records import Record
    from jax2onnx.legalise.targets import Target
    from jax2onnx.lowering.trail import Trail
    from jax2onnx.options import Options, Stage
    from jax2onnx.plugin.fusions import Fusion
    from jax2onnx.plugin.loaded import LoadedPlugins
    from jax2onnx.plugin.opening import Opened
    from jax2onnx.plugin.registry import Named
    from jax2onnx.program.facts import FactTable
    from jax2onnx.program.program import Program
    from jax2onnx.weights.stored import StoredArray

Specs: TypeAlias = "Sequence[Any] | Mapping[str, Any]"

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


class Export:
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

    def __init__(self, fn: Any, inputs: Specs, options: Options, *, is_whole: bool = True) -> None:
        refuse_nested()
        self._is_whole = is_whole
        self._fn = fn
        self._inputs = inputs
        self._options = options
        self._loaded: LoadedPlugins
        self._facts: FactTable
        self._target: Target | None
        self._opset: int
        self._opened: Opened
        self._elsewhere: Elsewhere
        self._stored: dict[str, StoredArray]
        self._preparer: Preparer
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
        self._choose()
        self._trace()
        yield "program", self.traced.program
        program = self._fuse(self.traced.program)  # an export of several entries has replaced the traced callable
        yield "fused", program
        self._lower(program)
        yield "lowered", self.model
        with unchecked():
            tidy(self.model, fold_batch_norm=self._options.fold_batch_norm)
            self._loaded.hook.jax2onnx_finalize(model=self.model, target=self._target)
        yield "tidied", self.model
        self._complete()
        yield "final", self.model

    def _choose(self) -> None:
        """Load the plugins; find the target and its opset."""
        options = self._options
        check_combined(options)
        self._loaded = loaded = loader.load()
        registry = loaded.registry()
        self._facts = registry.facts.with_lowered(options.lowerings or ())
        found = find_target(options.target, registry.targets, remedy=loaded.target_remedy)
        self._opset = options.opset or default_opset(found, DEFAULT_OPSET)
        self._target = target = at_opset(found, options.target, self._opset)
        self.one_file = target is not None and target.one_file
        if target is not None:
            self.warnings += [f"target {options.target}: {caution}" for caution in target.cautions()]
        kernels = () if target is None else target.kernels or ()
        self._domains = known_to_onnx() | {domain for domain, _ in kernels} | set(options.domains or ())

    def _trace(self) -> None:
        """Open the callable and trace it: its program, and where its weights are."""
        loaded = self._loaded
        self.unopened = unopened(self._fn, loaded.without_opener())
        opened, parsed = self._open(loaded.hook)
        refuse_symbols(self._target, parsed)
        stored = self._find_weights(opened, loaded.hook)
        carry = exporting(lambda node: loaded.hook.jax2onnx_carry(target=node))
        with carry, explained(self._fn, opened, parsed):
            traced = trace(opened, parsed, self._facts, stored)
        late = {name: array for name, array in traced.params.items() if name in opened.state}
        stored |= self._elsewhere.arrays(late) if late else {}
        if self._options.unroll_layers is not False:
            quantised = self._options.unroll_layers is None
            traced = unroll_layers(traced, self._facts, stored, quantised=quantised)
        self.notes += traced.notes
        if self.records is not None:
            arrays = {**opened.params, **opened.state}
            self.records += [MadeConstant.of(name, arrays[name], where) for name, where in traced.constants.items()]
        self._opened, self.parsed, self.traced, self._stored = opened, parsed, traced, stored

    def _fuse(self, program: Program) -> Program:
        """Find functions, fold constants and analyse; then, if the user asks for it, halve the precision."""
        fusions = self._loaded.registry().fusions
        self._preparer = Preparer(self._facts, self._find_functions(fusions), marked_call, self.notes)
        with unchecked():
            program = self._preparer.prepare(program)
            if self._options.precision is not None:
                # What half holds is decided by the numbers.
                held = in_memory(self.traced.params, self._stored)
                held = {name: represented(array) if is_complex(array) else array for name, array in held.items()}
                self._stored = {}
                program, self.traced = self._halved(program, replace(self.traced, params=held))
        if self.trail is not None:
            self.trail.params, self.trail.updated = self.traced.params, self.traced.updated
        return program

    def _lower(self, program: Program) -> None:
        """Emit the nodes of the program, by the rules of the plugins and of the user."""
        options, loaded, target = self._options, self._loaded, self._target
        registry = loaded.registry()
        lowerings = registry.lowerings.with_user(options.lowerings) if options.lowerings else registry.lowerings
        faults = Faults(
            asked=self._opset,
            lowerings=lowerings,
            describe_plugin=loaded.describe,
            problems=loaded.problems,
            provider=loaded.provider,
        )
        driver = Driver(
            asked=self._opset,
            domains=options.domains or {},
            target=target,
            guards=(target is not None and target.guards) if options.guards is None else options.guards,
            lowerings=lowerings,
            preparer=self._preparer,
            faults=faults,
            records=self.records,
            trail=self.trail,
            guarded=None if self.collector is None else self.collector.guards,
        )
        with unchecked():
            border = Border(driver.op, self.parsed, self.traced, options, self._stored)
            border.outputs(_lowered(driver, program, border.operands()))
            self.model = assemble(border, driver, options, self._opened.name, is_whole=self._is_whole)
        refuse_unused(options.lowerings or {}, registry, driver.primitives)
        told = [note.message for note in self.notes if isinstance(note, Warned)]
        self.warnings += [*self._opened.warnings, *self.parsed.warnings, *told, *driver.warnings, *loaded.untold()]

    def _complete(self) -> None:
        """Legalise the model for its target; name its values, and write where its nodes come from."""
        options = self._options
        with unchecked():
            _legalise(self.model, self._target, self._opset, round_activations=options.round_activations)
            if options.precision is not None:
                halves = [half for half in _HALVES if options.precision in {"float32", half.name.lower()}]
                store_in_half(self.model, halves)
        unique_names(self.model)
        write_sources(self.model, options.provenance)

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

    def _halved(self, program: Program, traced: Traced) -> tuple[Program, Traced]:
        """Return the program, and the weights, in the precision that the user asks for."""
        options, facts = self._options, self._facts
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
                computes=computes_in(half, self._opset, self._target),
            )
        for entry in halved.keep.unused():
            raise InputSpecError(f"keep: nothing in the program is called {entry!r}; {meant(entry, halved.keep.seen)}")
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

    def _find_functions(self, registered: Named[Fusion]) -> FindFunctions | None:
        fusions, facts = tuple(registered), self._facts
        if not self._options.fusions or not fusions:
            return None

        def find(program: Program, *, exclude: frozenset[str], derived: bool) -> Program:
            records = None if derived else self.records
            return fuse(program, fusions, facts, opset=self._opset, exclude=exclude, explain=records)

        return find


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
    else:
        legalise(model, target or specified(opset), round_activations=round_activations)

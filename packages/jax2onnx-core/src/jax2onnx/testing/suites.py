"""Suites for what a plugin registers: a rule, a fusion, the opening of a framework's objects, a target.

Each is a class to derive from. The attributes say what there is to test::

    class TestCube(RuleSuite):
        primitive = "cube"
        function = staticmethod(cube)
        shapes = [[(2, 3)], [("B", 3)]]
        dtypes = ("float32", "int32")
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx

from jax2onnx.api import to_onnx
from jax2onnx.checking.cases import static, x64
from jax2onnx.checking.check import check
from jax2onnx.errors import ConversionError, InputSpecError, TraceError
from jax2onnx.frontend.open import open_callable
from jax2onnx.options import DEFAULT_OPSET
from jax2onnx.pipeline.parts import at_stage
from jax2onnx.plugin import loader
from jax2onnx.plugin.opening import Opening
from jax2onnx.program.program import Program
from jax2onnx.testing.exports import assert_exports, of_check, of_export
from jax2onnx.testing.suite import Call, Suite, Trial, described

if TYPE_CHECKING:
    from jax2onnx.fusion.report import FusionReport
    from jax2onnx.plugin.fusions import Fusion

__all__ = ["FusionSuite", "OpenerSuite", "RuleSuite", "TargetSuite"]

_BATCH = 2


class RuleSuite(Suite):
    """A rule: each dtype with each shape, static and symbolic, at each opset that it declares, mapped and derived.

    Attributes:
        primitive: the primitive's name.
        function: a function that binds it.
        shapes: for each call of the function the shapes of its arguments; a string is a symbolic dim.
        dtypes: dtypes of the arguments: one name for all of them, or a tuple with one for each.
        opsets: the opsets to export for (default: those of the rule's variants, and the default one).
        vmap: whether the function can be mapped by ``jax.vmap``.
        grad: whether it has a gradient.
        options: further options of :func:`assert_exports`, such as tolerances.
    """

    primitive: str = ""
    function: Callable[..., Any]
    shapes: Sequence[Sequence[Any]] = ()
    dtypes: Sequence[str | tuple[str, ...]] = ("float32",)
    opsets: Sequence[int] = ()
    vmap: bool = True
    grad: bool = True
    options: Mapping[str, Any] = {}

    def lacking(self) -> str:
        """Return what the suite lacks."""
        return "set shapes, such as [[(2, 3)], [('B', 3)]], and dtypes"

    def trials(self) -> Iterator[Trial]:
        """Return a trial for each combination."""
        for shapes, dtypes in itertools.product(self.shapes, self.dtypes):
            names = (dtypes,) * len(shapes) if isinstance(dtypes, str) else dtypes
            given = [_spec(*pair) for pair in zip(shapes, names, strict=True)]
            for opset in self._opsets():
                for specs in _variants(given):
                    run = functools.partial(self._export, self.function, specs, opset)
                    yield Trial(f"{_joined(specs)}-{opset}", run)
            (fixed, *_) = _variants(given)
            if self.vmap:
                batched = [spec.replace("[", f"[{_BATCH},").replace(",]", "]") for spec in fixed]
                run = functools.partial(self._transformed, "vmap", jax.vmap(self.function), batched)
                yield Trial(f"vmap-{_joined(fixed)}", run)
            floating = [place for place, name in enumerate(names) if "float" in name]
            if self.grad and floating:
                derived = _gradient(self.function, floating)
                run = functools.partial(self._transformed, "grad", derived, fixed, must_bind=False)
                yield Trial(f"grad-{_joined(fixed)}", run)

    def _opsets(self) -> Sequence[int]:
        declared = {
            entry.min_opset for entry in loader.load().registry().lowerings if entry.primitive == self.primitive
        }
        return self.opsets or sorted(declared | {DEFAULT_OPSET})

    def _transformed(self, by: str, fn: Callable[..., Any], specs: Sequence[str], *, must_bind: bool = True) -> None:
        """Try the function as ``vmap`` or ``grad`` transforms it."""
        try:
            self._export(fn, specs, must_bind=must_bind)
        except TraceError as error:
            if not isinstance(error.__cause__, NotImplementedError):
                raise
            raise AssertionError(
                f"{error.__cause__}: give the primitive its rule of JAX for {by}, or set {by} = False in the suite"
            ) from error

    def _export(
        self, fn: Callable[..., Any], specs: Sequence[str], opset: int = DEFAULT_OPSET, *, must_bind: bool = True
    ) -> None:
        rules = {entry.primitive for entry in loader.load().registry().lowerings}
        assert self.primitive in rules, f"no plugin has a rule for {self.primitive!r}"
        with x64(enabled=any("64" in spec for spec in specs)):
            if must_bind:
                program = at_stage(fn, specs, "program")
                assert isinstance(program, Program)
                bound = _primitives(program)
                assert self.primitive in bound, f"the function does not bind {self.primitive!r}; it binds {bound}"
            assert_exports(fn, *specs, opsets=[opset], **self.options)


class FusionSuite(Suite):
    """A fusion: it is found where it must be and nowhere else, and its model equals JAX as its primitives do.

    The function itself, at the fusion's own examples and settings, must be found too.

    Attributes:
        fusion: the fusion's name.
        match: programs in which it must be found, each a callable and its specs.
        no_match: programs in which it must not be found, the nearer to it the better.
        ops: operators that a model with it must have, as in :func:`assert_exports`.
        opsets: the opsets to export for (default: the least ones of its rules, and the default one).
        options: further options of :func:`assert_exports`.
    """

    fusion: str = ""
    match: Sequence[Call] = ()
    no_match: Sequence[Call] = ()
    ops: Mapping[str, int] | Collection[str] = ()
    opsets: Sequence[int] = ()
    options: Mapping[str, Any] = {}

    def lacking(self) -> str:
        """Return what the suite lacks."""
        return f"no plugin has a fusion {self.fusion!r}; set fusion to the name of one"

    def trials(self) -> Iterator[Trial]:
        """Return trials for programs that match, and for those that do not."""
        if not self.fusion:
            return
        found = [fusion for fusion in loader.load().registry().fusions if fusion.name == self.fusion]
        for fusion in found:
            oldest = min(fusion.emit)
            opsets = self.opsets or sorted({*fusion.emit, max(oldest, DEFAULT_OPSET)})
            calls = [*_own_calls(fusion), *self.match]
            for call, opset in itertools.product(calls, opsets):
                yield Trial(f"match-{described(call)}-{opset}", functools.partial(self._match, call, opset))
            for call in calls:
                yield Trial(f"primitives-{described(call)}", functools.partial(self._primitives, call))
            for call in self.no_match:
                yield Trial(f"no-match-{described(call)}", functools.partial(self._no_match, call, max(opsets)))
            if not self.no_match:
                yield Trial("no-match", _fail_without_no_match)

    def _export(self, call: Call, **options: Any) -> list[FusionReport]:
        fn, *specs = call
        reports: list[FusionReport] = []
        assert_exports(fn, *specs, explain=reports.append, **options, **self.options)
        return reports

    def _found(self, reports: Sequence[FusionReport]) -> bool:
        return any(finding.name.partition("(")[0] == self.fusion for report in reports for finding in report.found)

    def _match(self, call: Call, opset: int) -> None:
        reports = self._export(call, opsets=[opset], ops=self.ops)
        assert self._found(reports), f"{self.fusion} is not found:\n{reports[0]}"

    def _primitives(self, call: Call) -> None:
        self._export(call, fusions=False)

    def _no_match(self, call: Call, opset: int) -> None:
        reports = self._export(call, opsets=[opset])
        assert not self._found(reports), f"{self.fusion} is found, and must not be:\n{reports[0]}"


def _fail_without_no_match() -> None:
    raise AssertionError("no_match is empty; give programs that are nearly the function, and must stay primitives")


class OpenerSuite(Suite):
    """The opening of a framework's objects: the names of their arrays, their modes, their state.

    Attributes:
        make: makes an object.
        inputs: the specs of its call.
        names: the names of its parameters.
        modes: whether it is exported in inference form (False), in training form (True), or in both.
        state: the names of the arrays that a call in training form changes.
        options: further options of :func:`assert_exports`.
    """

    make: Callable[[], Any]
    inputs: Sequence[Any] = ()
    names: Collection[str] = ()
    modes: Sequence[bool] = (False, True)
    state: Collection[str] = ()
    options: Mapping[str, Any] = {}

    def lacking(self) -> str:
        """Return what the suite lacks."""
        return "set names to the names of the object's parameters"

    def trials(self) -> Iterator[Trial]:
        """Return a trial for the names, for each mode, and for the state."""
        if not self.names:
            return
        yield Trial("names", self._names)
        yield Trial("names-in-a-closure", self._names_in_a_closure)
        for training in self.modes:
            name = "training" if training else "inference"
            yield Trial(name, functools.partial(self._mode, training=training))
        yield Trial("state", self._state)

    def _names(self) -> None:
        self._require_names(self.make())

    def _names_in_a_closure(self) -> None:
        made = self.make()

        def call(*args: Any) -> Any:
            return made(*args)

        self._require_names(call, "made.")

    def _require_names(self, fn: Any, prefix: str = "") -> None:
        """Require the names, which may start with that of the variable that holds the object."""
        opened = open_callable(fn, loader.load().hook, Opening(training=True))
        bare = {name.removeprefix(prefix) for name in (*opened.params, *opened.state)}
        found = sorted(bare - set(self.state))
        wanted = sorted(set(self.names) - set(self.state))
        assert wanted == found, f"the parameters are {found}, and should be {wanted}"

    def _mode(self, *, training: bool) -> None:
        made = self.make()
        before = _arrays(made)
        with _without_warnings():
            assert_exports(made, *self.inputs, training=training, **self.options)
        after = _arrays(made)
        changed = [name for name, array in before.items() if not np.array_equal(array, after[name], equal_nan=True)]
        assert not changed, f"the export changed arrays of the object: {changed}"

    def _state(self) -> None:
        made = self.make()
        with _without_warnings():
            model = to_onnx(made, list(self.inputs), training=True, state="io", **of_export(self.options))
            check(model, made, list(self.inputs), training=True, state="io", **of_check(self.options))
        found = {name for name in (value.name for value in model.graph.output) if name.endswith(".next")}
        updated = {name.removesuffix(".next") for name in found}
        assert updated == set(self.state), f"a call updates {sorted(updated)}, and should {sorted(self.state)}"


class TargetSuite(Suite):
    """A target: programs that its runtime executes, and programs that are refused.

    Attributes:
        target: the target's name.
        programs: programs that can be exported for it, each a callable and its specs.
        refused: programs that cannot.
        compare: whether onnxruntime runs the models, and they are compared with JAX.
        options: further options of ``assert_exports``, such as tolerances.
    """

    target: str = ""
    programs: Sequence[Call] = ()
    refused: Sequence[Call] = ()
    compare: bool = True
    options: Mapping[str, Any] = {}

    def lacking(self) -> str:
        """Return what the suite lacks."""
        return "set programs and refused"

    def trials(self) -> Iterator[Trial]:
        """Return a trial for each program."""
        for call in self.programs:
            yield Trial(f"exports-{described(call)}", functools.partial(self._exports, call))
        for call in self.refused:
            yield Trial(f"refused-{described(call)}", functools.partial(self._refused, call))

    def _exports(self, call: Call) -> None:
        fn, *specs = call
        if self.compare:
            assert_exports(fn, *specs, target=self.target, **self.options)
            return
        model: onnx.ModelProto = to_onnx(fn, specs, target=self.target, **of_export(self.options))
        onnx.checker.check_model(model, full_check=True)

    def _refused(self, call: Call) -> None:
        fn, *specs = call
        try:
            to_onnx(fn, specs, target=self.target, **of_export(self.options))
        except InputSpecError:
            raise
        except ConversionError:
            return
        raise AssertionError(f"{self.target} takes {described(call)}, and should refuse it")


def _spec(shape: Sequence[Any], dtype: str) -> str:
    return f"{dtype}[{','.join(map(str, shape))}]"


def _variants(specs: Sequence[str]) -> list[list[str]]:
    """Return the specs with static dims, and as they are if that is something else."""
    fixed = static(specs)
    return [fixed] if fixed == list(specs) else [fixed, list(specs)]


def _joined(specs: Sequence[str]) -> str:
    return "-".join(specs)


def _gradient(function: Callable[..., Any], floating: Sequence[int]) -> Callable[..., Any]:
    """Return the gradient of the sum of a function's results in its floating arguments."""

    def total(*arguments: Any) -> Any:
        return sum(jnp.sum(leaf) for leaf in jax.tree_util.tree_leaves(function(*arguments)))

    return jax.grad(total, argnums=tuple(floating))


def _primitives(program: Program) -> set[str]:
    """Return the primitives of a program, those of its bodies too."""
    names = {eqn.primitive for eqn in program.eqns}
    for eqn in program.eqns:
        for body in eqn.bodies:
            names |= _primitives(body.program)
    return names


def _own_calls(fusion: Fusion) -> Iterator[Call]:
    """Return the function of a fusion at its own examples, in the settings that it lists."""
    if callable(fusion.kwargs):
        return
    for example, settings in itertools.product(fusion.examples, fusion.kwargs):
        fn = functools.partial(fusion.reference, **settings) if settings else fusion.reference
        yield fn, *example


def _arrays(made: Any) -> dict[str, Any]:
    """Return copies of the arrays of an object."""
    opened = open_callable(made, loader.load().hook, Opening(training=True, state="io"))
    return {name: np.array(array) for name, array in {**opened.params, **opened.state}.items()}


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Leave out warnings of the mode in which the object is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield

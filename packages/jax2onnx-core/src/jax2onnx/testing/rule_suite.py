"""The suite for a rule: each dtype with each shape, at each opset, mapped and derived.

The attributes say what there is to test, as in the other suites::

    class TestCube(RuleSuite):
        primitive = "cube"
        function = staticmethod(cube)
        shapes = [[(2, 3)], [("B", 3)]]
        dtypes = ("float32", "int32")
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jax2onnx.checking.cases import static, x64
from jax2onnx.errors import TraceError
from jax2onnx.options import DEFAULT_OPSET
from jax2onnx.pipeline.parts import at_stage
from jax2onnx.plugin import loader
from jax2onnx.program.program import Program
from jax2onnx.testing.exports import assert_exports
from jax2onnx.testing.suite import Suite, Trial

__all__ = ["RuleSuite"]

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

"""Fusions: whole functions that core finds again in a traced program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx._accepted import shown
from jax2onnx.plugin import fields
from jax2onnx.program.inline_calls import inline_calls
from jax2onnx.program.program import Const

if TYPE_CHECKING:
    from jax2onnx.program.program import Atom, Eqn, Program


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fusion:
    """A whole function that core finds again in the traced program.

    Attributes:
        name: the function's public name, e.g. ``jax.nn.gelu``.
        reference: the function itself: arrays positionally, static configuration as keywords, one array out, or
            several that are results of one equation (of a ``scan``, say).
        examples: for each structure that the function takes, its positional inputs: shapes (in the dtype of the
            result) or ``jax.ShapeDtypeStruct``.
        kwargs: the static configurations to try (hashable values): mappings, or a function of the
            :class:`~jax2onnx.plugin.fusions.Candidate` that reads them off the equations found.
        emit: minimum opset -> rule ``emit(ctx, *operands, **kwargs)``; it may raise
            :class:`~jax2onnx.plugin.fusions.Decline`, and then the primitives stay.
        dtypes: names of the result dtypes for which the fusion is tried; empty for any floating one.
        primitives: some that the function always has. Where a program lacks one, the function is not looked for, and
            tracing it is saved; the fusion finds the same without.
        library: the module that defines the function, likewise: where it is not imported, no program has the function.
    """

    name: str
    reference: Callable[..., Any]
    examples: Sequence[Sequence[Any]]
    kwargs: Sequence[Mapping[str, Any]] | Callable[[Any], Iterable[Mapping[str, Any]]] = ({},)
    emit: Mapping[int, Callable[..., Any]]
    dtypes: frozenset[str] = frozenset()
    primitives: frozenset[str] = frozenset()
    library: str = ""
    plugin: str = ""

    def __post_init__(self) -> None:
        fields.text("the name of a fusion", self.name)
        fields.function(f"{self.name}: reference", self.reference)
        self._check_emit(self.emit)
        self._check_examples(self.examples)
        for field in ("dtypes", "primitives"):
            fields.names(f"{self.name}: {field}", getattr(self, field))
        for name in self.dtypes:
            if not _is_dtype(name):
                raise TypeError(f"{self.name}: dtypes has {name!r}, no name of a dtype such as 'float32'")
        if not isinstance(self.library, str):
            raise TypeError(f"{self.name}: library is {shown(self.library)}, no text")

    def _check_emit(self, emit: Any) -> None:
        if not isinstance(emit, Mapping) or not emit:
            raise TypeError(f"{self.name}: emit is {shown(emit)}, no table from opsets to rules")
        for opset, rule in emit.items():
            fields.opset(f"{self.name}: a key of emit", opset)
            fields.function(f"{self.name}: the rule of opset {opset}", rule)

    def _check_examples(self, examples: Any) -> None:
        fields.rows(f"{self.name}: examples", examples)
        if not examples:
            raise TypeError(f"{self.name}: examples is empty, so that the function would never be found")
        for example in examples:
            fields.rows(f"{self.name}: one of examples", example)
            for given in example:
                if not isinstance(given, tuple) and not (hasattr(given, "shape") and hasattr(given, "dtype")):
                    what = f"{self.name}: an input of an example is {shown(given)}"
                    raise TypeError(f"{what}, no shape and no jax.ShapeDtypeStruct; an example is a list of these")
            for configuration in self._configurations():
                fields.called_with(f"{self.name}: reference", self.reference, len(example), configuration)
                for opset, rule in self.emit.items():
                    what = f"{self.name}: the rule of opset {opset}"
                    fields.called_with(what, rule, len(example) + 1, configuration)

    def _configurations(self) -> Sequence[Mapping[str, Any]]:
        """Return the configurations that are known before a program is."""
        if callable(self.kwargs):
            return ()
        fields.rows(f"{self.name}: kwargs", self.kwargs)
        if not self.kwargs:
            raise TypeError(f"{self.name}: kwargs is empty, so that the function would never be found; leave it out")
        for configuration in self.kwargs:
            fields.mapping(f"{self.name}: one of kwargs", configuration)
            try:
                hash(tuple(configuration.items()))
            except TypeError as error:
                raise TypeError(f"{self.name}: the values of kwargs have to be hashable: {error}") from None
        return self.kwargs


def _is_dtype(name: str) -> bool:
    """Return whether an array may have a dtype of this name."""
    import ml_dtypes  # whose names numpy does not know before

    try:
        return np.dtype(name).name == name
    except TypeError:
        return hasattr(ml_dtypes, name)


class Decline(Exception):  # noqa: N818 - not an error: the primitives are lowered instead
    """Raised by an emit rule that has no better form than the primitives, with the reason."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place in the program that has a function's structure: what a fusion's ``kwargs`` reads configurations from.

    Attributes:
        bound: what the function's inputs are bound to.
        result: the abstract value (``.shape``, ``.dtype``) of the result, the first one of several.
        equations: the equations found, in program order.
    """

    bound: tuple[Atom, ...]
    result: Any
    equations: tuple[Eqn, ...]

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Abstract values of what the function's inputs are bound to."""
        return tuple(a.aval for a in self.bound)

    @property
    def values(self) -> tuple[np.ndarray[Any, Any] | None, ...]:
        """For each input, its value if it is known at conversion, else None."""
        return tuple(np.asarray(a.value) if isinstance(a, Const) else None for a in self.bound)

    def bodies(self, primitive: str) -> list[Program]:
        """Return the programs inside the equations of one primitive, in program order, with no calls of functions."""
        return [inline_calls(b.program) for e in self.equations if e.primitive == primitive for b in e.bodies]

    def params(self, primitive: str) -> list[dict[str, Any]]:
        """Return the params of the equations of one primitive, in program order."""
        return [e.params for e in self.equations if e.primitive == primitive]

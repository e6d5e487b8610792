"""Examples: runnable callables; each is a test, a row of the coverage table and documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jax2onnx.plugin import fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A runnable example: a test, a row of the coverage table and documentation.

    Attributes:
        name: unique in its context.
        context: area, e.g. ``lax``, ``jnp``, ``nn``, ``nnx``.
        component: the public name of what it shows, e.g. ``jax.lax.add``.
        make: builds the callable to export (called once per use, never at registration).
        inputs: input specs as ``to_onnx`` takes them. With a string dim the example counts twice: ``name`` with the
            dim at 3, and ``name_dynamic`` with the dim symbolic.
        values: builds lists of concrete inputs to compare on, besides those that ``check`` draws; None for none.
        draw: whether ``check`` also draws inputs of its own.
        options: further keyword arguments of ``to_onnx``.
        operators: operators that the export must contain, with their counts, at the default opset; None for any.
        x64: whether to run with ``jax_enable_x64``.
        requires_jax: version specifier, e.g. ``>=0.9``.
        rtol: relative tolerance, where the default of the dtype does not hold (say why beside it).
        atol: absolute tolerance, likewise.
    """

    name: str
    context: str
    component: str
    make: Callable[[], Callable[..., Any]]
    inputs: Sequence[Any]
    values: Callable[[], Sequence[Sequence[Any]]] | None = None
    draw: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    operators: Mapping[str, int] | None = None
    x64: bool = False
    requires_jax: str = ""
    rtol: float | None = None
    atol: float | None = None
    plugin: str = ""

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            check(f"{name} of the example {self.name!r}", getattr(self, name))


_CHECKS = {
    "name": fields.text,
    "context": fields.text,
    "component": fields.text,
    "make": fields.function,
    "inputs": fields.inputs,
    "values": fields.maybe(fields.function),
    "options": fields.mapping,
    "operators": fields.maybe(fields.mapping),
    "requires_jax": fields.versions,
    "rtol": fields.maybe(fields.number),
    "atol": fields.maybe(fields.number),
}
"""What each field accepts."""

"""Naming: outputs, state and initializers, so that no two values of a model share a name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from jax2onnx.errors import InputSpecError
from jax2onnx.tidy.subgraphs import graphs

if TYPE_CHECKING:
    import onnx_ir as ir


NEXT = ".next"
"""What the name of an output that is new state adds to that of the input."""
STATE = "state."
"""What the name of state has before it where it would be that of another input."""


def state_of(name: str, state: Collection[str]) -> str:
    """Return the state that an input of this name is."""
    while name not in state and name.startswith(STATE):
        name = name.removeprefix(STATE)
    return name


def apart(names: Sequence[str], taken: Collection[str], prefix: str) -> list[str]:
    """Return the names, with ``prefix`` before those that are taken."""
    used = {*taken, *names}
    found = []
    for given in names:
        name = given
        if name in taken:
            while name in used:
                name = f"{prefix}{name}"
            used.add(name)
        found.append(name)
    return found


def output_names(paths: Sequence[str], wanted: Sequence[str] | None, taken: Collection[str]) -> list[str]:
    """Return a name for each output: what the user wants, or its path in the result.

    Raises:
        InputSpecError: the wanted names are too many, too few, repeated or taken.
    """
    if wanted is not None:
        names = list(wanted)
        if len(names) != len(paths):
            raise InputSpecError(f"output_names: {len(names)} names for {len(paths)} outputs")
        repeated = [n for n in names if n in taken or names.count(n) > 1]
        if repeated:
            raise InputSpecError(f"output_names: {repeated[0]!r} is also the name of an input or of another output")
        return names
    return apart([_default_output(p) for p in paths], taken, "output_")


def keep_apart(params: Sequence[ir.Value], constants: Sequence[ir.Value]) -> None:
    """Rename the constants that have the name of a parameter."""
    names = [v.name or "const" for v in constants]
    for value, name in zip(constants, apart(names, {v.name or "" for v in params}, "const_"), strict=True):
        if value.name != name:
            value.name = name


def unique_names(model: ir.Model) -> None:
    """Give every value a name that no other has, in subgraphs too (onnxruntime wants that even where none shadows).

    Inputs and outputs keep theirs.
    """
    for root in (model.graph, *(f.graph for f in model.functions.values())):
        kept = {*root.inputs, *root.outputs}
        taken = {v.name for v in kept}
        others = [v for graph in graphs(root) for v in _values(graph) if v not in kept]
        used = taken.union(v.name for v in others)
        for value in others:
            name, count = value.name or "value", 0
            while not value.name or value.name in taken:
                count += 1
                if f"{name}_{count}" not in used:
                    value.name = f"{name}_{count}"
            taken.add(value.name)
            used.add(value.name)


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)]


def _default_output(path: str) -> str:
    if not path:
        return "output"
    return f"output_{path}" if path[0].isdigit() else path

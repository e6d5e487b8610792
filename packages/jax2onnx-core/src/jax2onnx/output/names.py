"""Names: of outputs, state and initializers, such that no two values of a model share one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from jax2onnx._printable import counted
from jax2onnx._unique import free_name
from jax2onnx.errors import InputSpecError
from jax2onnx.tidy.subgraphs import graphs

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["NEXT", "STATE", "output_names", "prefixed_if_taken", "rename_constants", "state_of", "unique_names"]

NEXT = ".next"
"""The suffix of an output that is new state, after the name of the input."""
STATE = "state."
"""The prefix of an input that is state, where its name is also that of another input."""
_UNNAMED = "value"


def state_of(name: str, state: Collection[str]) -> str:
    """Return the name of the state that an input of this name stands for."""
    while name not in state and name.startswith(STATE):
        name = name.removeprefix(STATE)
    return name


def prefixed_if_taken(names: Sequence[str], taken: Collection[str], prefix: str) -> list[str]:
    """Return the names, those that are taken with ``prefix``: ``["a", "output_b"]`` for a and b, where b is taken.

    The prefix is repeated until the name is free.
    """
    others = set(taken)
    used = {*others, *names}
    found: list[str] = []
    for name in names:
        free = name
        if name in others:
            while free in used:
                free = prefix + free
            used.add(free)
        found.append(free)
    return found


def output_names(
    paths: Sequence[str],
    wanted: Sequence[str] | None,
    taken: Collection[str],
    carried: Mapping[int, str] | None = None,
) -> list[str]:
    """Return a name for each output: what the user wants, or its path in the result.

    Args:
        paths: the paths of the outputs.
        wanted: the names that the user wants.
        taken: names that no output may have.
        carried: names of those outputs that an input takes later, if the user wants no others.

    Raises:
        InputSpecError: the wanted names are too many, too few, repeated or taken.
    """
    if wanted is None:
        fixed = carried or {}
        defaults: dict[str, None] = {}
        for index, path in enumerate(paths):
            # Different paths may be written alike: {"a.b": x, "a": {"b": y}}.
            if index not in fixed:
                defaults[free_name(_default_output(path), defaults)] = None
        free = iter(prefixed_if_taken(list(defaults), {*taken, *fixed.values()}, "output_"))
        return [fixed[index] if index in fixed else next(free) for index in range(len(paths))]
    names = list(wanted)
    if len(names) != len(paths):
        listed = ", ".join(map(_default_output, paths)) or "none"
        counts = f"{counted(len(names), 'name')} for {counted(len(paths), 'output')}"
        raise InputSpecError(f"output_names: {counts}; write one for each: {listed}")
    count = Counter([*names, *set(taken)])
    for name in names:
        if count[name] > 1:
            raise InputSpecError(
                f"output_names: {name!r} is also the name of an input or of another output; choose another"
            )
    return names


def _default_output(path: str) -> str:
    if not path:
        return "output"
    return f"output_{path}" if path[0].isdigit() else path


def rename_constants(params: Sequence[ir.Value], constants: Sequence[ir.Value]) -> None:
    """Rename the constants that have the name of a parameter."""
    taken = {param.name or "" for param in params}
    names = [constant.name or "const" for constant in constants]
    for constant, name in zip(constants, prefixed_if_taken(names, taken, "const_"), strict=True):
        constant.name = name


def unique_names(model: ir.Model) -> None:
    """Give every value a name that no other has, in subgraphs too.

    onnxruntime wants that even where a name would hide no other. Inputs and outputs keep their names. A result that
    nothing uses may have the empty name, which asks an operator for none.
    """
    _make_unique(model.graph)
    for function in model.functions.values():
        _make_unique(function.graph)


def _make_unique(root: ir.Graph) -> None:
    border = {*root.inputs, *root.outputs}
    taken = {value.name or "" for value in border}
    inside: list[ir.Value] = []
    used = {_UNNAMED, *taken}
    for value in _values(root):
        name = value.name
        omitted = name == "" and not value.uses()
        if value not in border and not omitted:
            inside.append(value)
            used.add(name or "")
    for value in inside:
        name = value.name
        if not name or name in taken:
            value.name = name = free_name(name or _UNNAMED, used)
            used.add(name)
        taken.add(name)


def _values(root: ir.Graph) -> Iterator[ir.Value]:
    """Yield the values of a graph and of those within."""
    for graph in graphs(root):
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs

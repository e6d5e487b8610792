"""Links: which value of a model is which value of the program that it was exported from.

The program is exported again, and what each of its values becomes is followed: in the model as the rules emitted it,
and in the finished one. The names of that are those of the model in question, if it is the same export. If they are
not, since another version wrote it or a tool renamed values, nodes are aligned by their order, operators and lines.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from jax2onnx._compat import unchecked
from jax2onnx.checking.pieces import Key, Space, bodies_of, spaces
from jax2onnx.lowering.trail import Run, Trail
from jax2onnx.output.sources import NAMESPACE, SOURCE
from jax2onnx.pipeline.parts import followed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jax2onnx.options import Options
    from jax2onnx.program.program import Program, Var

__all__ = ["Form", "Links", "Place", "export_again"]

Place = tuple[Key, str]
"""Where a value is: the graph of the model or a function, and its name there."""


@dataclass(frozen=True, slots=True)
class Form:
    """A model whose values are known to be those of the program.

    Attributes:
        model: the model.
        spaces: its nodes.
        places: the values of the export -> where they are.
        values: the same the other way round.
    """

    model: onnx.ModelProto
    spaces: Mapping[Key, Space]
    places: Mapping[ir.Value, Place]
    values: dict[Place, ir.Value] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", {place: value for value, place in self.places.items()})

    def place(self, run: Run, var: Var) -> Place | None:
        """Return where a value of a program is; None if this model does not have it."""
        value = run.values.get(var)
        return None if value is None else self.places.get(value)


@dataclass(frozen=True, slots=True)
class Links:
    """A program, and the forms that its model has.

    Attributes:
        program: the prepared program.
        trail: what its values became.
        lowered: the model as the rules emitted it.
        final: the finished model, exported again.
        given: the model in question.
        same: whether that is the finished one, but for what nodes tell of their source.
        renamed: names in the finished model -> names in the model in question, of each graph or function.
    """

    program: Program
    trail: Trail
    lowered: Form
    final: Form
    given: Form
    same: bool
    renamed: Mapping[Place, str]


def export_again(fn: Any, inputs: Any, options: Options, given: onnx.ModelProto) -> Links:
    """Export a program again, and link its values with those of a model."""
    trail = Trail()
    program: Any = None
    lowered: Any = None
    model: Any = None
    names: dict[ir.Value, str] = {}
    for stage, result in followed(fn, inputs, options, trail):
        if stage == "fused":
            program = result
        elif stage == "lowered":
            assert isinstance(result, ir.Model)
            names = {value: str(value.name) for _, root in _roots(result) for value in _values(root)}
            with unchecked():
                lowered = _as_lowered(result)
        elif stage == "final":
            model = result
    assert trail.root is not None
    proto = ir.to_proto(model)
    final_spaces = spaces(proto)
    final = Form(proto, final_spaces, _with_successors(_places(model), lowered, names, final_spaces))
    of_given = spaces(given)
    renamed = _aligned(final.spaces, of_given)
    linked = {value: (place[0], renamed[place]) for value, place in final.places.items() if place in renamed}
    return Links(program, trail, lowered, final, Form(given, of_given, linked), _plain(proto) == _plain(given), renamed)


def _places(model: ir.Model) -> dict[ir.Value, Place]:
    """Return where the values of a model are."""
    places: dict[ir.Value, Place] = {}
    for key, root in _roots(model):
        for value in _values(root):
            places[value] = (key, str(value.name))
    return places


def _with_successors(
    places: dict[ir.Value, Place], lowered: Form, names: Mapping[ir.Value, str], found: Mapping[Key, Space]
) -> dict[ir.Value, Place]:
    """Return the places with those of values that others replaced: rewrites hand on the name of a result."""
    taken = {places[value] for value in lowered.places if value in places}
    added = dict(places)
    for value, (key, _) in lowered.places.items():
        place = (key, names[value])
        if value not in places and place not in taken and key in found and found[key].producer(names[value]):
            added[value] = place
    return added


def _roots(model: ir.Model) -> Iterator[tuple[Key, ir.Graph]]:
    yield None, model.graph
    for function in model.functions.values():
        yield (function.domain, function.name), function.graph


def _values(root: ir.Graph) -> Iterator[ir.Value]:
    for graph in (root, *root.subgraphs()):
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs


def _as_lowered(model: ir.Model) -> Form:
    """Return the model as it is now, its values with names of their own; the model itself keeps its names."""
    names: dict[ir.Value, str | None] = {}
    for _, root in _roots(model):
        for number, value in enumerate(dict.fromkeys(_values(root))):
            names[value] = value.name
            value.name = f"{value.name or 'value'}.{number}"
    places = _places(model)
    proto = ir.to_proto(model)
    for value, name in names.items():
        value.name = name
    return Form(proto, spaces(proto), places)


def _plain(model: onnx.ModelProto) -> bytes:
    """Return the graph and the functions of a model without what nodes tell of their source."""
    copy = onnx.ModelProto()
    copy.graph.CopyFrom(model.graph)
    copy.functions.extend(model.functions)
    for root in (copy.graph, *copy.functions):
        _strip(root)
    return bytes(copy.SerializeToString(deterministic=True))


def _strip(root: onnx.GraphProto | onnx.FunctionProto) -> None:
    root.ClearField("value_info")
    root.ClearField("doc_string")
    root.ClearField("name")
    for node in root.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        node.ClearField("name")
        for body in bodies_of(node):
            _strip(body)


def _aligned(ours: Mapping[Key, Space], theirs: Mapping[Key, Space]) -> dict[Place, str]:
    """Return the names of values in one model -> those in another."""
    found: dict[Place, str] = {}
    for key, space in ours.items():
        if key in theirs:
            found.update(((key, name), other) for name, other in _aligned_space(space, theirs[key]).items())
    return found


_SHARED = 0.5
"""Names are trusted if at least this part of them is in both models."""


def _aligned_space(ours: Space, theirs: Space) -> dict[str, str]:
    found = {name: name for name in ours.initializers if name in theirs.initializers}
    found.update(zip(_formal(ours.root), _formal(theirs.root), strict=False))
    names = [name for node in ours.nodes for name in filter(None, node.output)]
    shared = [name for name in names if theirs.producer(name) is not None]
    inner = [name for node in ours.nodes for body in bodies_of(node) for name in _formal(body)]
    if len(shared) >= _SHARED * len(names):
        return found | {name: name for name in (*shared, *inner)}
    matcher = difflib.SequenceMatcher(None, _keys(ours), _keys(theirs), autojunk=False)
    for first, second, length in matcher.get_matching_blocks():
        pairs = zip(ours.nodes[first : first + length], theirs.nodes[second : second + length], strict=True)
        for mine, other in pairs:
            found.update(zip(mine.output, other.output, strict=False))
            for body, peer in zip(bodies_of(mine), bodies_of(other), strict=False):
                found.update(zip(_formal(body), _formal(peer), strict=False))
    return found


def _formal(root: onnx.GraphProto | onnx.FunctionProto) -> list[str]:
    """Return the names of the inputs of a graph or a function."""
    if isinstance(root, onnx.FunctionProto):
        return list(root.input)
    return [value.name for value in root.input]


def _keys(space: Space) -> list[tuple[str, ...]]:
    keys: list[tuple[str, ...]] = []
    for node in space.nodes:
        told = {entry.key: entry.value for entry in node.metadata_props}
        keys.append((node.domain, node.op_type, told.get(SOURCE, ""), told.get(NAMESPACE, ""), str(len(node.input))))
    return keys

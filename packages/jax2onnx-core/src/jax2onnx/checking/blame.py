"""Blame: what is at fault for a value of a model that differs from JAX's.

The piece that computes the value is run in four ways: in onnxruntime as it is, in onnxruntime without optimisation, in
onnx's reference evaluator, and as the rule emitted it before any rewrite. Who agrees with JAX tells who is at fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx._printable import counted
from jax2onnx.checking.finding import Finding
from jax2onnx.checking.pieces import NotRunError, Piece, array_of, bodies_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx

    from jax2onnx.checking.finding import Culprit
    from jax2onnx.checking.links import Form, Links
    from jax2onnx.checking.pieces import Key, Space
    from jax2onnx.checking.walk import Suspect, Walk

__all__ = ["blamed", "changes", "close"]

Array = np.ndarray[Any, Any]


def blamed(walk: Walk, suspect: Suspect) -> Finding:
    """Return who is at fault for a suspect."""
    piece, links = suspect.piece, walk.links
    last = piece.nodes[-1] if piece.nodes else None
    ways = _Ways(walk, suspect)
    plain = ways.agrees("onnxruntime without optimisation", lambda: piece.run(suspect.feeds, optimised=False))
    reference = ways.agrees("onnx's reference evaluator", lambda: piece.refer(suspect.feeds))
    if plain:
        return ways.finding("optimiser", last, certain=True)
    changed = None if links.same else next(_changed_in(links, piece), None)
    if reference and changed is None:
        return ways.finding("kernel", _first_difference(piece, suspect.feeds, links.given) or last, certain=True)
    lowered = ways.of_form(links.lowered, "the nodes as the rule emitted them")
    if lowered is False:
        return ways.finding("fusion" if suspect.eqn.fused is not None else "rule", last, certain=True)
    if changed is not None:
        exported = ways.of_form(links.final, "the model as it is exported here")
        return ways.finding("model", changed[0], certain=exported is True, what=changed[1])
    return ways.finding("rewrite", last, certain=False)


class _Ways:
    """Runs a piece in several ways, and notes which of them agree with JAX."""

    def __init__(self, walk: Walk, suspect: Suspect) -> None:
        self._walk = walk
        self._suspect = suspect
        self._told: list[str] = []

    def agrees(self, name: str, run: Any) -> bool | None:
        """Return whether one way agrees with JAX; None if it has no result."""
        suspect = self._suspect
        try:
            actual = run()[0]
        except NotRunError as error:
            self._told.append(f"{name}: {error}")
            return None
        differs = self._walk.differs(suspect.scope, suspect.var, suspect.expected, actual)
        self._told.append(f"{name}: {'agrees with JAX' if differs is None else 'differs from JAX'}")
        return differs is None

    def of_form(self, form: Form, name: str) -> bool | None:
        """Return whether another form of the model agrees with JAX, in onnxruntime or in the reference evaluator."""
        found = self._walk.piece(form, self._suspect.scope, self._suspect.var)
        if found is None:
            return None
        piece, feeds = found
        by_reference = self.agrees(f"{name}, in onnx's reference evaluator", lambda: piece.refer(feeds))
        if by_reference:
            return True
        by_runtime = self.agrees(f"{name}, in onnxruntime", lambda: piece.run(feeds, optimised=False))
        return by_reference if by_runtime is None else by_runtime

    def finding(self, culprit: Culprit, node: onnx.NodeProto | None, *, certain: bool, what: str = "") -> Finding:
        """Return the finding with the evidence so far."""
        return Finding(culprit, certain, node, tuple(self._told), what)


def _first_difference(piece: Piece, feeds: Mapping[str, Array], form: Form) -> onnx.NodeProto | None:
    """Return the first node of a piece of which onnxruntime and the reference evaluator have different results."""
    space = next((s for s in form.spaces.values() if any(node is piece.nodes[0] for node in s.nodes)), None)
    if space is None or len(piece.nodes) < 2:
        return None
    known = dict(feeds)
    for node in piece.nodes:
        names = [name for name in node.output if name]
        try:
            part = space.piece(names, {k: v for k, v in known.items() if k not in names})
            exact = part.refer(known)
            actual = part.run(known, optimised=False)
        except NotRunError:
            return None
        if not all(map(close, exact, actual)):
            return node
        known.update(zip(names, exact, strict=True))
    return None


def close(a: Array, b: Array) -> bool:
    """Return whether two results of one node are equal but for rounding."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind in "biu":
        return bool(np.array_equal(a, b))
    relative = _RELATIVE.get(a.dtype.name, 1e-2)
    size = float(np.max(np.abs(a.astype(np.float64)), initial=0.0, where=np.isfinite(a.astype(np.float64))))
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    return bool(np.allclose(wide_a, wide_b, rtol=relative, atol=relative * size * 1e-2, equal_nan=True))


_RELATIVE = {"float64": 1e-10, "float32": 1e-4}
"""Name of a dtype -> how far two results of one node may be apart that rounded differently."""


def _changed_in(links: Links, piece: Piece) -> Iterator[tuple[onnx.NodeProto, str]]:
    """Yield the nodes of a piece, and of the bodies in it, that are not as the export makes them, and how."""
    ours = {id(node) for node in _with_bodies(piece.nodes)}
    called = {(node.domain, node.op_type) for node in _with_bodies(piece.nodes)}
    for key, node, what in changes(links):
        if id(node) in ours or key in called:
            yield node, what


def _with_bodies(nodes: Any) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        for body in bodies_of(node):
            yield from _with_bodies(body.node)
        yield node


def changes(links: Links) -> Iterator[tuple[Key, onnx.NodeProto, str]]:
    """Yield the nodes of the model in question that are not as the export makes them, where they are, and how."""
    for key, theirs in links.given.spaces.items():
        ours = links.final.spaces.get(key)
        if ours is None:
            continue
        back = {other: name for (where, name), other in links.renamed.items() if where == key}
        made = {id(node) for node in ours.nodes}
        for node in theirs.nodes:
            output = next(filter(None, node.output), "")
            exported = ours.producer(back.get(output, "")) if output in back else None
            if exported is None or id(exported) not in made:
                yield key, node, "the export has no such node"
                continue
            what = _difference(exported, ours, node, theirs, back)
            if what:
                yield key, node, what


def _difference(
    ours: onnx.NodeProto, our_space: Space, theirs: onnx.NodeProto, their_space: Space, back: Mapping[str, str]
) -> str:
    """Return in what two nodes differ, in words; an empty string if in nothing."""
    if (ours.domain, ours.op_type) != (theirs.domain, theirs.op_type):
        return f"the export has {ours.op_type} here"
    if len(ours.input) != len(theirs.input):
        return f"the export gives it {counted(len(ours.input), 'input')}"
    for number, (mine, other) in enumerate(zip(ours.input, theirs.input, strict=True)):
        first, second = our_space.initializers.get(mine), their_space.initializers.get(other)
        if first is not None and second is not None:
            if not _equal_tensors(first, second):
                return f"its input {number} ({other}) has other values than in the export"
        elif mine != other and back.get(other) != mine:
            return f"the export gives it {mine or 'nothing'} as input {number}"
    mine_attributes = {a.name: _attribute(a) for a in ours.attribute}
    other_attributes = {a.name: _attribute(a) for a in theirs.attribute}
    for name in sorted({*mine_attributes, *other_attributes}):
        if mine_attributes.get(name) != other_attributes.get(name):
            return f"its attribute {name} is another in the export"
    return ""


def _equal_tensors(first: onnx.TensorProto, second: onnx.TensorProto) -> bool:
    try:
        one, other = array_of(first), array_of(second)
    except (ValueError, OSError):  # of data in a file beside the model
        return True
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _attribute(attribute: onnx.AttributeProto) -> Any:
    if attribute.HasField("g"):  # its nodes are compared as such; what it returns is compared here
        return len(attribute.g.node), len(attribute.g.input), len(attribute.g.output)
    return attribute.SerializeToString(deterministic=True)

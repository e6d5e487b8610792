"""Tidy: make the graph what an expert would have written, by the rewrites of the other modules in a fixed order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass

from jax2onnx.tidy.aligned_constants import align_constants
from jax2onnx.tidy.alike import compute_alike
from jax2onnx.tidy.batch_norm import fold_batch_norms
from jax2onnx.tidy.biases import merge_biases, place_biases
from jax2onnx.tidy.blocks import name_blocks
from jax2onnx.tidy.carried_dims import carry_dims
from jax2onnx.tidy.choices_at_once import choose_at_once
from jax2onnx.tidy.codebooks import name_codebooks
from jax2onnx.tidy.conditions import drop_equal_choices, shorten_conditions
from jax2onnx.tidy.dense_rows import reorder_rows
from jax2onnx.tidy.dequantise import name_dequantisation, scale_weights
from jax2onnx.tidy.dropped_ones import drop_leading_ones
from jax2onnx.tidy.entries import join_entries, take_at_once
from jax2onnx.tidy.finite import shorten_finite
from jax2onnx.tidy.folded import fold
from jax2onnx.tidy.followed_places import follow_places
from jax2onnx.tidy.gathered_rows import dequantise_rows
from jax2onnx.tidy.guarded_choices import drop_guards
from jax2onnx.tidy.idioms import shorten
from jax2onnx.tidy.idle_nodes import MAYBE_IDLE, drop_neutral, is_idle, remove_dead, skip_expands
from jax2onnx.tidy.index_casts import shorten_index_casts
from jax2onnx.tidy.initializers import Home, restore_names, share
from jax2onnx.tidy.integer_choices import shorten_integer_choices
from jax2onnx.tidy.known_places import keep_all_places, take_pieces
from jax2onnx.tidy.known_results import fold_known
from jax2onnx.tidy.known_shapes import complete_shapes
from jax2onnx.tidy.layout import settle
from jax2onnx.tidy.leading_ones import keep_leading_ones
from jax2onnx.tidy.logic import shorten_logic
from jax2onnx.tidy.lookups import gather_first, shorten_lookups
from jax2onnx.tidy.loop_bodies import carry_repeated, drop_carries, lift_invariants, remove_repeated_inside
from jax2onnx.tidy.match_nodes import drop
from jax2onnx.tidy.matrix_entries import join_rows, join_turned, take_of_vectors
from jax2onnx.tidy.moved_elements import look_up_moved
from jax2onnx.tidy.ones import share_reshapes, shorten_ones, turn_ones
from jax2onnx.tidy.operators import BROADCASTING, RESHAPES
from jax2onnx.tidy.own_branches import compute_in_branches
from jax2onnx.tidy.pieces import forward_pieces
from jax2onnx.tidy.remainders import shorten_remainders
from jax2onnx.tidy.reshaped_pieces import join_reshaped, reshape_after
from jax2onnx.tidy.reshapes import merge_reshapes, merge_transposes
from jax2onnx.tidy.rules import rewrite_all, rewrites
from jax2onnx.tidy.runtime_bugs import pad_all_axes, turn_vector_products
from jax2onnx.tidy.scaled_counts import shorten_counts
from jax2onnx.tidy.scanned_rows import compute_rows, take_equal_rows
from jax2onnx.tidy.short_slices import look_up_short_slices
from jax2onnx.tidy.signs import multiply_signs
from jax2onnx.tidy.small_reductions import shorten_reductions
from jax2onnx.tidy.splits import split_at_once
from jax2onnx.tidy.stacked_weights import unstack
from jax2onnx.tidy.subgraphs import every_node, graph_of, graphs
from jax2onnx.tidy.sums_of_products import multiply_at_once
from jax2onnx.tidy.trailing_ones import keep_trailing_ones
from jax2onnx.tidy.vector_products import multiply_rows_at_once
from jax2onnx.tidy.visited_rows import compute_visited
from jax2onnx.tidy.window_sums import join_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


__all__ = ["tidy"]

_DISTINCT = "jax2onnx.distinct"
"""An attribute that nodes have while repeated ones are removed."""


def tidy(model: ir.Model, *, fold_batch_norm: bool = False) -> None:
    """Simplify the model in place, its functions and subgraphs too; no result changes but by rounding.

    Dead and repeated nodes, nodes that do nothing, chains of reshapes and transposes of weights are removed. Products
    with a bias become ``Gemm`` or ``Conv`` with a bias. Regions between transposes run in the layout that needs the
    fewest. Blocks move between channels and space in one node. What is flattened after a transpose is flattened before
    it.
    """
    functions = [Home(f.graph, is_function=True) for f in model.functions.values()]
    homes = [Home(model.graph, is_function=False), *functions]
    share(model.graph)
    inner = [graphs(home.graph) for home in homes]
    # First: what a condition no longer keeps apart may be equal.
    for home, several in zip(homes, inner, strict=True):
        for graph in several:
            rewrite_all([compute_rows, fold_known, take_equal_rows, drop_equal_choices], graph, home)
    _remove_repeated(model, homes)
    for home, several in zip(homes, inner, strict=True):
        _tidy_home(home, several, fold_batch_norm=fold_batch_norm)
    restore_names(model.graph)
    used = {node.domain for home in homes for node in every_node(home.graph)}
    for domain in set(model.graph.opset_imports) - used - {""}:
        del model.graph.opset_imports[domain]


def _remove_repeated(model: ir.Model, homes: list[Home]) -> None:
    """Rewrite ``Add(Exp(x[N, 4]), Exp(x))`` to ``Add(y, y)`` with ``y = Exp(x)``.

    Operators of other domains stay, since two of them may have different results, as random numbers are.
    """
    declared = [value.shape for value in _outputs(homes)]
    functions = {(function.domain, function.name) for function in model.functions.values()}
    foreign = [node for node in model.graph if node.domain and (node.domain, node.op_type) not in functions]
    for number, node in enumerate(foreign):
        node.attributes.add(ir.AttrInt64(_DISTINCT, number))
    CommonSubexpressionEliminationPass()(model)
    for node in foreign:
        node.attributes.pop(_DISTINCT)
    # An output is now the first of equal values, whose shape may be unknown.
    for output, shape in zip(_outputs(homes), declared, strict=True):
        if output.shape is None:
            output.shape = shape


def _outputs(homes: list[Home]) -> list[ir.Value]:
    outputs: list[ir.Value] = []
    for home in homes:
        outputs.extend(home.graph.outputs)
    return outputs


def _tidy_home(home: Home, inner: Sequence[ir.Graph], *, fold_batch_norm: bool) -> None:
    """Simplify the graph of a model or a function, with its subgraphs, which ``inner`` begins with and holds."""
    has_bodies = len(inner) > 1
    if has_bodies:
        drop_carries(home)
        lift_invariants(home.graph)
        remove_repeated_inside(home.graph)
    for graph in inner:
        rewrite_all([name_blocks, _simplify], graph, home)
    if has_bodies:
        for graph in inner:
            rewrite_all([complete_shapes], graph, home)
        if follow_places(home.graph, home):
            inner = graphs(home.graph)
        carry_dims(home.graph, home)
    # Before initializers are folded: what is large is only rearranged if nothing else uses it.
    remove_dead(home.graph)
    unstack(home)
    for graph in inner:
        fold(graph, home)
    for graph in inner:
        rewrite_all(_NAMING_AND_JOINING, graph, home)
    remove_dead(home.graph)  # what nothing reads any more would count as a user
    for graph in inner:
        rewrite_all(_COMPUTING_AT_ONCE, graph, home)
    settled = [settle(graph, home) for graph in inner]
    if any(settled):
        for graph in inner:
            fold(graph, home)
    last = [*_SHORTENING, fold_batch_norms] if fold_batch_norm else _SHORTENING
    for graph in inner:
        rewrite_all(last, graph, home)
    remove_dead(home.graph)
    if has_bodies:
        for graph in inner:
            rewrite_all([compute_rows, fold_known, take_equal_rows], graph, home)
        # Once more: what the rewrites made of indices may be the same in every iteration, or twice in one.
        lift_invariants(home.graph)
        remove_repeated_inside(home.graph)
        # Last: what is carried is no more known as what it is computed of.
        carry_repeated(home.graph)
        remove_repeated_inside(home.graph)
        # What is the same in every iteration is no longer in a body: in a branch it would stay.
        compute_in_branches(home.graph)


@rewrites("Concat")
def _forget_components(nodes: Sequence[ir.Node], _home: Home) -> None:
    """Remove nodes without users: nothing reads the components of vectors any more that are computed whole."""
    remove_dead(graph_of(nodes[0]))


_KNOWING_CONDITIONS = (
    complete_shapes,
    shorten_conditions,
    shorten_reductions,
    shorten_logic,
    shorten_conditions,
)
"""Codes and conditions are known before vectors are kept whole, as what is made of one number may be, too."""

_KEEPING_VECTORS = (
    take_of_vectors,
    join_turned,
    join_rows,
    keep_leading_ones,
    keep_trailing_ones,
    compute_alike,
    _forget_components,
)
"""Vectors that a program takes apart are computed whole, before what it joins and cuts again is neither."""

_NAMING_AND_JOINING = (
    fold_known,
    drop_equal_choices,
    drop_guards,
    *_KNOWING_CONDITIONS,
    *_KEEPING_VECTORS,
    name_codebooks,
    name_dequantisation,
    shorten,
    keep_all_places,
    *_KNOWING_CONDITIONS,
    shorten_remainders,
    shorten_index_casts,
    shorten_counts,
    keep_leading_ones,
    forward_pieces,
    join_reshaped,
    join_windows,
)

_COMPUTING_AT_ONCE = (reshape_after, compute_alike, shorten_lookups)

_SHORTENING = (
    reorder_rows,
    turn_vector_products,
    multiply_rows_at_once,
    scale_weights,
    dequantise_rows,
    place_biases,
    merge_biases,
    keep_all_places,
    take_pieces,
    drop_neutral,
    shorten_ones,
    drop_leading_ones,
    share_reshapes,
    keep_trailing_ones,
    compute_alike,
    drop_equal_choices,
    look_up_moved,
    shorten_integer_choices,
    multiply_signs,
    multiply_at_once,
    split_at_once,
    join_entries,
    take_at_once,
    choose_at_once,
    shorten_finite,
    look_up_short_slices,
    compute_visited,
    align_constants,
)


def _shorten_transpose(node: ir.Node, home: Home) -> None:
    """Write a transpose that moves dims of size 1 alone as a reshape, beside another one, or merge it with another."""
    turn_ones(node, home)
    if node.graph is not None:
        merge_transposes(node, home)


_REWRITES: dict[str, Callable[[ir.Node, Home], None]] = {
    **dict.fromkeys(BROADCASTING, skip_expands),
    **dict.fromkeys(RESHAPES, merge_reshapes),
    "Gather": gather_first,
    "Pad": pad_all_axes,
    "Transpose": _shorten_transpose,
}


@rewrites(*_REWRITES, *MAYBE_IDLE)
def _simplify(nodes: Sequence[ir.Node], home: Home) -> None:
    """Apply the rewrites that look at one node and those before it, then drop what does nothing."""
    for node in nodes:
        if len(node.outputs) != 1 or node.inputs[0] is None:
            continue
        rewrite = _REWRITES.get(node.op_type)
        if rewrite is not None:
            rewrite(node, home)
        if is_idle(node):
            drop(node)

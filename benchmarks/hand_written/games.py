"""Models by hand of games."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from .graph import Array, Graph
from .hashes import hashed, key_of, scaled, uniform

_DIGITS = 5
"""After six moves no tile of 2048 is above the fourth power of two: seven tiles are at most 4 each."""


def _row_moved(row: tuple[int, ...]) -> tuple[list[int], int]:
    """Return a row of 2048 that is moved to the left, and its reward."""
    tiles, found, reward = [tile for tile in row if tile], list[int](), 0
    while tiles:
        tile = tiles.pop(0)
        if tiles and tiles[0] == tile:
            tile = tiles.pop(0) + 1
            reward += 2**tile
        found.append(tile)
    return found + [0] * (4 - len(found)), reward


def _tables() -> tuple[Array, Array, Array]:
    """Return what rows are when they are moved, their rewards and whether they move, a number of each tile."""
    rows = list(itertools.product(range(_DIGITS), repeat=4))
    moved = [_row_moved(row) for row in rows]
    tiles = np.array([tiles for tiles, _ in moved])
    can_move = np.any(tiles != np.array(rows), axis=1).astype(np.int64)
    return tiles.ravel(), np.repeat([reward for _, reward in moved], 4).astype(np.float32), np.repeat(can_move, 4)


def game_2048() -> bytes:
    """Write a move in 12 nodes: all rows, in four directions, are numbers, and tables say what becomes of them."""
    tiles, rewards, can_move = _tables()
    board = np.arange(16).reshape(4, 4)
    ways = [board.T, board[:, ::-1], board.T[::-1, ::-1], board]
    numbers, lines, places, takes = np.zeros((16, 16), int), *np.zeros((2, 4, 16), int), np.zeros((4, 16, 1), int)
    for way, cells in enumerate(ways):
        for row, column in itertools.product(range(4), repeat=2):
            cell = cells[row, column]
            numbers[cell, 4 * way + row] = 4 * _DIGITS ** (3 - column)
            lines[way, cell], places[way, cell] = 4 * way + row, column
        takes[way, 4 * way : 4 * way + 4] = 2

    g = Graph(("uint32", 2), ("int32", 6))
    actions = g.inputs[1]
    keys = [key_of(g, g.inputs[0])]
    for step in range(6):
        keys.append(hashed(g, keys[-1], np.array([[0, min(step, 1)]])))
    cells = hashed(g, g.Concat(*keys, axis=0), np.array([[0, 1], *[[0, 0]] * 6]))
    both = hashed(g, cells, np.repeat([[0, 0], [0, 1]], 7, axis=0), np.tile(np.arange(7), 2))
    chances = scaled(g, uniform(g, both, np.zeros((14, 2), int)), factor=-(2.0**-23), added=1.0)
    where, which = g.Split(chances, count=2, axis=0, num_outputs=2)
    # A cell is the first one at which as many cells are empty as a chance is of all of them.
    excess = g.Sub(np.triu(np.ones((16, 16))), g.Reshape(where, [7, 1, 1]))
    excess = g.Split(g.Reshape(excess, [112, 16]), count=7, axis=0, num_outputs=7)
    values = g.Add(g.Cast(g.Greater(which, np.full((1, 1), 0.9)), to=7), np.ones((1, 1), np.int64))
    values = g.Split(values, count=7, axis=0, num_outputs=7)
    lines, places, takes = (
        g.Split(g.Gather(table, actions), count=6, axis=0, num_outputs=6) for table in (lines, places, takes)
    )

    def with_cell(board: Any, is_empty: Any, excess: Any, value: Any) -> Any:
        place = g.ArgMax(g.Reciprocal(g.Gemm(is_empty, excess)), axis=1)
        return g.ScatterElements(board, place, value, axis=1, reduction="add")

    board = with_cell(np.zeros((1, 16), np.int64), np.ones((1, 16)), excess[0], values[0])
    boards, chosen, moves = [], [], []
    for step in range(6):
        rows = g.MatMul(board, numbers)
        moves.append(g.Gather(can_move, rows))
        chosen.append(g.Add(g.GatherElements(rows, lines[step], axis=1), places[step]))
        is_empty = g.Gather((tiles == 0).astype(np.float32), chosen[-1])
        value = g.Min(g.MatMul(moves[-1], g.Reshape(takes[step], [16, 1])), values[step + 1])
        board = with_cell(g.Gather(tiles, chosen[-1]), is_empty, excess[step + 1], value)
        boards.append(board)
    moves.append(g.Gather(can_move, g.MatMul(board, numbers)))
    masks = g.ReduceMax(g.Reshape(g.Concat(*moves[1:], axis=0), [6, 4, 4]), np.array([2]), keepdims=0)
    # Each row of a board was counted four times.
    each = g.Gather(rewards, g.Concat(*chosen, axis=0))
    reward = g.ReduceSum(g.Mul(each, np.float32(0.25)), np.array([1]), keepdims=0)
    return g.model(g.Reshape(g.Concat(*boards, axis=0), [6, 4, 4]), reward, masks)

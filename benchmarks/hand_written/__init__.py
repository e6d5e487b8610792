"""Models of some of the programs of many small steps, written by hand with as few nodes as we can think of.

They are what a person may write who knows the program, the numbers in it and onnxruntime: loops are unrolled, sums of
products are one Gemm whatever they stand for, and a gain that is the same in any run is a constant. They say what
onnxruntime's price of a node allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import (
    filters,
    games,
    gumbel_muzero,
    jointed_body,
    minimisers,
    no_u_turn,
    quadratic,
    samplers,
    searches,
    simulations,
    solvers,
    stiff,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

__all__ = ["MODELS", "feeds_of"]

MODELS: dict[str, Callable[[], bytes]] = {
    "neuron": simulations.neuron,
    "kalman_filter": filters.kalman_filter,
    "hmc": samplers.hmc,
    "physics": simulations.physics,
    "sinkhorn": solvers.sinkhorn,
    "tree_search": searches.tree_search,
    "lstm": filters.lstm,
    "particle_filter": filters.particle_filter,
    "random_walk": simulations.random_walk,
    "beam_search": searches.beam_search,
    "viterbi": filters.viterbi,
    "pendulum": simulations.pendulum,
    "grid_world": simulations.grid_world,
    "ott-jax: The entropic distance of two point clouds by Sinkhorn's iterations": solvers.entropic_distance,
    "jumanji: Moves of the game 2048": games.game_2048,
    "mujoco-mjx: Steps of a jointed body": jointed_body.jointed_body,
    "brax: A step of the spring pipeline of an inverted pendulum": simulations.spring_pendulum,
    "diffrax: A stiff chemical system by an implicit method": stiff.stiff_system,
    "mctx: Gumbel MuZero's tree search": gumbel_muzero.gumbel_muzero,
    "numpyro: Steps of the No-U-Turn sampler": no_u_turn.no_u_turn,
    "blackjax: Steps of Hamiltonian Monte Carlo": samplers.hamiltonian_chain,
    "dynamax: The forward-backward algorithm and Viterbi's": filters.hidden_markov,
    "optimistix: A curve fitted by Levenberg-Marquardt": minimisers.curve_by_levenberg_marquardt,
    "jaxopt: A quadratic program with bounds": quadratic.quadratic_program,
    "optimistix: The minimum of Rosenbrock's function by BFGS": minimisers.minimum_by_bfgs,
}
"""Name of a program, as steps.py prints it -> what makes the model."""


def feeds_of(arrays: Sequence[np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the inputs of a model by their names."""
    return {f"x{i}": array for i, array in enumerate(arrays)}

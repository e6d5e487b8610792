"""The hooks a plugin may implement.

A plugin is a module whose functions carry :data:`hookimpl`; its distribution names that module in the entry-point group
``jax2onnx``. Keep the module light: import rule modules *inside* the hook functions, so that listing plugins imports
neither jax nor the rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import onnx_ir as ir

    from jax2onnx.legalise.targets import Target
    from jax2onnx.plugin.opening import Carried, Opened, Opening
    from jax2onnx.plugin.registry import BoundExamples, BoundFusions, BoundLowerings, BoundTargets
    from jax2onnx.weights.stored import StoredArray

PROJECT = "jax2onnx"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""The decorator of the functions of a plugin's module that implement hooks."""


@hookspec
def jax2onnx_register_lowerings(registry: BoundLowerings) -> None:
    """Register a lowering for each primitive the plugin covers, keyed by the primitive's name string.

    Added in 0.1.
    """


@hookspec
def jax2onnx_register_fusions(registry: BoundFusions) -> None:
    """Register whole functions that become one ONNX operator (or a short idiom) where they are found.

    Added in 0.1.
    """


@hookspec
def jax2onnx_register_examples(registry: BoundExamples) -> None:
    """Register runnable examples; each is a test, a row of the coverage table and documentation.

    Added in 0.1.
    """


@hookspec(firstresult=True)
def jax2onnx_open(target: Callable[..., Any], opening: Opening) -> Opened | None:
    """Open a framework object: return a pure function and its named parameters, or None if it is not yours.

    ``opening`` says how: in inference or training form, with which functions, with or without its state. What a
    function reaches through closures and globals arrives as a ``functools.partial`` that holds it in a dict.

    Added in 0.1.
    """


@hookspec(firstresult=True)
def jax2onnx_carry(target: object) -> Carried | None:
    """Open a framework object that is an argument of an ``onnx_function``, or return None if it is not yours.

    Called for every node of the arguments' pytrees that is no array, scalar or built-in container; answer fast.

    Added in 0.1.
    """


@hookspec(firstresult=True)
def jax2onnx_open_weights(path: Path) -> Mapping[str, StoredArray] | None:
    """Open a file or folder of weights: return its arrays by name, unread, or None if it is not of your format.

    Called for each path that a user gives as ``weights=``, before the formats that core knows.

    Added in 0.1.
    """


@hookspec
def jax2onnx_register_targets(registry: BoundTargets) -> None:
    """Register target runtimes: tables of the kernels a runtime has.

    Added in 0.1.
    """


@hookspec
def jax2onnx_finalize(model: ir.Model, target: Target | None) -> None:
    """Change the finished model in place, after tidying and before legalising.

    An initializer that keeps its name keeps its numbers, and its array is not written into: it may be the user's own.
    Other numbers, such as quantised weights, are an initializer of another name.

    Args:
        model: the model.
        target: the runtime that it is for; None for plain ONNX. A hook that has no use for it leaves it out.

    Added in 0.1.
    """

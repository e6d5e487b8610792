"""Prepare: the model that computes a cache before the first token, such as an encoder or the reader of an image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jax2onnx import save_onnx
from jax2onnx.errors import InputSpecError
from jax2onnx_ortgenai.calling import Form, ordered

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Prepare"]


@dataclass(frozen=True, slots=True)
class Prepare:
    """A function of inputs of its own that returns the cache with which a decoder begins."""

    form: Form
    function: Callable[..., Any]
    inputs: Sequence[Any]

    def save(self, path: Path, options: dict[str, Any]) -> None:
        """Write the model; its outputs have the names of the decoder's inputs."""
        leaves, tree = self.form.decoder.leaves, self.form.decoder.tree
        function = self.function

        def call(*inputs: Any) -> Any:
            made = function(*inputs)
            if jax.tree.structure(made) != tree:
                made_as = jax.tree.structure(made)
                raise InputSpecError(f"prepare: it returns {made_as} where the cache is {tree}; return such a cache")
            arrays = [jnp.asarray(x, leaf.dtype) for x, leaf in zip(jax.tree.leaves(made), leaves, strict=True)]
            return [jnp.transpose(x, ordered(leaf)) for x, leaf in zip(arrays, leaves, strict=True)]

        past, _ = self.form.names()
        save_onnx(call, self.inputs, path, input_names=self._names(), output_names=past, **options)

    def _names(self) -> list[str] | None:
        """Return the names of the parameters that take the inputs; None where one parameter takes several."""
        try:
            bound = inspect.signature(self.function).bind(*self.inputs)
        except TypeError as error:
            raise InputSpecError(f"prepare_inputs: {error}; give a spec for each input of prepare") from None
        names = list(bound.arguments)
        return names if len(names) == len(self.inputs) else None

"""Make the calls of linen submodules ONNX functions, by an interceptor that runs them in linen's own jit."""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import flax.errors
import jax
import numpy as np
from flax import linen as nn

from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.plugin import argument_names, is_outlined, marked_name, name_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_REMEDY = "leave functions= at 'marked' for this model"


@dataclass(slots=True)
class Outline:
    """An interceptor of ``flax.linen.intercept_methods`` for one export.

    Attributes:
        running: the modules whose functions are being traced, each by path and class; the innermost comes last.
    """

    running: list[tuple[tuple[str, ...], type]] = field(default_factory=list)

    def __call__(
        self,
        next_fun: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        context: Any,
    ) -> Any:
        """Run a submodule's ``__call__`` as a function; leave all else as it is, and what reads a constant."""
        module = context.module
        here = (module.path, type(module))
        is_inside = bool(self.running) and self.running[-1] == here
        flat, tree = jax.tree_util.tree_flatten_with_path((args, kwargs))
        paths = [path for path, leaf in flat if _is_array(leaf)]
        given = _Parts([leaf for _, leaf in flat], tree)
        if context.method_name != "__call__" or not module.path or is_inside or given.has_modules:
            return next_fun(*args, **kwargs)
        if not is_outlined(jax.tree_util.tree_leaves(module.variables)):
            return next_fun(*args, **kwargs)
        if module.scope.rngs:
            msg = f"functions='modules': {type(module).__name__} is called with rngs, which linen's jit derives anew"
            raise UnsupportedCaseError(msg, remedy=f"leave rngs out where nothing is random, or {_REMEDY}")
        returned: list[_Parts] = []

        def run(inner: nn.Module, arrays: Mapping[str, Any]) -> Sequence[Any]:
            own_args, own_kwargs = given.with_arrays([*arrays.values()])
            self.running.append(here)
            try:
                result = type(inner).__call__(inner, *own_args, **own_kwargs)
            finally:
                self.running.pop()
            returned.append(_Parts(*jax.tree_util.tree_flatten(result)))
            return returned[-1].arrays

        run.__name__ = run.__qualname__ = marked_name(type(module).__name__)
        try:
            method = types.MethodType(type(module).__call__, module)
            arrays = nn.jit(run)(module, name_arrays(argument_names(method, paths), given.arrays))
        except flax.errors.JaxTransformError as error:
            msg = f"functions='modules': {type(module).__name__} uses a module that it gets through a closure"
            raise UnsupportedCaseError(msg, remedy=_REMEDY) from error
        return returned[-1].with_arrays(arrays)


@dataclass(frozen=True, slots=True)
class _Parts:
    """A pytree whose arrays are traced and whose other leaves are not."""

    leaves: Sequence[Any]
    tree: Any

    @property
    def has_modules(self) -> bool:
        return any(isinstance(leaf, nn.Module | nn.Variable) for leaf in self.leaves)

    @property
    def arrays(self) -> list[Any]:
        return [leaf for leaf in self.leaves if _is_array(leaf)]

    def with_arrays(self, arrays: Sequence[Any]) -> Any:
        """Return the pytree with these arrays."""
        rest = iter(arrays)
        leaves = [next(rest) if _is_array(leaf) else leaf for leaf in self.leaves]
        return jax.tree_util.tree_unflatten(self.tree, leaves)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)

"""Static: the arguments of a call that are Python values, which a program depends on, and no inputs of the model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from jax2onnx._accepted import shown
from jax2onnx._compat import jit_static_names
from jax2onnx.errors import InputSpecError
from jax2onnx.plugin.naming import parameters_of, positional_names

__all__ = ["MODES", "Arranged", "Fixed", "Static", "released"]

MODES: Mapping[str, bool] = {
    "train": False,
    "training": False,
    "is_training": False,
    "is_train": False,
    "train_mode": False,
    "update_stats": False,
    "deterministic": True,
    "inference": True,
    "is_inference": True,
    "use_running_average": True,
    "eval_mode": True,
    "is_eval": True,
    "evaluation": True,
}
"""Names that parameters have which choose between training and inference -> their value in inference."""

_NAMED = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """A value that the callable gets as it is; it has no leaves as a pytree."""

    value: Any


jax.tree_util.register_pytree_node(Fixed, lambda fixed: ((), fixed), lambda fixed, _: fixed)


def _is_fixed(node: Any) -> bool:
    return isinstance(node, Fixed)


def released(arguments: Any) -> Any:
    """Return a pytree of arguments with each static value in the place of its ``Fixed``."""
    leaves, tree = jax.tree_util.tree_flatten(arguments, is_leaf=_is_fixed)
    if not any(map(_is_fixed, leaves)):
        return arguments
    values = [leaf.value if isinstance(leaf, Fixed) else leaf for leaf in leaves]
    return jax.tree_util.tree_unflatten(tree, values)


@dataclass(frozen=True, slots=True)
class Arranged:
    """The arguments of a call: specs, and static values as ``Fixed``.

    Attributes:
        args: the positional ones.
        kwargs: the keyword ones.
        warnings: messages to show the user.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Static:
    """Finds the static arguments of a call.

    Attributes:
        fn: the callable.
        given: values by the names of its parameters.
        training: whether training behaviour is exported.
    """

    fn: Callable[..., Any]
    given: Mapping[str, Any]
    training: bool = field(kw_only=True, default=False)

    def arrange(self, positional: Sequence[Any], keywords: Mapping[str, Any]) -> Arranged:
        """Return the arguments of a call with these specs. Positional specs go around the static parameters."""
        for name in self.given:
            if name in keywords:
                raise InputSpecError(f"static: {name!r} is an input too; leave it out of one of them")
        declared = jit_static_names(self.fn)
        left = dict(self.given)
        waiting = list(positional)
        args: list[Any] = []
        for name in positional_names(self.fn):
            if not waiting:
                break
            if name in left:
                args.append(Fixed(left.pop(name)))
            elif name in declared:
                args.append(_declared_static(name, waiting.pop(0)))
            else:
                args.append(waiting.pop(0))
        args += waiting
        kwargs = {n: _declared_static(n, spec) if n in declared else spec for n, spec in keywords.items()}
        kwargs.update((name, Fixed(value)) for name, value in left.items())
        modes = self._missing_modes(len(args), kwargs)
        kwargs.update((name, Fixed(value)) for name, value in modes.items())
        warnings = tuple(map(_mode_warning, modes, modes.values()))
        return Arranged(tuple(args), kwargs, warnings)

    def _missing_modes(self, count: int, kwargs: Mapping[str, Any]) -> dict[str, bool]:
        """Return the required parameters that choose a mode and that the call does not give, with their values."""
        modes = {}
        for place, parameter in enumerate(parameters_of(self.fn) or []):
            is_required = parameter.kind in _NAMED and parameter.default is parameter.empty
            is_given = parameter.name in kwargs or (place < count and parameter.kind is parameter.POSITIONAL_OR_KEYWORD)
            if is_required and not is_given and parameter.name in MODES:
                modes[parameter.name] = MODES[parameter.name] is not self.training
        return modes


def _declared_static(name: str, value: Any) -> Any:
    """Return the value of an argument that ``jax.jit`` of the callable declares static."""
    if isinstance(value, Fixed):
        return value
    if isinstance(value, str) and value.endswith("]"):
        raise InputSpecError(
            f"inputs: jax.jit declares {name!r} static, so it is no input; give its value instead of {value!r}"
        )
    try:
        hash(value)
    except TypeError as error:
        raise InputSpecError(
            f"inputs: jax.jit declares {name!r} static, and {shown(value)} cannot be hashed; pass a tuple for a list"
        ) from error
    return Fixed(value)


def _mode_warning(name: str, value: bool) -> str:  # noqa: FBT001
    behaviour = "training" if MODES[name] is not value else "inference"
    return (
        f"{name} is not given; exported with {name}={value}, as in {behaviour}. Pass static={{{name!r}: {value}}} to "
        f"silence this, or input_params={{{name!r}: 'bool[]'}} to make it an input of the model."
    )

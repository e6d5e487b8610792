"""Open flax.linen modules: a pure function over named variables.

The module is called through ``apply``, so it means what it means in linen: its mode is the user's arguments
(``deterministic``, ``use_running_average``), and variables are immutable unless ``mutable`` says otherwise.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
from flax import linen as nn
from flax.core.scope import in_filter

from jax2onnx.errors import InputSpecError
from jax2onnx.plugin import Leaves, Opened, Opening, is_parameter, key_name
from jax2onnx_linen.explain import explained
from jax2onnx_linen.outlining import Outline

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Path = tuple[str, ...]

_OPTIONS: tuple[str, ...] = ("rngs", "method", "mutable", "capture_intermediates")
"""Keyword arguments of ``apply`` that are not the module's."""

_PASSED_ON: tuple[str, ...] = ("rngs", "mutable", "capture_intermediates")
"""Those of them that a call may give."""
_KEYWORD = inspect.Parameter.KEYWORD_ONLY

_MODE = (
    "training=True decides nothing in a flax.linen module but a required argument such as train: its mode is its own "
    "arguments; pass or bind use_running_average=False, deterministic=False or whatever the module takes, with "
    "mutable= and rngs= as it needs."
)


def open_module(target: Any, opening: Opening) -> Opened | None:
    """Return what a callable over a module and its variables does as a pure function, or None if it is none.

    Args:
        target: ``(module, variables)``, a bound module, a method of one, or a ``functools.partial`` of these or of
            ``module.apply`` with the variables.
        opening: with ``functions="modules"`` the calls of submodules become ONNX functions; with ``state="io"`` the
            mutable collections (``mutable=``; if not given, all but ``params``) become state.

    Raises:
        InputSpecError: the module comes without variables.
    """
    call = _Call.of(target)
    if call is None:
        return None
    variables = _Variables.of(call.variables)
    mutable = call.options.get("mutable", False)
    if opening.state == "io" and not mutable:
        mutable = [c for c in call.variables if c != "params"]
    is_step = opening.state == "io" and bool(mutable)
    options = {**call.options, "mutable": mutable}

    def function(params: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        held = variables.leaves.with_params(params)
        given = {**options, **call.kwargs, **kwargs}
        with _outlining(opening), explained(call):
            result = call.module.apply(held, *call.args, *args, **given)
        if is_step:
            result, updates = result
            return result, {n: a for n, a in variables.named(updates).items() if n in state}
        return result[0] if call.drops and given["mutable"] else result

    params = variables.leaves.params
    state = {}
    for (collection, *_), name in variables.names.items():
        if is_step and in_filter(mutable, collection):
            state[name] = params[name]
    return Opened(
        function=function,
        params=params,
        name=call.name,
        state=state,
        warnings=(_MODE,) if opening.training else (),
        signature=call.signature,
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of a module with its variables.

    Attributes:
        module: the module, without variables.
        variables: its variables, by collection.
        options: keyword arguments of ``apply`` that a bound module, or a partial of ``apply``, holds.
        args: positional arguments that a partial holds.
        kwargs: keyword arguments that a partial holds.
        drops: whether the result is what the module returns even if collections are mutable, as of a bound module.
    """

    module: nn.Module
    variables: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    drops: bool = False

    @classmethod
    def of(cls, target: Any) -> _Call | None:
        match target:
            case (nn.Module() as module, Mapping() as variables):
                return cls(module, variables)
            case (type() as module, Mapping()) if issubclass(module, nn.Module):
                name = module.__name__
                raise InputSpecError(f"fn: {name} is a class; pass ({name}(...), variables), with an instance of it")
            case (Mapping(), nn.Module()):
                raise InputSpecError("fn: the variables come before the module; pass (module, variables)")
            case nn.Module():
                return cls._bound(target, {})
            case types.MethodType(__self__=nn.Module() as module) if module.scope is not None:
                return cls._bound(module, {"method": target.__func__})
            case functools.partial():
                return cls._partial(target.func, target.args, target.keywords)
        return None

    @classmethod
    def _bound(cls, module: nn.Module, options: Mapping[str, Any]) -> _Call:
        if module.scope is None:
            msg = f"fn: the flax.linen module {type(module).__name__} comes without variables; pass (module, variables)"
            raise InputSpecError(msg)
        rngs = {name: key.as_jax_rng() for name, key in module.scope.rngs.items()}
        own = {"mutable": module.scope.mutable, **({"rngs": rngs} if rngs else {})}
        unbound, variables = module.unbind()
        return cls(unbound, variables, {**own, **options}, drops=True)

    @classmethod
    def _partial(cls, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Call | None:
        match function:
            case types.MethodType(__self__=nn.Module() as module, __func__=nn.Module.apply) if module.scope is None:
                rest = dict(kwargs)
                variables, *args_ = args or (rest.pop("variables", None),)
                options = {k: rest.pop(k) for k in _OPTIONS if k in rest}
                if isinstance(variables, Mapping):
                    return cls(module, variables, options, tuple(args_), rest)
                return None
        inner = cls.of(function)
        if inner is None:
            return None
        kwargs = {**inner.kwargs, **kwargs}
        return cls(inner.module, inner.variables, inner.options, (*inner.args, *args), kwargs, inner.drops)

    @property
    def method(self) -> Callable[..., Any]:
        """The method that is called, of the module without variables."""
        method = self.options.get("method")
        if method is None or isinstance(method, str):
            kind = type(self.module)
            if not hasattr(kind, method or "__call__"):
                known = [name for name, value in vars(kind).items() if callable(value) and not name.startswith("_")]
                raise InputSpecError(
                    f"fn: {kind.__name__} has no method {method!r}; it has {', '.join(known) or '__call__ only'}"
                )
            found: Callable[..., Any] = getattr(self.module, method or "__call__")
            return found
        return types.MethodType(getattr(method, "__func__", method), self.module)

    @property
    def name(self) -> str:
        name = str(getattr(self.method, "__name__", "__call__"))
        return type(self.module).__name__ if name == "__call__" else name

    @property
    def signature(self) -> Callable[..., Any]:
        """The method that is called; it takes the keyword arguments of ``apply`` too."""
        method = functools.partial(self.method, *self.args, **self.kwargs)
        try:
            own = list(inspect.signature(method).parameters.values())
        except ValueError:  # the partial holds what is no parameter: calling it says so
            return method
        names = {parameter.name for parameter in own}
        rest = [parameter for parameter in own if parameter.kind is parameter.VAR_KEYWORD]
        first = own[: len(own) - len(rest)]
        further = [inspect.Parameter(n, _KEYWORD, default=None) for n in _PASSED_ON if n not in names]

        def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        call.__name__ = self.name
        call.__signature__ = inspect.Signature([*first, *further, *rest])  # type: ignore[attr-defined]
        call.__wrapped__ = inspect.unwrap(self.method)  # type: ignore[attr-defined]
        return call


@dataclass(frozen=True, slots=True)
class _Variables:
    """The variables of a module, flattened.

    Attributes:
        names: for each path of a parameter its name.
        leaves: all leaves.
    """

    names: Mapping[Path, str]
    leaves: Leaves

    @classmethod
    def of(cls, variables: Mapping[str, Any]) -> _Variables:
        """Name each parameter by its path, without the collection where that is unique."""
        flat = [(path, leaf) for path, leaf in _flat(variables)]
        held = [path for path, leaf in flat if is_parameter(leaf)]
        short = Counter(path[1:] for path in held)
        names: dict[Path, str] = {}
        for path in held:
            names[path] = ".".join(path[1:] if short[path[1:]] == 1 and path[1:] else path)
        tree = jax.tree_util.tree_structure(variables)
        return cls(names, Leaves([leaf for _, leaf in flat], [names.get(path) for path, _ in flat], tree))

    def named(self, updates: Mapping[str, Any]) -> dict[str, Any]:
        """Return the leaves of some of the collections by parameter name; what is no parameter is left out."""
        return {self.names[path]: leaf for path, leaf in _flat(updates) if path in self.names}


def _flat(variables: Any) -> list[tuple[Path, Any]]:
    """Flatten variables; the ``value`` of a box that carries metadata has the box's path."""
    flat = jax.tree_util.tree_flatten_with_path(variables)[0]
    boxed = jax.tree_util.GetAttrKey("value")
    return [(tuple(key_name(key) for key in path if key != boxed), leaf) for path, leaf in flat]


def _outlining(opening: Opening) -> AbstractContextManager[Any]:
    """Make the calls of submodules ONNX functions, if that is asked for."""
    return nn.intercept_methods(Outline()) if opening.functions == "modules" else contextlib.nullcontext()

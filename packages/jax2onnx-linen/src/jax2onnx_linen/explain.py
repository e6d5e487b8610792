"""Explain flax's errors about variables, random numbers and immutable state: what to pass instead."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import flax.errors

from jax2onnx.errors import InputSpecError, TraceError

__all__ = ["explained"]

_RNG = re.compile(r'needs PRNG for "(?P<name>[^"]*)"')


class Call(Protocol):
    """A call of a module."""

    @property
    def variables(self) -> Mapping[str, Any]:
        """The variables of the module, by collection."""


@contextlib.contextmanager
def explained(call: Call) -> Iterator[None]:
    """Raise flax's errors about how a module is called as errors that name a remedy."""
    try:
        yield
    except flax.errors.ModifyScopeVariableError as error:
        raise TraceError(
            _message(error),
            remedy="pass state='io' to make the state inputs and outputs, or export "
            "functools.partial(module.apply, variables, mutable=[...]), which returns the updates too",
        ) from error
    except flax.errors.InvalidRngError as error:
        found = _RNG.search(str(error))
        name = found["name"] if found else "dropout"
        raise TraceError(
            _message(error),
            remedy=f"pass static={{'rngs': {{{name!r}: jax.random.key(0)}}}} for random numbers that are fixed, or "
            f"input_params={{'rngs': {{{name!r}: 'uint32[2]'}}}} to make their key an input",
        ) from error
    except (flax.errors.ScopeCollectionNotFound, flax.errors.ScopeParamNotFoundError) as error:
        raise InputSpecError(f"fn: {_message(error)}; {_variables_remedy(call.variables)}") from error
    except (
        flax.errors.ApplyScopeInvalidVariablesStructureError,
        flax.errors.ApplyScopeInvalidVariablesTypeError,
    ) as error:
        raise InputSpecError(f"fn: {_message(error)}; {_variables_remedy(call.variables)}") from error


def _message(error: BaseException) -> str:
    return str(error).split(" (https:", 1)[0].rstrip(".")


def _variables_remedy(variables: Mapping[str, Any]) -> str:
    """Return what to pass instead of variables that are not those of the module."""
    if "params" not in variables:
        return "if these are its parameters, pass (module, {'params': ...}), else all of what module.init returns"
    inner = variables["params"]
    if isinstance(inner, Mapping) and "params" in inner:
        return "pass (module, variables['params'])"
    return f"given are the collections {', '.join(variables)}; pass (module, variables) with all of what init returns"

"""Marks: the names of jitted functions that are kept as ONNX functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from jax2onnx._compat import open_jaxpr
from jax2onnx.plugin.naming import name_arrays

__all__ = ["Mark", "input_names", "marked_call", "marked_name"]

_MARK = re.compile(r"onnx_function\|(.*?)\|(.*?)\|(.*)")


@dataclass(frozen=True, slots=True)
class Mark:
    """The name, the domain and the call site that a marked call carries; site 0 is common to all calls."""

    name: str
    namespace: str
    site: int = 0

    def __str__(self) -> str:
        namespace, name = map(_escaped, (self.namespace, self.name))
        return f"onnx_function|{namespace}|{name}|{self.site}"


def marked_call(eqn: Any) -> dict[str, Any] | None:
    """Return the mark and the input names of a jaxpr's equation that calls an ONNX function; None for others."""
    name = eqn.params.get("name")
    mark = _parse_mark(name) if isinstance(name, str) else None
    if mark is None:
        return None
    names = input_names(eqn.params["jaxpr"])
    return {"mark": mark, "inputs": names}


def _parse_mark(name: str) -> Mark | None:
    """Return the mark in the name of a jitted function, around which transformations may have put words."""
    found = _MARK.search(name)
    if found is None:
        return None
    namespace, function, site = found.groups()
    digits = "".join(filter(str.isdigit, site))
    return Mark(_plain(function), _plain(namespace), int(digits))


def _escaped(text: str) -> str:
    """Return a name without the character that separates the parts of a mark."""
    return text.replace("%", "%25").replace("|", "%7C")


def _plain(text: str) -> str:
    return text.replace("%7C", "|").replace("%25", "%")


def marked_name(name: str, namespace: str = "jax2onnx") -> str:
    """Return the name that marks a function given to ``jax.jit`` (or a framework's own jit) as an ONNX function."""
    return str(Mark(name, namespace))


def input_names(jaxpr: Any) -> list[str]:
    """Return names for the inputs of a marked function's jaxpr.

    They are those that :func:`name_arrays` gave. A transformation may have dropped them; then they are numbered.
    """
    inner, _ = open_jaxpr(jaxpr)
    numbered = [f"input_{i}" for i in range(len(inner.invars))]
    info = inner.debug_info
    paths = [] if info is None else info.arg_names or []
    if len(paths) != len(numbered):
        return numbered
    names = []
    for path, number in zip(paths, numbered, strict=True):
        # JAX names an input by its path in the arguments, such as ``arrays['x.left']``.
        keys = re.findall(r"\['(.*?)'\]", str(path))
        names.append(".".join(keys) or number)
    return list(name_arrays(names, names))

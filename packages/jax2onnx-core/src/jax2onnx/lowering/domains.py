"""Domains: which versions of operator domains a model imports, and what is known of the operators in them."""

from __future__ import annotations

import difflib
import functools
import importlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import onnx

from jax2onnx.errors import ConversionError, InvalidModelError, OpsetError
from jax2onnx.legalise.opsets.history import first_opset
from jax2onnx.legalise.opsets.restate import can_say
from jax2onnx.legalise.opsets.site import too_old

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Domains", "find_schema", "known_to_onnx", "normal"]

_ONNX = "ai.onnx"
"""The other name of the default domain."""

_ML = "ai.onnx.ml"


class Domains:
    """The domains of one model.

    Attributes:
        imports: the version that the model imports of each domain that its nodes have.
        asked: the domains that the user names, with their versions.
        operators: the operators of other domains than ONNX's own, as domain and name.
        functions: the functions of the model likewise.
        opset: the opset that the user asks for; nodes are emitted as a newer one has them if it is very old.
    """

    def __init__(self, opset: int, versions: Mapping[str, int] | None = None, *, asked: int | None = None) -> None:
        self.opset = opset if asked is None else asked
        self.imports = {"": opset}
        self.asked = {normal(domain): version for domain, version in (versions or {}).items()}
        self.operators: set[tuple[str, str]] = set()
        self.functions: set[tuple[str, str]] = set()

    def add(self, domain: str, op_type: str) -> None:
        """Note an operator of another domain than ONNX's own.

        Raises:
            InvalidModelError: a function of the model has its name.
        """
        if (domain, op_type) in self.functions:
            raise InvalidModelError(f"{op_type}: a function of the model has this name in the domain {domain!r} too")
        self.operators.add((domain, op_type))

    def version(self, domain: str) -> int:
        """Return the version of a domain that the model imports."""
        if domain not in self.imports:
            self.imports[domain] = self.asked.get(domain) or _default(domain, self.opset)
        return self.imports[domain]

    def require(self, op_type: str, *, whole: bool) -> None:
        """Require that nodes of an operator of ONNX's own domain can be written for the opset that is asked for.

        Args:
            op_type: the operator.
            whole: whether the operator stands for a whole function, which is better said as primitives than as a body.

        Raises:
            OpsetError: they cannot be.
        """
        written = self.imports[""]
        if self.opset >= written or first_opset(op_type) is None:
            return
        if not can_say(op_type, written, self.opset, bodies=not whole):
            raise too_old(op_type, self.opset)

    def use(self, domain: str, version: int) -> None:
        """Import a version of a domain.

        Raises:
            OpsetError: the model imports another version of it.
        """
        domain = normal(domain)
        present = self.asked.get(domain, self.imports.setdefault(domain, version)) if domain else self.opset
        if present != version:
            name = domain or _ONNX
            remedy = "a model has one version of a domain: ask for the same one everywhere"
            if not domain:
                remedy = f"pass opset={version}, or leave version out"
            raise OpsetError(f"version {version} of the domain {name} is asked for beside {present}", remedy=remedy)
        if domain:
            self.imports[domain] = version


def normal(domain: str) -> str:
    """Return the name of a domain as nodes have it."""
    return "" if domain == _ONNX else domain


def known_to_onnx() -> frozenset[str]:
    """Return the domains that the ONNX specification has."""
    return frozenset(_onnx_domains()) | {_ONNX}


@functools.cache
def _onnx_domains() -> frozenset[str]:
    return frozenset(schema.domain for schema in onnx.defs.get_all_schemas())


def _default(domain: str, opset: int) -> int:
    """Return the version of a domain where nobody asks for one."""
    if domain != _ML:
        return 1
    versions = [release[3] for release in onnx.helper.VERSION_TABLE if release[2] <= opset]
    return int(max(versions))


def find_schema(op_type: str, domain: str, version: int) -> Any | None:
    """Return the schema of an operator, of onnx or of onnxruntime; None if the domain is known to neither.

    Raises:
        OpsetError: the domain is known, and has no such operator at this version.
    """
    if domain in _onnx_domains():
        try:
            return onnx.defs.get_schema(op_type, version, domain)
        except onnx.defs.SchemaError as error:
            raise _no_operator(op_type, domain, version) from error
    operators = _of_onnxruntime().get(domain)
    if operators is None:
        return None
    fitting = [schema for schema in operators.get(op_type, ()) if schema.since_version <= version]
    if not fitting:
        what = f"the domain {domain} has no operator {op_type} at version {version}"
        raise OpsetError(what, remedy=_meant(op_type, operators) or "see the documentation of the domain")
    return max(fitting, key=lambda schema: schema.since_version)


@functools.cache
def _of_onnxruntime() -> dict[str, dict[str, list[Any]]]:
    """Return the schemas of the installed onnxruntime's own domains."""
    native = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for schema in native.get_all_operator_schema():
        if schema.domain not in _onnx_domains():
            found[schema.domain][schema.name].append(schema)
    return {domain: dict(operators) for domain, operators in found.items()}


def _no_operator(op_type: str, domain: str, version: int) -> ConversionError:
    where = f"opset {version}" if not domain else f"version {version} of {domain}"
    what = f"operator {op_type} does not exist in {where}"
    if onnx.defs.has(op_type, domain):
        newest = onnx.defs.get_schema(op_type, domain=domain)
        needs = f"the newest form came with opset {newest.since_version}"
        return OpsetError(what, remedy=f"ask for a newer opset=; {needs}")
    names = [schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == domain]
    meant = _meant(op_type, names) or "an operator of a runtime needs domain="
    return OpsetError(what, remedy=f"ONNX has no such operator; {meant}")


def _meant(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""

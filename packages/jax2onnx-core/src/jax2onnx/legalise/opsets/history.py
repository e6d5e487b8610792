"""History: since when ONNX has an operator, and what its versions changed, as onnx's own schemas tell."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnx import AttributeProto, defs, helper

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OLDEST_OPSET", "Form", "changes", "exists", "first_opset", "form"]

OLDEST_OPSET = 13
"""The oldest opset that can be asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """An operator at one version.

    Attributes:
        version: the opset in which this version appeared.
        inputs: how many inputs a node may have; None for any number.
        outputs: how many outputs it may have; None for any number.
        defaults: attribute -> its default, None if it has none.
        has_body: whether ONNX gives the operator as a function of others.
        deprecated: whether nodes may not be written in this version.
    """

    version: int
    inputs: int | None
    outputs: int | None
    defaults: Mapping[str, Any]
    has_body: bool
    deprecated: bool


@functools.cache
def _forms() -> dict[str, list[Form]]:
    """Return the versions of each operator of the default domain, the oldest first."""
    found: dict[str, list[Form]] = defaultdict(list)
    for schema in defs.get_all_schemas_with_history():
        if not schema.domain:
            found[schema.name].append(_form(schema))
    for versions in found.values():
        versions.sort(key=lambda form: form.version)
    return dict(found)


def _form(schema: Any) -> Form:
    defaults = {}
    for name, attribute in schema.attributes.items():
        default = attribute.default_value
        known = default.type != AttributeProto.UNDEFINED
        defaults[name] = helper.get_attribute_value(default) if known else None
    return Form(
        version=schema.since_version,
        inputs=_count(schema.inputs),
        outputs=_count(schema.outputs),
        defaults=defaults,
        has_body=schema.has_function or schema.has_context_dependent_function,
        deprecated=schema.deprecated,
    )


def _count(formals: Any) -> int | None:
    variadic = any(formal.option == defs.OpSchema.FormalParameterOption.Variadic for formal in formals)
    return None if variadic else len(formals)


@functools.cache
def form(op_type: str, opset: int) -> Form | None:
    """Return the version of an operator that an opset has, or None."""
    fitting = [form for form in _forms().get(op_type, ()) if form.version <= opset]
    return fitting[-1] if fitting and not fitting[-1].deprecated else None


def exists(op_type: str, opset: int) -> bool:
    """Return whether an opset has an operator."""
    return form(op_type, opset) is not None


def first_opset(op_type: str) -> int | None:
    """Return the first opset that has an operator; None if there is no such operator."""
    versions = _forms().get(op_type)
    return versions[0].version if versions else None


@functools.cache
def changes(op_type: str, older: int, newer: int) -> tuple[Form, ...]:
    """Return the versions of an operator that came after one opset, up to another, the newest first."""
    return tuple(form for form in reversed(_forms().get(op_type, ())) if older < form.version <= newer)

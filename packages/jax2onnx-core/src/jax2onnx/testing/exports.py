"""Exports: export a program at some opsets, count its operators, and compare it with JAX."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import onnx

from jax2onnx.api import to_onnx
from jax2onnx.checking.cases import operators, static
from jax2onnx.checking.check import check
from jax2onnx.checking.locate import first_difference
from jax2onnx.errors import CheckError
from jax2onnx.options import CheckOptions, SharedOptions

__all__ = ["assert_exports", "of_check", "of_export", "require_operators"]

_COMPARED = CheckOptions.__annotations__.keys() - SharedOptions.__annotations__.keys()


def assert_exports(
    fn: Any,
    *specs: Any,
    ops: Mapping[str, int] | Collection[str] = (),
    opsets: Sequence[int] | None = None,
    **options: Any,
) -> onnx.ModelProto:
    """Export a program, check the model with onnx's full checker, and compare it with JAX in onnxruntime.

    Args:
        fn: the callable.
        *specs: one spec per argument, as ``to_onnx`` takes them.
        ops: operators that the model must have: names with their counts (0: none), or names alone (one or more).
        opsets: the opsets to export for (default: that of ``to_onnx`` for the target).
        **options: further options of ``to_onnx`` and ``check``; ``opset=20`` is the same as ``opsets=[20]``.

    Returns:
        The model of the last opset.

    Raises:
        CheckError: the model disagrees with JAX; the message has the first differing value, its node and the JAX line.
        AssertionError: the operators are others.
    """
    if "opset" in options:
        assert opsets is None, "assert_exports: pass opsets or opset, not both"
        opsets = [options.pop("opset")]
    assert opsets is None or opsets, "assert_exports: opsets is empty, so nothing would be compared"
    comparison = {name: value for name, value in options.items() if name in _COMPARED}
    exported = of_export(options)
    shared = {name: value for name, value in exported.items() if name in SharedOptions.__annotations__}
    for wanted in (None,) if opsets is None else opsets:
        model: onnx.ModelProto = to_onnx(fn, list(specs), opset=wanted, **exported)
        onnx.checker.check_model(model, full_check=True)
        require_operators(model, ops)
        try:
            check(model, fn, list(specs), **shared, **comparison)
        except CheckError as error:
            opset = next(entry.version for entry in model.opset_import if not entry.domain)
            where = _located(fn, static(specs), {**exported, "opset": opset}, comparison)
            raise CheckError(f"opset {opset}: {error.message}\n{where}") from None
    return model


def of_export(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that an export takes, without those of the comparison alone, such as tolerances."""
    return {name: value for name, value in options.items() if name not in _COMPARED}


def of_check(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a comparison takes."""
    return {name: value for name, value in options.items() if name in CheckOptions.__annotations__}


def _located(fn: Any, specs: Sequence[Any], options: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """Return where a program first differs from JAX at static sizes, in words."""
    options = {name: value for name, value in options.items() if name != "constraints"}
    tolerances = {name: value for name, value in comparison.items() if name in {"rtol", "atol"}}
    found = first_difference(fn, specs, options, tolerances)
    if found is None:
        return "no equation differs alone at static sizes; jax2onnx.show(fn, inputs, 'final') prints the model"
    return str(found)


def require_operators(model: onnx.ModelProto, ops: Mapping[str, int] | Collection[str]) -> None:
    """Raise AssertionError if a model has other operators than it must."""
    found = operators(model)
    if isinstance(ops, Mapping):
        wrong = {op: count for op, count in ops.items() if found[op] != count}
        wanted = ", ".join(f"{op} {count} times" for op, count in wrong.items())
    else:
        missing = [ops] if isinstance(ops, str) else list(ops)
        wrong = dict.fromkeys(op for op in missing if not found[op])
        wanted = ", ".join(wrong)
    assert not wrong, f"the model must have {wanted}; it has {dict(found)}"

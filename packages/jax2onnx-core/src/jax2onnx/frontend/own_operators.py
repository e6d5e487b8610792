"""``onnx_op``: any ONNX operator in a JAX program."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax import export

from jax2onnx._accepted import domain_version, readable, shown
from jax2onnx._compat import ShapedArray
from jax2onnx.errors import InputSpecError, TraceError
from jax2onnx.frontend.result_sizes import sizes_of_export
from jax2onnx.frontend.specs import read_spec
from jax2onnx.frontend.symbols import SYMBOL
from jax2onnx.plugin.context import ir_dtype
from jax2onnx.plugin.own_operators import Operator, bind, computed
from jax2onnx.plugin.trees import refuse_deep

__all__ = ["onnx_op"]

_Spec: TypeAlias = tuple[Sequence[Any], Any]
"""The dims and the dtype of a result; dims are ints, symbolic dims or, as the user writes them, strings."""

_NAME = re.compile(r"[A-Za-z_]\w*")
_BY_NAME = "write for example attributes={'axis': 1}"


@readable
def onnx_op(
    op_type: str,
    *arrays: Any,
    domain: str = "",
    version: int | None = None,
    attributes: Mapping[str, Any] | None = None,
    out: Any = None,
    reference: Callable[..., Any] | None = None,
) -> Any:
    """Apply an ONNX operator to arrays: an export emits exactly this node, JAX computes ``reference``.

    Args:
        op_type: the operator's name, such as ``NonMaxSuppression``.
        *arrays: its inputs: arrays and numbers; None for an optional input that is left out.
        domain: the operator's domain: empty for ONNX's own, ``com.microsoft``, or any other.
        version: the version of the domain that the model imports (default: 1; for ``ai.onnx.ml``, what belongs to the
            opset). ONNX's own domain has the version ``opset=``.
        attributes: attribute -> value: numbers, strings, lists of them, numpy arrays; a dtype for ONNX's number of it.
        out: the results: a spec such as ``'float32[3,4]'`` or a ``jax.ShapeDtypeStruct``, or a list or dict of these in
            the order of the operator's results, which is then returned. A name among the dims is a size that only a
            run of the model decides; a size of an input is ``x.shape[0]``. By default, what the reference returns.
        reference: a JAX function of the arrays that computes the same. ``vmap`` and ``grad`` transform it.

    Returns:
        The results: one array, or the pytree that ``out`` is.

    Raises:
        InputSpecError: an argument is not of an accepted form, or the reference returns something else than ``out``.
        NoReferenceError: JAX is to compute, batch or differentiate the operator, and there is no reference.
        TraceError: inside of ``jit``, ``vmap``, a loop or a branch, a size is declared that only a run decides.
    """
    operator = _operator(op_type, domain, version, attributes or {}, arrays)
    refuse_deep("onnx_op: the arrays", arrays)
    operands = [jax.numpy.asarray(array) for array in arrays if array is not None]
    if out is None:
        if reference is None:
            raise InputSpecError(
                f"{operator}: the type of its result is not known; "
                "give out=, for example 'float32[B,4]', or a reference that tells it"
            )
        told = reference
        out = jax.eval_shape(lambda *given: told(*operator.complete(given)), *operands)
    refuse_deep("onnx_op: out", out)
    names = list(out) if isinstance(out, Mapping) else None
    if names is not None and reference is not None:
        reference = functools.partial(_values, reference, names)
    leaves = list(out.values()) if names is not None else jax.tree_util.tree_leaves(out)
    specs = [_spec(operator, leaf) for leaf in leaves]
    avals = _resolved(operator, specs)
    if avals is None:
        results = list(map(jax.numpy.asarray, computed(operator, reference, operands)))
        _check_results(operator, specs, results)
    else:
        results = bind(operator, reference, avals, operands)
    if names is not None:
        return dict(zip(names, results, strict=True))
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(out), results)


def _values(reference: Callable[..., Any], names: Sequence[str], *arrays: Any) -> list[Any]:
    """Return the results of a reference that returns a dict, in the order of its names."""
    results = reference(*arrays)
    return [results[name] for name in names]


def _operator(
    op_type: Any,
    domain: Any,
    version: Any,
    attributes: Any,
    arrays: Sequence[Any],
) -> Operator:
    """Return the operator of a call."""
    if not isinstance(op_type, str) or not _NAME.fullmatch(op_type):
        raise InputSpecError(
            f"onnx_op: expected the name of an operator, got {shown(op_type)}; write for example 'Gelu'"
        )
    if not isinstance(domain, str) or not domain.isprintable() or " " in domain:
        raise InputSpecError(
            f"onnx_op: domain: expected a name, got {shown(domain)}; write for example 'com.microsoft'"
        )
    if version is not None:
        domain_version("onnx_op: version", version)
    if not isinstance(attributes, Mapping) or not all(isinstance(name, str) for name in attributes):
        raise InputSpecError(f"onnx_op: attributes: expected a mapping by name, got {shown(attributes)}; {_BY_NAME}")
    refuse_deep("onnx_op: attributes", attributes)
    read = {name: _attribute(name, value) for name, value in attributes.items() if value is not None}
    given = tuple(array is not None for array in arrays)
    domain = "" if domain == "ai.onnx" else domain
    return Operator(op_type, domain, version, tuple((name, _key(read[name])) for name in sorted(read)), given, read)


def _attribute(name: str, value: Any) -> Any:
    """Return the value of an attribute with numpy arrays in the place of JAX's, and numbers in the place of dtypes."""
    if isinstance(value, jax.core.Tracer):
        raise InputSpecError(
            f"onnx_op: the attribute {name!r} is an array of the program; pass a Python value, or the array as an input"
        )
    if isinstance(value, jax.Array):
        return np.asarray(value)
    if isinstance(value, np.dtype | type) or (hasattr(value, "dtype") and isinstance(value, type(jax.numpy.float32))):
        return int(ir_dtype(np.dtype(value)))
    if isinstance(value, list | tuple):
        return [_attribute(name, item) for item in value]
    return value


def _key(value: Any) -> Any:
    """Return what is equal for attributes of equal values."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, list):
        return tuple(map(_key, value))
    return (type(value).__name__, repr(value))


def _spec(operator: Operator, leaf: Any) -> _Spec:
    try:
        return read_spec(leaf)
    except InputSpecError as error:
        raise InputSpecError(f"{operator}: out: {error}") from error.__cause__


def _resolved(operator: Operator, specs: Sequence[_Spec]) -> list[Any] | None:
    """Return the types of the results; None if a size is not known before the reference has computed them."""
    named = {name for shape, _ in specs for dim in shape if isinstance(dim, str) for name in SYMBOL.findall(dim)}
    if not any(isinstance(dim, str) for shape, _ in specs for dim in shape):
        return [ShapedArray(tuple(shape), dtype) for shape, dtype in specs]
    sizes = sizes_of_export()
    if sizes is None:
        return None
    renamed = {}
    for name in sorted(named):
        if not sizes.is_outermost():
            raise TraceError(
                f"{operator}: only a run of the model decides the size {name}, and inside of jit, grad, vmap, a loop, "
                "a branch or an onnx_function JAX takes arrays of known sizes",
                remedy="call it outside of them, or pad its results to a size that is known",
            )
        renamed[name] = sizes.fresh(name)

    def resolve(dim: Any) -> Any:
        if not isinstance(dim, str):
            return dim
        text = SYMBOL.sub(lambda found: renamed.get(found[0], found[0]), dim)
        try:
            return export.symbolic_shape(text, scope=sizes.scope)[0]
        except (ValueError, TypeError, NotImplementedError) as error:
            raise InputSpecError(
                f"{operator}: out: {dim!r} is not a dimension; write for example 'N' or '2*N'"
            ) from error

    return [ShapedArray(tuple(map(resolve, shape)), dtype) for shape, dtype in specs]


def _check_results(operator: Operator, specs: Sequence[_Spec], results: Sequence[Any]) -> None:
    """Raise InputSpecError unless arrays are of the types that are declared, whatever size a name stands for."""
    sizes: dict[str, int] = {}
    fit = len(specs) == len(results)
    for (shape, dtype), result in zip(specs, results, strict=False):
        fit &= len(shape) == np.ndim(result) and np.dtype(dtype) == jax.numpy.result_type(result)
        for dim, size in zip(shape, np.shape(result), strict=False):
            if isinstance(dim, str) and not _NAME.fullmatch(dim):
                continue
            fit &= (sizes.setdefault(dim, size) if isinstance(dim, str) else dim) == size
    if not fit:
        declared = ", ".join(f"{np.dtype(dtype)}[{','.join(map(str, shape))}]" for shape, dtype in specs)
        returned = ", ".join(f"{jax.numpy.result_type(array)}{list(np.shape(array))}" for array in results)
        raise InputSpecError(f"{operator}: the reference returns {returned}, and out= declares {declared}; change one")

"""Constants of a model: initializers, nodes in functions, and what makes two of them one."""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx._unique import free_name
from jax2onnx.weights.stored import StoredTensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jax2onnx.lowering.scope import Scope

__all__ = [
    "common_path",
    "computed_later",
    "constant_in_function",
    "constant_key",
    "function_key",
    "hold",
    "initializer",
    "initializer_of",
    "stored_tensor",
]

_SMALL = 4096
"""Constants up to this many bytes are shared by content; larger ones by identity."""

_STORED = "jax2onnx.stored"
"""The key in a value's metadata of its tensor, where rules may not look at its numbers: it is large, or not there."""

_INLINE = 256
"""Constants up to this many bytes stand in a function's body; larger ones are passed to it."""


def function_key(function: Callable[..., Any]) -> Any:
    """Return what two functions have in common only if they compute the same: the parts of partials and methods."""
    if isinstance(function, functools.partial) and not function.keywords:
        bound = [(type(each), each if isinstance(each, str | int) else id(each)) for each in function.args]
        return (function_key(function.func), *bound)
    if isinstance(function, types.MethodType):
        return (id(function.__func__), id(function.__self__))
    return id(function)


def hold(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Make a value a constant; rules see its numbers only if they are at hand."""
    is_known = not isinstance(tensor, ir.LazyTensor)
    if isinstance(tensor, StoredTensor):
        if not tensor.source.is_there:
            return  # nothing is known of it but its shape
        is_known = tensor.is_known
    if is_known:
        value.const_value = tensor
    else:
        value.meta[_STORED] = tensor


def stored_tensor(value: ir.Value) -> ir.TensorProtocol | None:
    """Return the tensor of a constant, one whose numbers rules may not look at too; None for any other value."""
    tensor: ir.TensorProtocol | None = value.meta.get(_STORED, value.const_value)
    return tensor


def computed_later(
    tensors: Sequence[ir.TensorProtocol], function: Callable[..., np.ndarray[Any, Any]]
) -> ir.LazyTensor:
    """Return the tensor that a function makes of others, which are read when it is written."""
    alike = [np.broadcast_to(np.zeros((), tensor.dtype.numpy()), tensor.shape.numpy()) for tensor in tensors]
    result = function(*alike)

    def compute() -> ir.Tensor[Any]:
        return ir.Tensor(np.ascontiguousarray(function(*[tensor.numpy() for tensor in tensors])))

    return ir.LazyTensor(compute, ir.DataType.from_numpy(result.dtype), ir.Shape(result.shape))


def initializer(root: Scope, array: Any, wanted: str) -> ir.Value:
    """Append an initializer; its name is the wanted one, or that with a number if another initializer has it."""
    return initializer_of(root, ir.Tensor(np.asarray(array)), wanted)


def initializer_of(root: Scope, tensor: ir.TensorProtocol, wanted: str) -> ir.Value:
    """Append an initializer that a tensor is; for its name as for an array's."""
    name = free_name(wanted, root.names, first=2)
    root.names.add(name)
    tensor.name = name
    value = ir.Value(name=name)
    hold(value, tensor)
    value.dtype = tensor.dtype
    value.shape = ir.Shape(tensor.shape.numpy())
    root.initializers.append(value)
    return value


def constant_in_function(root: Scope, array: Any) -> ir.Value:
    """Append a constant to a function: a node, or if it is large, a parameter that every call passes."""
    tensor = ir.Tensor(np.asarray(array))
    if tensor.nbytes > _INLINE:
        value = ir.Value(name=f"param_{len(root.hoisted)}")
        root.hoisted.append((value, array))
    else:
        attribute = ir.AttrTensor("value", tensor)
        node = ir.Node("", "Constant", [], [attribute])
        root.nodes.append(node)
        value = node.outputs[0]
        value.const_value = tensor
    value.dtype = tensor.dtype
    value.shape = tensor.shape
    return value


def common_path(values: Iterable[ir.Value]) -> str:
    """Return the steps that dotted names have in common: ``gru.kernel`` for ``gru.r.kernel`` and ``gru.z.kernel``."""
    paths = [(value.name or "").split(".") for value in values]
    steps = zip(*paths, strict=False)
    return ".".join(step[0] for step in steps if len(set(step)) == 1)


def constant_key(array: Any) -> Any:
    """Return what two arrays have in common only if one constant may stand for both: small ones are compared."""
    size = array.size * array.dtype.itemsize
    if size > _SMALL:
        return id(array)
    content = np.asarray(array)
    return (content.dtype, content.shape, content.tobytes())

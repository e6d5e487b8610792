"""Input specs: from what a user writes to abstract values with names.

A spec is a shape tuple ``("B", 30)`` (float32), a string ``"int32[B,T]"``, a ``jax.ShapeDtypeStruct`` (string dims
allowed in its shape), a concrete array or scalar, or a pytree of these. A dimension is an int, a symbol or expression
(``"B"``, ``"2*T"``), a ``jax.export`` symbolic dimension, or ``None``/``...`` for an anonymous one.

A Python bool is no spec but a value that the callable gets as it is, as is what ``static`` gives, and what ``jax.jit``
of the callable declares static.
"""

from __future__ import annotations

import collections
import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from jax2onnx._accepted import nearest, refuse_mask, shown
from jax2onnx._compat import is_symbolic
from jax2onnx._printable import counted, storable
from jax2onnx.errors import InputSpecError
from jax2onnx.frontend.spec_forms import (
    ACCEPTED,
    check_form,
    instead,
    is_description,
    is_like_shape,
    is_shape,
    is_spec,
)
from jax2onnx.frontend.static import Fixed, Static, released
from jax2onnx.frontend.symbols import Dims
from jax2onnx.frontend.typed_specs import check_numbers, check_width, dtype_named, parse_typed
from jax2onnx.plugin.naming import dotted, parameters_of, path_name, positional_names
from jax2onnx.plugin.trees import refuse_deep
from jax2onnx.plugin.user_warnings import warn
from jax2onnx.program.lost import reason_without_value

__all__ = ["InputSpec", "Inputs", "described", "parse_inputs", "read_spec"]

_MOST_BYTES = 2**63
_CONCRETE = (np.ndarray, np.generic, jax.Array, float, complex)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One flattened input.

    Attributes:
        name: its name in the model.
        aval: ``jax.ShapeDtypeStruct``; dims are ints or ``jax.export`` symbolic dims.
        value: the concrete array it was given as, if any.
        argument: the parameter of the callable that it is a part of.
        below: its path in the pytree that is the argument; empty if it is the argument itself.
    """

    name: str
    aval: jax.ShapeDtypeStruct
    value: Any = None
    argument: str = ""
    below: str = ""

    @property
    def is_switch(self) -> bool:
        """Whether it is a scalar bool."""
        return self.aval.dtype == np.bool_ and not self.aval.shape


@dataclass(frozen=True, slots=True)
class Inputs:
    """The flattened inputs, and the way back to the call's arguments.

    Attributes:
        specs: the flattened inputs.
        tree: the structure of the call's ``(args, kwargs)``; static values are in it.
        symbols: the names of the symbolic dims.
        warnings: messages to show the user.
        constraints: what holds between symbolic dims, as the user says it.
        scope: the scope of the symbolic dims.
    """

    specs: tuple[InputSpec, ...]
    tree: Any
    symbols: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    scope: Any = None

    @property
    def switches(self) -> tuple[int, ...]:
        """The indices of the inputs that are a scalar bool."""
        return tuple(index for index, spec in enumerate(self.specs) if spec.is_switch)

    def call(self, fn: Callable[..., Any], leaves: Sequence[Any]) -> Any:
        """Call ``fn`` with the flat ``leaves`` arranged as its positional and keyword arguments."""
        args, kwargs = released(jax.tree_util.tree_unflatten(self.tree, leaves))
        return fn(*args, **kwargs)

    def constrained(self, constraint: str) -> Inputs:
        """Return these inputs with a further constraint between their symbolic dims."""
        constraints = (*self.constraints, constraint)
        dims = Dims(constraints)
        specs = []
        for spec in self.specs:
            shape = [dims.parse(str(dim) if is_symbolic(dim) else dim) for dim in spec.aval.shape]
            aval = jax.ShapeDtypeStruct(shape, spec.aval.dtype, weak_type=spec.aval.weak_type)
            specs.append(replace(spec, aval=aval))
        return replace(self, specs=tuple(specs), constraints=constraints, scope=dims.scope)

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and keyword arguments, with specs in the places of arrays."""
        args, kwargs = released(jax.tree_util.tree_unflatten(self.tree, self.specs))
        return args, kwargs

    def with_static(self, name: str, value: Any) -> Inputs:
        """Return the inputs of the same call with one more keyword argument, a static value."""
        args, kwargs = jax.tree_util.tree_unflatten(self.tree, self.specs)
        _, tree = jax.tree_util.tree_flatten((args, {**kwargs, name: Fixed(value)}))
        return replace(self, tree=tree)

    def described(self, most: int = 6) -> str:
        """Return the inputs as specs with names: ``x=float32[B,30], mask=bool[B]``."""
        parts = [f"{spec.name}={described(spec.aval)}" for spec in self.specs[:most]]
        if len(self.specs) > most:
            parts.append(f"and {len(self.specs) - most} more")
        return ", ".join(parts) or "no inputs"


def parse_inputs(
    fn: Callable[..., Any],
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    input_params: Mapping[str, Any] | None = None,
    input_names: Sequence[str] | None = None,
    constraints: Sequence[str] = (),
    static: Mapping[str, Any] | None = None,
    training: bool = False,
) -> Inputs:
    """Flatten and name the inputs of a call.

    Args:
        fn: the callable, for the names of its parameters.
        inputs: one spec per positional argument, or a mapping of keyword arguments.
        input_params: specs of further keyword arguments that stay inputs of the model.
        input_names: names for the flattened inputs, in order.
        constraints: what holds between symbolic dims, e.g. ``["T >= 4", "mod(T, 2) == 0"]``.
        static: values that the callable gets as they are, by the names of its parameters.
        training: what arguments that choose between training and inference are if nothing is given for them.

    Raises:
        InputSpecError: a spec, name or constraint is not of an accepted form.
    """
    check_form(inputs)
    keywords = dict(input_params or {})
    positional: Sequence[Any] = ()
    if isinstance(inputs, Mapping):
        _check_keywords(fn, inputs, "inputs")
        keywords = {**inputs, **keywords}
    else:
        positional = inputs
    _check_keywords(fn, input_params or {}, "input_params")
    _check_keywords(fn, static or {}, "static")
    arranged = Static(fn, static or {}, training=training).arrange(positional, keywords)
    dims = Dims(constraints)
    args = []
    labels = _argument_labels(fn, len(arranged.args))
    for label, spec in zip(labels, arranged.args, strict=True):
        args.append(_read_tree(spec, label, dims))
    kwargs = {label: _read_tree(spec, label, dims) for label, spec in arranged.kwargs.items()}
    dims.check_constraints()
    specs, tree = jax.tree_util.tree_flatten((tuple(args), kwargs))
    if input_names is not None:
        specs = _renamed(specs, input_names)
    _check_distinct(spec.name for spec in specs)
    return Inputs(tuple(specs), tree, tuple(dims.symbols), arranged.warnings, tuple(constraints), dims.scope)


def read_spec(spec: Any) -> tuple[Sequence[Any], Any]:
    """Return the dims, those that are strings as they are written, and the dtype of one spec, such as ``float32[N,4]``.

    Raises:
        InputSpecError: it is none.
    """
    if isinstance(spec, str):
        shape: Sequence[Any]
        shape, dtype = parse_typed(spec)
        shape = [int(dim) if dim.isdigit() else dim for dim in shape]
    elif isinstance(spec, jax.ShapeDtypeStruct):
        shape, dtype = spec.shape, spec.dtype
    else:
        raise InputSpecError(f"{shown(spec)} is no spec; write 'float32[B,4]' or a jax.ShapeDtypeStruct")
    check_width(dtype)
    return shape, dtype


def described(aval: Any) -> str:
    """Return the shape and dtype of an array as a spec: ``float32[B,30]``."""
    dims = ",".join(map(str, aval.shape))
    return f"{aval.dtype}[{dims}]"


def _read_tree(spec: Any, label: str, dims: Dims) -> Any:
    """Read the spec of one argument: return its pytree with an ``InputSpec`` for each leaf."""
    refuse_deep(f"inputs: {label}", spec)
    flat, tree = jax.tree_util.tree_flatten_with_path(spec, is_leaf=is_spec)
    specs: list[Any] = []
    for path, leaf in flat:
        where = f"inputs: {label}{jax.tree_util.keystr(path)}"
        if isinstance(leaf, bool | Fixed):
            specs.append(leaf if isinstance(leaf, Fixed) else Fixed(leaf))
            continue
        try:
            aval, value = _read_leaf(leaf, dims)
        except InputSpecError as error:
            raise InputSpecError(f"{where}: {error.message}") from error.__cause__
        if isinstance(leaf, np.ndarray | np.generic) and leaf.dtype != aval.dtype:
            warn(
                f"{where}: the {leaf.dtype} array becomes {aval.dtype}, as in JAX with 64-bit types off; "
                "set jax_enable_x64, or convert the array to silence this"
            )
        argument, below = storable(label), path_name(path)
        specs.append(InputSpec(dotted(argument, below), aval, value, argument, below))
    return jax.tree_util.tree_unflatten(tree, specs)


def _read_leaf(spec: Any, dims: Dims) -> tuple[jax.ShapeDtypeStruct, Any]:
    """Return the abstract value of a leaf, and the concrete array if it is one."""
    weak = False
    if is_shape(spec):
        shape = spec
        dtype = np.float32
    elif isinstance(spec, str):
        shape, dtype = parse_typed(spec)
    elif is_like_shape(spec):
        raise InputSpecError(f"a shape is a tuple; write {tuple(spec)!r} instead of {spec!r}")
    elif isinstance(spec, jax.ShapeDtypeStruct):
        shape = spec.shape
        dtype = spec.dtype
        weak = spec.weak_type
    elif isinstance(spec, _CONCRETE):
        check_numbers(getattr(spec, "dtype", np.dtype(type(spec))))
        lost = reason_without_value(spec)
        if lost:
            raise InputSpecError(f"the array {lost}; write its dtype and shape instead")
        refuse_mask("the array", spec)
        if isinstance(spec, np.ndarray | np.generic):
            spec = spec.astype(spec.dtype.newbyteorder("="), copy=False)
        array = jax.numpy.asarray(spec)
        weak = jax.typeof(array).weak_type
        return jax.ShapeDtypeStruct(array.shape, array.dtype, weak_type=weak), array
    elif is_description(spec):
        shape = spec.shape
        dtype = dtype_named(spec.dtype)
    else:
        raise InputSpecError(f"{shown(spec)} is not an input spec; {instead(spec)}accepted is {ACCEPTED}")
    check_width(dtype)
    parsed = tuple(map(dims.parse, shape))
    aval = jax.ShapeDtypeStruct(parsed, dtype, weak_type=weak)
    # numpy computes the bytes of an empty array too, without its 0.
    if math.prod(dim for dim in parsed if not is_symbolic(dim) and dim) * aval.dtype.itemsize >= _MOST_BYTES:
        raise InputSpecError(f"an array of the shape {shown(parsed)} is too large for any machine; write smaller sizes")
    return aval, None


def _check_keywords(fn: Callable[..., Any], names: Iterable[str], option: str) -> None:
    """Raise InputSpecError unless the callable takes keyword arguments of these names."""
    parameters = parameters_of(fn)
    if parameters is None:
        return
    signature = inspect.Signature(parameters)
    try:
        signature.bind_partial(**dict.fromkeys(names))
    except TypeError as error:
        taken = [parameter.name for parameter in parameters]
        unknown = [name for name in names if name not in taken]
        hint = f"the callable takes {', '.join(taken) or 'nothing'}"
        if unknown and difflib.get_close_matches(unknown[0], taken, n=1):
            hint = f"{nearest(unknown[0], taken)} {hint}"
        raise InputSpecError(f"{option}: {error}; {hint}") from error


def _argument_labels(fn: Callable[..., Any], count: int) -> list[str]:
    """Return the names of the first ``count`` positional parameters, ``input_2`` and so on where there are fewer."""
    names = positional_names(fn)[:count]
    return names + [f"input_{i}" for i in range(len(names), count)]


def _renamed(specs: Sequence[InputSpec], names: Sequence[str]) -> list[InputSpec]:
    if len(names) != len(specs):
        listed = ", ".join(spec.name for spec in specs) or "none"
        counts = f"{counted(len(names), 'name')} for {counted(len(specs), 'input')}"
        raise InputSpecError(f"input_names: {counts}; write one for each: {listed}")
    return [replace(spec, name=name) for spec, name in zip(specs, names, strict=True)]


def _check_distinct(names: Iterable[str]) -> None:
    for name, count in collections.Counter(names).items():
        if count > 1:
            raise InputSpecError(f"input_names: two inputs are named {name!r}; pass input_names= with distinct names")

"""The ONNX operators as the methods of one object: what a rule emits nodes with."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

__all__ = ["Operators"]


class Operators(ABC):
    """The node builder. Any ONNX operator is a method: ``op.Gather(x, i, axis=1)`` appends a node, returns its result.

    Of an operator with several results such a method returns the first one. All of them are returned by
    ``op.many("Split", x, outputs=2, axis=-1, num_outputs=2)``.

    Operators of another domain are emitted by name: ``op.emit(name, x, domain="com.microsoft")``. Where nobody
    knows the operator, a result has no dtype until the rule sets it (``y.dtype = x.dtype``) or returns it.

    Inputs are ``ir.Value``, numpy arrays, None for an optional input left out, or Python scalars, which take the dtype
    of the operands they must agree with. Attributes are keywords; one that is None is left out.

    The signatures of the operators are in ``operators.pyi``, written by ``scripts/operator_stub.py``.
    """

    def __getattr__(self, op_type: str) -> Callable[..., ir.Value]:
        if op_type.startswith("_"):
            raise AttributeError(op_type)
        return functools.partial(self.emit, op_type)

    def emit(self, op_type: str, *inputs: Any, domain: str = "", **attributes: Any) -> ir.Value:
        """Append a node with one result. The operator's name is a string here, so no type checker can check it."""
        return self.node(op_type, inputs, attributes, 1, domain).outputs[0]

    def many(self, op_type: str, *inputs: Any, outputs: int, domain: str = "", **attributes: Any) -> list[ir.Value]:
        """Append a node with several results: ``op.many("TopK", x, k, outputs=2)``."""
        return list(self.node(op_type, inputs, attributes, outputs, domain).outputs)

    @abstractmethod
    def node(
        self,
        op_type: str,
        inputs: Sequence[Any],
        attributes: Mapping[str, Any],
        outputs: int,
        domain: str,
    ) -> ir.Node:
        """Append a node."""

    @abstractmethod
    def use(self, domain: str, version: int) -> None:
        """Import a version of a domain into the model. Without it, the version is 1, or the user's ``domains=``."""

    @abstractmethod
    def fixed_dtypes(self, op_type: str, domain: str, count: int) -> list[ir.DataType | None]:
        """Return, for so many inputs of an operator, the dtype of each that takes one dtype only; else None."""

    @abstractmethod
    def call(self, domain: str, name: str, inputs: Sequence[ir.Value], outputs: int) -> list[ir.Value]:
        """Append a call of one of the model's functions. The types of its results are left to the caller."""

    @abstractmethod
    def subgraph(
        self,
        name: str,
        inputs: Sequence[ir.Value],
        body: Callable[[list[ir.Value]], Sequence[ir.Value]],
    ) -> ir.Graph:
        """Build a graph within the current one; ``body`` maps its inputs to its outputs."""

    @abstractmethod
    def constant(self, array: Any) -> ir.Value:
        """Return a constant of the array's dtype and shape, shared within the model or function."""

    @abstractmethod
    def rearranged(self, source: ir.Value, shape: Sequence[int]) -> ir.Value | None:
        """Return a constant in another shape; None if the value is computed, or so large that two copies would cost."""

    @abstractmethod
    def derived(
        self,
        what: str,
        sources: Sequence[ir.Value],
        function: Callable[..., np.ndarray[Any, Any]],
    ) -> ir.Value | None:
        """Return the constant that ``function`` makes of constants' arrays; None if one of the values is computed.

        Its name is what the names of the sources have in common, and ``[what]``.
        """

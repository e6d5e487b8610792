"""Layers: a scan over stacked weights becomes one layer after the other, each with weights of its own.

``lax.scan(layer, x, {"w": float32[12, 64, 64]})``, as ``nnx.scan`` and ``nn.scan`` write it, is one body with slices of
the weights. Written out, each layer has the initializer of its own (``blocks.3.w``), and everything that is done to
weights, products and whole functions is done to it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx._compat import scan_counts, unchecked
from jax2onnx._unique import free_name
from jax2onnx.program.flatten import flatten
from jax2onnx.program.inline_calls import instance
from jax2onnx.program.program import Atom, Const, Eqn, Program, Var, substitute
from jax2onnx.program.shapes import is_static

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from jax2onnx.frontend.trace import Traced
    from jax2onnx.program.facts import FactTable
    from jax2onnx.weights.stored import StoredArray

__all__ = ["unroll_layers"]


_FEW_BITS = frozenset({"int2", "uint2", "int4", "uint4", "int8", "uint8"})
"""Dtypes of quantised weights."""


def unroll_layers(
    traced: Traced, facts: FactTable, stored: dict[str, StoredArray], *, quantised: bool = False
) -> Traced:
    """Return the traced program with each scan over stacked weights as a sequence of its steps.

    Args:
        traced: a traced callable; it is not changed.
        facts: what is registered about primitives.
        stored: the arrays of parameters that are not in memory, by name; it receives those of their slices.
        quantised: only scans over weights of 8 bits and fewer: their products cannot be packed in a scan, and
            onnxruntime's Scan has no slices of 4 bits.
    """
    names = dict(zip(traced.program.inputs, traced.params, strict=False))
    unroller = _Unroller(facts, names, dict(traced.params), stored, quantised)
    program = traced.program
    while (unrolled := unroller.unroll(program)) is not None:
        program = unrolled
    if not unroller.sliced:
        return replace(traced, program=program)
    inputs = [one for variable in program.inputs for one in unroller.parts(variable)]
    params = {unroller.names[one]: unroller.params[unroller.names[one]] for one in inputs if one in unroller.names}
    return replace(traced, program=Program(inputs, program.eqns, program.outputs), params=params)


@dataclass(slots=True)
class _Unroller:
    """Unrolls scans of one program.

    Attributes:
        facts: what is registered about primitives.
        names: the inputs of the program that are parameters or slices of them, and their names.
        params: their arrays, by name.
        stored: those that are not in memory.
        quantised: whether only scans over weights in few bits are unrolled.
        sliced: parameters of which only slices are read -> the variables of the slices.
    """

    facts: FactTable
    names: dict[Var, str]
    params: dict[str, Any]
    stored: dict[str, StoredArray]
    quantised: bool
    sliced: dict[Var, list[Var]] = field(default_factory=dict)

    def unroll(self, program: Program) -> Program | None:
        """Return the program with the steps of all scans over weights that it has itself; None if it has none."""
        scans = [eqn for eqn in program.eqns if eqn.primitive == "scan" and eqn.bodies]
        weights = self._weights(program) if scans else set()
        layers = [eqn for eqn in scans if _is_over(eqn, weights, quantised=self.quantised)]
        if not layers:
            return None
        reads = Counter(atom for eqn in program.eqns for atom in eqn.inputs)
        reads.update(program.outputs)
        for eqn in layers:
            reads.subtract(_stacked(eqn))
        env: dict[Atom, Atom] = {}
        eqns: list[Eqn] = []
        for eqn in program.eqns:
            read = replace(eqn, inputs=substitute(eqn.inputs, env))
            if eqn not in layers:
                eqns.append(read)
                continue
            steps = self._steps(read, reads)
            eqns += steps.eqns
            env.update(zip(eqn.outputs, steps.outputs, strict=True))
        return Program(program.inputs, eqns, substitute(program.outputs, env))

    def parts(self, variable: Var) -> Iterator[Var]:
        """Yield the variables that take the place of an input of the program."""
        if variable not in self.sliced:
            yield variable
        for one in self.sliced.get(variable, ()):
            yield from self.parts(one)

    def _weights(self, program: Program) -> set[Atom]:
        """Return the values that are made of parameters and constants alone."""
        known: set[Atom] = set(self.names)
        for eqn in program.eqns:
            if eqn.inputs and all(isinstance(atom, Const) or atom in known for atom in eqn.inputs):
                known.update(eqn.outputs)
        return known

    def _steps(self, eqn: Eqn, reads: Mapping[Atom, int]) -> Program:
        """Return the steps of a scan in a row."""
        fixed, carried = scan_counts(eqn.params)
        length, reverse = eqn.params["length"], eqn.params["reverse"]
        consts, carry = eqn.inputs[:fixed], eqn.inputs[fixed : fixed + carried]
        eqns: list[Eqn] = []
        slices = self._slices(eqn, reads, eqns)
        results: dict[int, list[Atom]] = {}
        for step in reversed(range(length)) if reverse else range(length):
            operands = [*consts, *carry, *[one[step] for one in slices]]
            done = instance(eqn.bodies[0].program, operands)
            eqns += done.eqns
            carry, results[step] = done.outputs[:carried], done.outputs[carried:]
        outputs = list(carry)
        for index in range(carried, len(eqn.outputs)):
            column = [results[step][index - carried] for step in range(length)]
            outputs += self._written(lambda *xs: [jax.numpy.stack(xs)], column, eqns, eqn)
        return Program([], eqns, outputs)

    def _slices(self, eqn: Eqn, reads: Mapping[Atom, int], eqns: list[Eqn]) -> list[Sequence[Atom]]:
        """Return the slices of each array that a scan goes over; those of computed ones are computed in ``eqns``."""
        length = eqn.params["length"]
        stacked = _stacked(eqn)
        inside = eqn.bodies[0].program.inputs[len(eqn.inputs) - len(stacked) :]
        own = [self.names[atom] for atom in stacked if isinstance(atom, Var) and self._is_split(atom, reads)]
        prefix = _path_of(own, self.names.values())
        slices: list[Sequence[Atom]] = []
        for atom, variable in zip(stacked, inside, strict=True):
            if isinstance(atom, Const) and _is_plain(atom.value):
                array = np.asarray(atom.value)
                slices.append([Const(variable.aval, array[step]) for step in range(length)])
            elif isinstance(atom, Var) and self._is_split(atom, reads):
                slices.append(self._split(atom, variable.aval, length, prefix))
            else:

                def each(x: Any) -> list[Any]:
                    return [jax.lax.index_in_dim(x, step, keepdims=False) for step in range(length)]

                slices.append(self._written(each, [atom], eqns, eqn))
        return slices

    def _is_split(self, atom: Atom, reads: Mapping[Atom, int]) -> bool:
        """Return whether an array is a parameter that nothing reads as a whole."""
        if not isinstance(atom, Var) or atom not in self.names:
            return False
        name = self.names[atom]
        return atom in self.sliced or (reads[atom] <= 0 and (name in self.stored or _is_plain(self.params[name])))

    def _split(self, atom: Var, aval: Any, length: int, prefix: str) -> list[Var]:
        """Return a variable for each slice of a parameter."""
        if atom not in self.sliced:
            name = self.names[atom]
            self.sliced[atom] = [Var(aval) for _ in range(length)]
            for step, variable in enumerate(self.sliced[atom]):
                own = free_name(_numbered(name, prefix, step), self.params)
                self.names[variable] = own
                if name in self.stored:
                    self.stored[own] = self.stored[name].rows(step, step + 1).reshaped(aval.shape)
                    self.params[own] = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
                else:
                    self.params[own] = np.asarray(self.params[name])[step]
        return self.sliced[atom]

    def _written(
        self, function: Callable[..., Any], operands: Sequence[Atom], eqns: list[Eqn], near: Eqn
    ) -> list[Atom]:
        """Add the equations of a function to ``eqns``; return its results."""
        with unchecked():
            avals = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in operands]
            program = flatten(jax.make_jaxpr(function)(*avals), self.facts, source=near.source)
        done = instance(program, operands)
        eqns += done.eqns
        return done.outputs


def _stacked(eqn: Eqn) -> list[Atom]:
    """Return the arrays that a scan goes over."""
    fixed, carried = scan_counts(eqn.params)
    return eqn.inputs[fixed + carried :]


def _is_over(eqn: Eqn, weights: set[Atom], *, quantised: bool) -> bool:
    """Return whether an equation is a scan over stacked weights: matrices, or constants for each step."""
    if not is_static(eqn.params["length"]) or not eqn.params["length"]:
        return False
    stacked = [atom for atom in _stacked(eqn) if isinstance(atom, Const) or atom in weights]
    least = 3 if quantised else 2
    if quantised:
        stacked = [atom for atom in stacked if str(atom.aval.dtype) in _FEW_BITS]
    return any(len(atom.aval.shape) >= least and is_static(*atom.aval.shape) for atom in stacked)


def _is_plain(array: Any) -> bool:
    """Return whether an array can be sliced as numpy's are."""
    if not hasattr(array, "__array__") or not isinstance(array.dtype, np.dtype):
        return False
    return array.dtype.kind != "c" and array.dtype != jax.dtypes.float0


def _path_of(names: Sequence[str], all_names: Collection[str]) -> str:
    """Return the path of what is stacked: ``blocks`` of ``blocks.a.w`` and ``blocks.b``.

    It is the shortest one that begins all these names and no others.
    """
    paths = [name.split(".")[:-1] for name in names]
    common: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
        path = ".".join(common)
        if sum(name.startswith(f"{path}.") for name in all_names) == len(set(names)):
            return path
    return ".".join(common) if len(set(names)) > 1 else ""


def _numbered(name: str, path: str, step: int) -> str:
    """Return the name of a slice: ``blocks.3.a.w`` of ``blocks.a.w``."""
    return f"{path}.{step}.{name[len(path) + 1 :]}" if path else f"{name}.{step}"

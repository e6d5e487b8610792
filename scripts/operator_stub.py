"""Write the signatures of operators.pyi from the schemas of the installed onnx: `python scripts/operator_stub.py`.

The inputs are those of an operator's newest version. The attributes are those of every version that a model of
jax2onnx can have, since a rule for an older opset may give one that a newer version no longer has.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import onnx

from jax2onnx.plugin import MIN_OPSET

STUB = Path(__file__).parents[1] / "packages/jax2onnx-core/src/jax2onnx/plugin/operators.pyi"
CLASS = STUB.with_suffix(".py")

HEADER = f"""\
# Written by scripts/operator_stub.py from the schemas of onnx {onnx.__version__}.
# ruff: noqa: A002, N802, N803
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

__all__ = ["Operators"]

_In: TypeAlias = ir.Value | np.ndarray[Any, Any] | np.generic | float
_Optional: TypeAlias = _In | None
_Int: TypeAlias = int | None
_Ints: TypeAlias = Sequence[int] | None
_Float: TypeAlias = float | None
_Floats: TypeAlias = Sequence[float] | None
_Str: TypeAlias = str | None
_Strs: TypeAlias = Sequence[str] | None
_Tensor: TypeAlias = ir.TensorProtocol | None
_Graph: TypeAlias = ir.Graph | None
_Other: TypeAlias = ir.Attr | None

class Operators(ABC):
"""

TYPES = {
    "INT": "_Int",
    "INTS": "_Ints",
    "FLOAT": "_Float",
    "FLOATS": "_Floats",
    "STRING": "_Str",
    "STRINGS": "_Strs",
    "TENSOR": "_Tensor",
    "GRAPH": "_Graph",
}
WIDTH = 120


def operators() -> dict[str, list[onnx.defs.OpSchema]]:
    """Return the versions of each operator that a model can have, the oldest first."""
    versions: dict[str, dict[int, onnx.defs.OpSchema]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain:
            continue
        opset = max(schema.since_version, MIN_OPSET)
        used = onnx.defs.get_schema(schema.name, max_inclusive_version=opset)
        if not used.deprecated and used.support_level != onnx.defs.OpSchema.SupportType.EXPERIMENTAL:
            versions.setdefault(schema.name, {})[used.since_version] = used
    return {name: [versions[name][v] for v in sorted(versions[name])] for name in sorted(versions)}


def parameters(versions: list[onnx.defs.OpSchema]) -> Iterator[str]:
    """Yield the parameters of an operator's method, the markers ``/`` and ``*`` included."""
    attributes: dict[str, str] = {}
    for schema in versions:
        for name, attribute in schema.attributes.items():
            attributes[name] = TYPES.get(str(attribute.type).rpartition(".")[2], "_Other")
    yield "self"
    variadic = ""
    for formal in versions[-1].inputs:
        # An attribute of an older version may have become an input of this name.
        name = f"{formal.name}_" if formal.name in attributes else formal.name
        if formal.option == onnx.defs.OpSchema.FormalParameterOption.Variadic:
            variadic = f"*{name}: _In"
        elif formal.option == onnx.defs.OpSchema.FormalParameterOption.Optional:
            yield f"{name}: _Optional = ..."
        else:
            yield f"{name}: _In"
    yield "/"
    if variadic or attributes:
        yield variadic or "*"
    for name in sorted(attributes):
        yield f"{name}: {attributes[name]} = ..."


def method(name: str, arguments: list[str]) -> str:
    """Return a method of the stub, as ruff formats it."""
    line = f"    def {name}({', '.join(arguments)}) -> ir.Value: ..."
    if len(line) <= WIDTH:
        return line
    line = f"        {', '.join(arguments)}"
    if len(line) > WIDTH:
        line = "\n".join(f"        {argument}," for argument in arguments)
    return f"    def {name}(\n{line}\n    ) -> ir.Value: ..."


def interface() -> Iterator[str]:
    """Yield the methods that the class itself declares, without docstrings."""
    source = CLASS.read_text().splitlines()
    (declared,) = [n for n in ast.parse(CLASS.read_text()).body if isinstance(n, ast.ClassDef)]
    for function in declared.body:
        if isinstance(function, ast.FunctionDef) and function.name != "__getattr__":
            decorators = [decorator.lineno for decorator in function.decorator_list]
            first = min(decorators, default=function.lineno)
            yield "\n".join(source[first - 1 : function.body[0].lineno - 1]) + " ..."


def stub() -> str:
    """Return the text of the stub."""
    lines = [*interface()]
    for name, versions in operators().items():
        lines.append(method(name, list(parameters(versions))))
    return HEADER + "\n".join(lines) + "\n"


if __name__ == "__main__":
    STUB.write_text(stub())

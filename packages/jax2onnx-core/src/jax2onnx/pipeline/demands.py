"""What is asked of an export and cannot be had: refused, with what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from jax2onnx._accepted import nearest
from jax2onnx.errors import InputSpecError, OpsetError
from jax2onnx.legalise.opsets.history import OLDEST_OPSET
from jax2onnx.program.shapes import is_static

if TYPE_CHECKING:
    from collections.abc import Collection

    from jax2onnx.frontend.specs import Inputs
    from jax2onnx.legalise.targets import Target
    from jax2onnx.options import Options
    from jax2onnx.plugin.registry import Registry


def check_combined(options: Options) -> None:
    """Raise OpsetError or InputSpecError for options that cannot be had, or not together."""
    if options.opset is not None:
        check_opset(options.opset)
    if options.keep and options.precision is None:
        raise InputSpecError("keep: everything stays float32 without precision; write precision='float16' too")
    if options.weight_names is not None and options.weights is None:
        raise InputSpecError("weight_names: no array is looked for without weights; write weights='file.npz' too")


def check_opset(opset: int) -> None:
    """Raise OpsetError for an opset that is not written here."""
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise OpsetError(
            f"opset: {opset!r} is not supported",
            remedy=f"pass an int from {OLDEST_OPSET} to {newest} (the newest of the installed onnx)",
        )


def refuse_symbols(target: Target | None, parsed: Inputs) -> None:
    """Raise InputSpecError for an input with symbolic dims, if the target takes none."""
    if target is None or not target.static_shapes:
        return
    for spec in parsed.specs:
        if not is_static(*spec.aval.shape):
            raise InputSpecError(
                f"input {spec.name}: {target.runtime} takes static shapes only, and this one is "
                f"{spec.aval.dtype}[{','.join(map(str, spec.aval.shape))}]; write numbers for its dims"
            )


def refuse_unused(rules: Collection[str], registry: Registry, used: Collection[str]) -> None:
    """Raise InputSpecError for a rule of the user whose primitive is nowhere, and is written nearly like another."""
    known = {entry.primitive for entry in registry.lowerings} | set(used)
    for name in rules:
        if name in known:
            continue
        hint = nearest(name, known)
        if hint.startswith("did you mean"):
            raise InputSpecError(f"lowerings: there is no primitive {name!r} in the program; {hint}")


def meant(entry: str, seen: Collection[str]) -> str:
    """Return what an entry of a keep-list was probably meant to be, or some of what it may be."""
    known = {name for name in seen if "/" not in name}
    known |= {f"*.{name.rpartition('.')[2]}" for name in known if "." in name and ":" not in name}
    hint = nearest(entry, known)
    if hint.startswith("did you mean"):
        return hint
    some = sorted(known, key=lambda name: (name.count("."), name))[:12]
    return f"write the path of a module or weight, an output, a function or a line, such as {', '.join(some)}"

"""Write docs/reference/hooks.md from jax2onnx.plugin.hookspecs: `python scripts/hook_reference.py`."""

from __future__ import annotations

import inspect
from pathlib import Path

from jax2onnx.plugin import hookspecs

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "hooks.md"
BEGIN, END = "<!-- hooks: written by scripts/hook_reference.py -->\n", "<!-- end of hooks -->\n"


def reference() -> str:
    """Return the reference of all hooks, in the order in which they are declared."""
    hooks = [f for name, f in vars(hookspecs).items() if name.startswith("jax2onnx_")]
    return "\n".join(
        f"## `{f.__name__}{str(inspect.signature(f)).replace(chr(39), '')}`\n\n{inspect.getdoc(f)}\n" for f in hooks
    )


def updated(page: str) -> str:
    """Return the page with its reference replaced by the current one."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{reference()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

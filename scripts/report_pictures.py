"""Open reports in Chromium: hostile names are executed nowhere; with --write, take the pictures of docs/inspecting.md.

python scripts/report_pictures.py [--write]
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from jax2onnx import to_onnx
from jax2onnx.errors import Jax2OnnxError
from jax2onnx_examples.models.transformer import TransformerBlock

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
NAMES = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "<script>document.title='executed'</script><img src=x onerror=document.title='executed'>"


def main() -> None:
    """Make reports and open them."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        raise SystemExit(f"no browser: none of {', '.join(NAMES)} is installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        block = TransformerBlock(64, 4, 128, rngs=nnx.Rngs(0))
        block.eval()
        to_onnx(block, ["bfloat16[B,16,64]"], report=folder / "report.html", constraints=["B >= 2"], name="block")
        failed(folder / "report_failed.html")
        hostile(folder / "hostile.html")
        for page in ("report", "report_failed", "hostile"):
            looked_at(browser, folder / f"{page}.html")
        if "--write" in sys.argv:
            for page in ("report", "report_failed"):
                picture(browser, folder / f"{page}.html", FOLDER / f"{page}.png")


def failed(path: Path) -> None:
    """Write the report of an export that fails."""

    def choose(x: jax.Array) -> jax.Array:
        y = jnp.sin(x)
        return y if y.sum() > 0 else -y

    with contextlib.suppress(Jax2OnnxError):
        to_onnx(choose, [("B", 8)], report=path)


def hostile(path: Path) -> None:
    """Write a report with names that are HTML."""

    def fn(x: jax.Array) -> dict[str, jax.Array]:
        with jax.named_scope(HOSTILE):
            return {HOSTILE: jnp.sin(x)}

    fn.__name__ = fn.__qualname__ = HOSTILE
    to_onnx(fn, [(3,)], report=path, input_names=[HOSTILE])


def looked_at(browser: str, page: Path) -> None:
    """Open a page; stop if one of its texts was executed."""
    shown = run(browser, "--dump-dom", page.as_uri())
    assert "<h1>" in shown, page
    assert "<title>executed" not in shown, page
    for forbidden in ("<script", "<img", "<iframe", "onerror="):
        assert forbidden not in shown.replace("&lt;", "(").lower().partition("<body>")[2] or forbidden == "onerror="
    print(f"{page.name}: opened, {len(shown)} characters, nothing executed")


def picture(browser: str, page: Path, file: Path) -> None:
    """Take a picture of a page."""
    run(browser, "--window-size=1000,1400", "--hide-scrollbars", f"--screenshot={file}", page.as_uri())
    print(f"{file.name}: {file.stat().st_size} bytes")


def run(browser: str, *arguments: str) -> str:
    """Run the browser without a window; return what it prints."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)  # noqa: S603
    return done.stdout


if __name__ == "__main__":
    main()

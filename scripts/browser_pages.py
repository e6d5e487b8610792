"""Drive the pages of examples/browser and of docs/guides/browser.md in Chromium, and compare their numbers with JAX's.

python scripts/browser_pages.py             builds the pages, draws digits, pushes the pole, lets texts be written on
python scripts/browser_pages.py writer      builds and drives this page alone
python scripts/browser_pages.py --write     also writes the pictures of docs/guides/browser.md to docs/pictures

The browser may reach nothing but the server of the page: a request for anything else fails the run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
GUIDE = ROOT / "docs" / "guides" / "browser.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GUIDE_PAGE = """<!doctype html>
<link rel="icon" href="data:," />
<script type="importmap">{"imports": {"onnxruntime-web": "./ort.wasm.min.mjs"}}</script>
<script type="module">
%s
  window.worst = worst;
  window.ready = true;
</script>
"""
NAMES = ("chromium", "chromium-browser", "google-chrome")
STROKES = {
    1: [[(80, 20), (80, 140)]],
    4: [[(100, 20), (45, 95), (125, 95)], [(100, 20), (100, 140)]],
    7: [[(45, 25), (115, 25), (70, 140)]],
}
"""Digit -> the lines by which it is drawn."""
TEXTS = ("Beautiful is ", "Namespaces are one honking", "In the face of", "Z", "weights & biases: 3.14 {~}", "q" * 64)
"""How texts begin: some that the decoder has learnt, and some that it has not."""
TOKENS = 32
"""How many tokens the page writes."""


@contextmanager
def opened(name: str, folder: Path) -> Iterator[tuple[Any, Page]]:
    """Yield what a page's model was exported from, and the page in a browser."""
    sys.path.insert(0, str(ROOT / "examples" / "browser"))
    parts = importlib.import_module("page")
    if name == "guide":
        parts.copy_runtime(folder)
        made = build_guide(folder)
    else:
        parts.assemble(name, folder)
        made = importlib.import_module(name).build(folder)
    browser_path = next(filter(None, map(shutil.which, NAMES)), None)
    with parts.server(folder, 0) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 720, "height": 640})
        address = f"http://127.0.0.1:{server.server_address[1]}"
        elsewhere: list[str] = []
        page.on("request", lambda r: r.url.startswith((address, "data:")) or elsewhere.append(r.url))
        page.on("pageerror", lambda error: sys.exit(f"{name}: {error}"))
        page.goto(address)
        page.wait_for_function("window.ready === true", timeout=120_000)
        yield made, page
        browser.close()
        server.shutdown()
        if elsewhere:
            sys.exit(f"{name}: the page asks for {elsewhere}")


def build_guide(folder: Path) -> None:
    """Run the Python of the guide, and make a page of its JavaScript."""
    blocks = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    namespace = {"__name__": "guide"}
    with contextlib.chdir(folder):
        for language, source in blocks:
            if language == "python":
                exec(compile(source, str(GUIDE), "exec"), namespace)  # noqa: S102 - the project's own page
    (script,) = (source for language, source in blocks if language == "js")
    (folder / "index.html").write_text(GUIDE_PAGE % script, encoding="utf-8")


def draw(page: Page, digit: int) -> None:
    """Draw a digit with the mouse."""
    page.click("#clear")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    scale = box["width"] / 160
    for line in STROKES[digit]:
        for place, (x, y) in enumerate(line):
            page.mouse.move(box["x"] + x * scale, box["y"] + y * scale, steps=8)
            if not place:
                page.mouse.down()
        page.mouse.up()


def digits(page: Page, reader: Any, picture: Callable[[Page, str], None]) -> str:
    """Draw digits, and compare what the page shows with JAX on the same pixels."""
    worst = 0.0
    for digit in STROKES:
        draw(page, digit)
        page.wait_for_function(f"document.getElementById('answer').textContent === '{digit}'", timeout=30_000)
        told = page.evaluate("(async () => { const r = await read(); return {...r, pixels: Array.from(r.pixels)}; })()")
        pixels = np.array(told["pixels"], np.uint8).reshape(160, 160, 4)
        expected = reader(jnp.asarray(pixels))
        for name in ("probabilities", "seen"):
            difference = np.abs(np.array(told[name]).ravel() - np.asarray(expected[name]).ravel()).max()
            worst = max(worst, float(difference))
        picture(page, "digits")
    if worst > 1e-5:
        sys.exit(f"digits: the page differs from JAX by {worst:.1e}")
    return f"digits: {len(STROKES)} drawn and read; the page's numbers differ from JAX's by {worst:.1e} at most"


def pole(page: Page, policy: Any, picture: Callable[[Page, str], None]) -> str:
    """Push the pole, and compare the states of the page with those that JAX computes."""
    physics = importlib.import_module("pole").physics
    pushes = [8.0 if step in {50, 51, 52} else -6.0 if step == 120 else 0.0 for step in range(200)]
    start = [0.3, 0.0, 0.25, 0.0]
    states = np.array(page.evaluate("([start, pushes]) => run(start, pushes)", [start, pushes]))

    def step(state: jax.Array, push: jax.Array) -> tuple[jax.Array, jax.Array]:
        after = physics(state, policy(state), push[None])
        return after, after

    expected = jax.lax.scan(step, jnp.asarray(start), jnp.asarray(pushes, jnp.float32))[1]
    worst = float(np.abs(states[1:] - np.asarray(expected)).max())
    if worst > 1e-4:
        sys.exit(f"pole: the page differs from JAX by {worst:.1e}")
    if np.abs(states[-1][2]) > 0.1:
        sys.exit(f"pole: the pole is not upright after two pushes, but at {states[-1][2]:.2f}")
    page.click("#right")
    page.wait_for_timeout(300)
    picture(page, "pole")
    return f"pole: {len(pushes)} steps with two pushes differ from JAX's by {worst:.1e} at most"


def writer(page: Page, model: Any, picture: Callable[[Page, str], None]) -> str:
    """Let the page write on, by its model and as a user does, and compare the tokens with those that JAX chooses."""
    empty, step = importlib.import_module("writer").empty, jax.jit(model)
    worst, different = 0.0, set()
    for text in TEXTS:
        codes = [ord(character) for character in text]
        made = page.evaluate("([codes, count]) => generate(codes, count)", [codes, TOKENS])
        tokens, start, cache = jnp.asarray(codes, jnp.int32), 0, empty()
        expected = []
        for given in made:
            results = step(tokens, jnp.int32(start), cache)
            difference = np.abs(np.array(given["probabilities"]) - np.asarray(results["probabilities"])).max()
            worst = max(worst, float(difference))
            tokens, start, cache = results["next"][None], start + tokens.size, results["after"]
            expected.append(int(results["next"]))
        if [given["token"] for given in made] != expected:
            sys.exit(f"writer: after {text!r} the page writes {[given['token'] for given in made]}, JAX {expected}")
        page.fill("#text", text)
        page.click("#write")
        page.wait_for_function("!document.getElementById('write').disabled", timeout=30_000)
        shown, wanted = page.text_content("#written"), text + "".join(map(chr, expected))
        if shown != wanted:
            sys.exit(f"writer: the page shows {shown!r}, and JAX writes {wanted!r}")
        different.add(wanted[len(text) :])
    if worst > 1e-5:
        sys.exit(f"writer: the page's probabilities differ from JAX's by {worst:.1e}")
    if len(different) != len(TEXTS):
        sys.exit(f"writer: the texts are continued alike, so the tokens show little: {different}")
    page.fill("#text", TEXTS[0])
    page.click("#write")
    page.wait_for_function("!document.getElementById('write').disabled", timeout=30_000)
    picture(page, "writer")
    return f"writer: {TOKENS} tokens after {len(TEXTS)} texts equal JAX's; probabilities differ by {worst:.1e} at most"


def guide(page: Page, made: None, picture: Callable[[Page, str], None]) -> str:  # noqa: ARG001 - as the others
    """Read the difference from JAX that the page of the guide finds."""
    worst = page.evaluate("window.worst")
    if not worst <= 1e-6:
        sys.exit(f"guide: the page differs from JAX by {worst}")
    return f"guide: its page differs from JAX by {worst:.1e} at most"


PAGES = {"digits": digits, "pole": pole, "writer": writer, "guide": guide}


def main() -> None:
    """Drive the pages."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pages", nargs="*", metavar="PAGE", help=f"which pages: {', '.join(PAGES)}; all by default")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.pages) - set(PAGES):
        parser.error(f"there is no page {', '.join(sorted(unknown))}")

    def picture(page: Page, name: str) -> None:
        if arguments.write:
            PICTURES.mkdir(exist_ok=True)
            page.screenshot(path=PICTURES / f"{name}.png", full_page=True)

    for name in arguments.pages or PAGES:
        with tempfile.TemporaryDirectory() as folder, opened(name, Path(folder)) as (made, page):
            print(PAGES[name](page, made, picture))


if __name__ == "__main__":
    main()

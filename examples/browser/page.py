"""Put a page together: its files, its models and onnxruntime-web in one folder; and serve it."""

from __future__ import annotations

import argparse
import functools
import http.server
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CACHE = HERE / "node_modules"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What a page needs of onnxruntime-web."""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files; browsers take modules and WebAssembly by their types only."""

    extensions_map = {  # noqa: RUF012 - as in the base class
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *args: Any) -> None:
        """Say nothing of requests."""


def copy_runtime(folder: Path) -> None:
    """Copy onnxruntime-web to a folder, getting it by npm the first time."""
    folder.mkdir(parents=True, exist_ok=True)
    package = CACHE / "onnxruntime-web"
    if not package.exists():
        command = ["npm", "install", "--prefix", str(HERE), "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(command, check=True)  # noqa: S603 - what package.json names
    for file in RUNTIME:
        shutil.copy(package / "dist" / file, folder)


def assemble(name: str, folder: Path) -> None:
    """Copy the page and onnxruntime-web to a folder."""
    copy_runtime(folder)
    shutil.copy(HERE / f"{name}.html", folder / "index.html")
    shutil.copy(HERE / "page.css", folder)


def server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Return a server of a folder, for this machine alone; port 0 is any free one."""
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Handler, directory=str(folder)))


def main(name: str, build: Callable[[Path], Any]) -> None:
    """Build a page, and serve it unless a folder is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=Path, metavar="FOLDER", help="write the page there and serve nothing")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    folder = arguments.build or Path(tempfile.mkdtemp(prefix=f"{name}-"))
    assemble(name, folder)
    build(folder)
    if arguments.build:
        return
    with server(folder, arguments.port) as serving:
        print(f"open http://localhost:{serving.server_address[1]} (Ctrl-C ends it)")
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            print()

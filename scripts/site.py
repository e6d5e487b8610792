"""Build the docs site: `python scripts/site.py [FOLDER]` writes it into FOLDER (default: site), warnings are errors.

The pages are docs/ and a few files of the repository. They are copied first, since Sphinx takes its pages from one
folder; links to files that are no pages become plain text, and the tables of contents are added.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FURTHER = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
"""Files of the repository that are pages of the site."""
NAVIGATION = {
    "Start": ["tutorial"],
    "Guides": [
        "guides/dynamic-shapes",
        "programs",
        "guides/state",
        "guides/functions",
        "guides/images",
        "guides/debugging",
        "inspecting",
        "guides/big-models",
        "guides/language-models",
        "guides/browser",
        "guides/shipping",
        "guides/mobile",
        "guides/runtimes",
        "opsets",
        "guides/precision",
        "guides/quantised",
        "frameworks",
        "operators",
        "plugins",
        "guides/plugin-kinds",
    ],
    "Coming from": ["migrating", "from-jax2tf", "from-torch-onnx"],
    "Reference": [
        "reference/api",
        "reference/cli",
        "reference/hooks",
        "reference/plugin-api",
        "reference/releases",
        "errors",
        "plugin-directory",
        "coverage/examples",
        "libraries",
        "coverage/libraries",
        "coverage/dynamic",
        "coverage/opsets",
        "coverage/random",
        "coverage/configurations",
        "coverage/conformance-0.12.0.1",
        "coverage/conformance-0.8.1",
        "coverage/kernels",
        "coverage/optimiser",
        "coverage/memory",
        "coverage/generation",
        "coverage/decoding",
        "coverage/big-weights",
        "coverage/precision",
        "coverage/runtimes",
        "coverage/evidence",
        "coverage/webgpu",
        "coverage/lines",
        "coverage/mutants",
        "coverage/scale",
        "coverage/diagnose",
        "coverage/inspection",
        "robustness",
        "benchmarks",
        "changelog",
    ],
    "Explanation": [
        "explanation/architecture",
        "explanation/fusion",
        "fusions",
        "graphs",
        "gallery",
        "numerics",
        "explanation/limits",
        "explanation/versions",
        "glossary",
        "security",
        "contributing",
        "adr/README",
    ],
}
"""Caption -> pages, in the order of the reader's questions. A page that is in no list is a warning of Sphinx."""
LEFT_OUT = {"adr/0000-template.md"}
CONFIGURATION = """
project = html_title = "jax2onnx"
extensions = ["myst_parser"]
myst_heading_anchors = 4
html_theme = "furo"
html_copy_source = html_show_sourcelink = html_show_copyright = html_show_sphinx = False
html_css_files = ["site.css"]
html_static_path = ["static"]
"""
STYLE = """
/* Long names wrap on narrow screens; wide tables scroll by themselves. */
article h1, article h2, article h3, article h4, article p, article li { overflow-wrap: anywhere; }
article td code { overflow-wrap: anywhere; }
article img { background: white; max-width: 100%; }
"""
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^\s"'>]+"""
    r"""|<link\b[^>]*\bhref=["']?(?:https?:)?//[^\s"'>]+|\burl\(["']?(?:https?:)?//[^)]+"""
)
"""What a browser would fetch from another host."""


def with_links(text: str, source: str, page: str) -> str:
    """Return a page with its links to files outside of docs/ led to pages, or as plain text if these are no pages."""

    def replaced(match: re.Match[str]) -> str:
        picture, label, path, anchor = match.groups()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / target).exists():
            raise SystemExit(f"{source}: there is no {target!r}, to which a link leads")
        inside = target.removeprefix("docs/") if target.startswith("docs/") else FURTHER.get(target)
        if inside is None or inside in LEFT_OUT:
            return f"`{target}`" if label.strip("`") in target else f"{label} (`{target}`)"
        return f"{picture}[{label}]({posixpath.relpath(inside, posixpath.dirname(page) or '.')}{anchor or ''})"

    parts = FENCED.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)


def contents(pages: list[str], caption: str = "") -> str:
    """Return a table of contents that only the navigation shows."""
    lines = ["", "```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), "", *pages, "```", ""]
    return "\n".join(lines)


def collect(folder: Path) -> None:
    """Write the pages, their pictures and Sphinx's configuration into a folder."""
    shutil.copytree(ROOT / "docs", folder, dirs_exist_ok=True)
    for left_out in LEFT_OUT:
        (folder / left_out).unlink()
    sources = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.md")}
    pages = {page: f"docs/{page}" for page in sources} | {page: source for source, page in FURTHER.items()}
    for page, source in pages.items():
        text = with_links((ROOT / source).read_text(encoding="utf-8"), source, page)
        if page == "index.md":
            text += "".join(contents(listed, caption) for caption, listed in NAVIGATION.items())
        if page == "adr/README.md":
            text += contents(sorted(Path(other).stem for other in pages if other.startswith("adr/0")))
        (folder / page).write_text(text, encoding="utf-8")
    (folder / "conf.py").write_text(CONFIGURATION, encoding="utf-8")
    (folder / "static").mkdir()
    (folder / "static" / "site.css").write_text(STYLE, encoding="utf-8")


def listed() -> set[str]:
    """Return the pages that the navigation names, without their suffix; the decisions are below their own page."""
    decisions = {f"adr/{path.stem}" for path in (ROOT / "docs" / "adr").glob("0*.md")}
    return {page for pages in NAVIGATION.values() for page in pages} | decisions | {"index"}


def refuse_foreign(site: Path) -> None:
    """Raise SystemExit if a page or a style of the site fetches anything from another host."""
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        found = FETCHED.search(path.read_text(encoding="utf-8"))
        if found is not None:
            raise SystemExit(f"{path.relative_to(site)} fetches from another host: {found[0]}")


def main(site: Path) -> None:
    """Build the site."""
    from sphinx.cmd.build import main as sphinx_build

    shutil.rmtree(site, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pages"
        collect(folder)
        arguments = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(Path(name) / "cache"), str(folder), str(site)]
        if sphinx_build(arguments):
            raise SystemExit("the site has warnings")
    refuse_foreign(site)
    print(f"{len(list(site.rglob('*.html')))} pages in {site}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "site").absolute())

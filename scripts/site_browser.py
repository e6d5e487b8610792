"""Look at the built docs site with Chromium, if it is installed: `python scripts/site_browser.py [FOLDER]`.

No page may be wider than a phone, and the search, opened as a file without a server, must find a name.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH = 390
"""Pixels of a phone."""
SOUGHT = "onnx_op"
NAMES = ("chromium", "chromium-browser", "google-chrome")
MEASURE = """<html><body><pre id="out"></pre><script>
async function measure() {
  const found = [];
  for (const page of PAGES) {
    const frame = document.createElement("iframe");
    frame.style.width = "WIDTHpx";
    frame.src = page;
    document.body.appendChild(frame);
    await new Promise(loaded => frame.onload = loaded);
    await new Promise(later => setTimeout(later, 50));
    found.push([page, frame.contentDocument.scrollingElement.scrollWidth]);
    frame.remove();
  }
  document.getElementById("out").textContent = JSON.stringify(found);
}
measure();
</script></body></html>
"""


def content(browser: str, address: str) -> str:
    """Return a page as it is after its scripts have run."""
    options = [
        "--headless",
        "--virtual-time-budget=120000",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
    ]
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            *options,
            f"--user-data-dir={profile}",
            "--virtual-time-budget=120000",
            "--dump-dom",
            address,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)  # noqa: S603
    return done.stdout


def widths(browser: str, site: Path) -> dict[str, int]:
    """Return page -> its width in pixels on a phone."""
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    measuring = site / "measure.html"
    measuring.write_text(MEASURE.replace("PAGES", json.dumps(pages)).replace("WIDTH", str(WIDTH)), encoding="utf-8")
    try:
        shown = content(browser, measuring.as_uri())
    finally:
        measuring.unlink()
    found = re.search(r'<pre id="out">(\[.*?\])</pre>', shown, re.DOTALL)
    if found is None:
        raise SystemExit("the browser has not measured the pages")
    return dict(json.loads(html.unescape(found[1])))


def main(site: Path) -> None:
    """Measure the pages and try the search."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        print(f"no browser ({', '.join(NAMES)}), so nobody looked at the pages")
        return
    found = widths(browser, site)
    wide = {page: width for page, width in found.items() if width > WIDTH}
    if wide:
        raise SystemExit(f"wider than a phone: {wide}")
    results = content(browser, f"{(site / 'search.html').as_uri()}?q={SOUGHT}")
    if f"reference/api.html#{SOUGHT.replace('_', '-')}" not in results:
        raise SystemExit(f"the search does not find {SOUGHT}")
    print(f"{len(found)} pages are no wider than {WIDTH} pixels, and the search finds {SOUGHT}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "site").absolute())

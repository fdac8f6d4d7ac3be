"""The site as a reader has it: every page in Chromium, on a desk in the light and on a phone in the dark."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from docs.options import reference
from tests.browser import brightness, needs_browser, opened
from tests.test_house import ROOT

pytest.importorskip("furo", reason="needs the extra `docs`")
SCREENS = [(1400, "light"), (400, "dark")]

# Asks every frame for its colours, for what lies beyond its right edge and cannot be scrolled to, and for what it
# fetched from elsewhere. What scrolls by itself lies within the screen.
PROBE = """<script>
const look = frame => {
  const page = frame.contentDocument, view = frame.contentWindow, wide = page.documentElement.clientWidth;
  const scrolls = one => one && (
    ["auto", "scroll"].includes(view.getComputedStyle(one).overflowX) || scrolls(one.parentElement)
  );
  const outside = [...page.querySelectorAll("article *")].filter(
    one => one.getBoundingClientRect().right > wide + 1 && !scrolls(one.parentElement)
  );
  return {
    page: view.location.pathname, wide, sideways: page.documentElement.scrollWidth - wide,
    outside: outside.map(one => one.outerHTML.slice(0, 80)),
    broken: [...page.images].filter(one => !one.naturalWidth || !one.alt).map(one => one.src),
    elsewhere: view.performance.getEntriesByType("resource").map(one => one.name).filter(
      name => !name.startsWith(location.origin)
    ),
    ground: view.getComputedStyle(page.body).backgroundColor, ink: view.getComputedStyle(page.body).color,
  };
};
addEventListener("load", () => {
  document.body.dataset.found = JSON.stringify([...document.querySelectorAll("iframe")].map(look));
});
</script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does: a warning, such as a dead link, is an error."""
    folder = tmp_path_factory.mktemp("site")
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-d", str(folder / "doctrees")]
    built = subprocess.run([*sphinx, ".", str(folder / "html")], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / "html"


def test_no_page_asks_another_host(site: Path) -> None:
    """Neither by its HTML nor by its style sheets; links that a reader may follow are no requests."""
    for page in site.rglob("*.html"):
        tags = re.findall(r"<(?:link|script|img|iframe|source|object)\b[^>]*>", page.read_text())
        assert not [tag for tag in tags if re.search(r"""(?:src|href|data)=["']?(?:https?:)?//""", tag)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet


def test_every_option_has_an_anchor(site: Path) -> None:
    assert (site / "docs/options.html").read_text().count('id="cmdoption-') == reference().count("{option}")


def test_chinese_pages_say_their_language(site: Path) -> None:
    for page in site.rglob("*.html"):
        chinese = page.parent.name == "zh" or page.stem == "README.zh-CN"
        assert f'lang="{"zh-CN" if chinese else "en"}"' in page.read_text()[:200] or page.name == "index.html", page


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The site at an address of this machine: frames of files may not be looked into."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@needs_browser
def test_in_a_browser(site: Path, served: str, tmp_path: Path) -> None:
    pages = sorted(str(page.relative_to(site)) for page in site.rglob("*.html"))
    frames = [
        f'<iframe src="{page}" style="width:{width}px;height:900px;border:0;color-scheme:{scheme}"></iframe>'
        for page in pages
        for width, scheme in SCREENS
    ]
    (site / "probed.html").write_text(f"<!DOCTYPE html><html><head>{PROBE}</head><body>{''.join(frames)}</body></html>")
    found, console = opened(f"{served}/probed.html", tmp_path)
    (site / "probed.html").unlink()
    assert console == []
    assert len(found) == 2 * len(pages) > 50
    for (width, scheme), one in zip(SCREENS * len(pages), found, strict=True):
        problems = {name: one[name] for name in ("outside", "broken", "elsewhere") if one[name]}
        assert (problems, one["sideways"]) == ({}, 0), (one["page"], width)
        ground, ink = brightness(one["ground"]), brightness(one["ink"])
        assert (ground < 60 and ink > 180) if scheme == "dark" else (ground > 200 and ink < 80), one

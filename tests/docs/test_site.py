"""The site as a reader has it: every page in Chromium, on a desk and a phone, light and dark."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from docs.options import reference
from tests.test_house import ROOT

pytest.importorskip("furo", reason="needs the extra `docs`")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = (1400, 400)

# Asks every frame for its background, for what lies beyond its right edge and cannot be scrolled to, and for what it
# fetched from elsewhere.
PROBE = """<script>
const scrolls = element => element && (
  ["auto", "scroll"].includes(element.ownerDocument.defaultView.getComputedStyle(element).overflowX)
  || scrolls(element.parentElement)
);
addEventListener("load", () => {
  document.body.dataset.found = JSON.stringify([...frames].map(frame => ({
    page: frame.location.pathname, width: frame.innerWidth, title: frame.document.title,
    dark: frame.getComputedStyle(frame.document.body).backgroundColor,
    sideways: frame.document.documentElement.scrollWidth > frame.innerWidth,
    outside: [...frame.document.querySelectorAll("article *")].filter(
      element => element.getBoundingClientRect().right > frame.innerWidth + 1 && !scrolls(element)
    ).map(element => element.outerHTML.slice(0, 80)),
    broken: [...frame.document.images].filter(image => !image.naturalWidth).map(image => image.src),
    elsewhere: frame.performance.getEntriesByType("resource").map(one => one.name).filter(
      name => !name.startsWith(location.origin)
    ),
  })));
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
    page = (site / "docs/options.html").read_text()
    assert page.count('id="cmdoption-') == reference().count("{option}")


def test_the_first_page_leads_to_the_readme(site: Path) -> None:
    (target,) = re.findall(r"url=(\S+)\"", (site / "index.html").read_text())
    assert "<h1>pre2post" in (site / target).read_text()


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The site at an address of this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_in_a_browser(site: Path, served: str, scheme: str, tmp_path: Path) -> None:
    pages = sorted(str(page.relative_to(site)) for page in site.rglob("*.html") if page.name != "index.html")
    frames = [
        f'<iframe src="{page}" width={width} height=900 frameborder=0></iframe>' for page in pages for width in WIDTHS
    ]
    (site / "probed.html").write_text("<!doctype html>" + PROBE + "".join(frames))
    console, found = in_browser(f"{served}/probed.html", scheme, tmp_path)
    (site / "probed.html").unlink()
    assert console == []
    assert [(one["page"].lstrip("/"), one["width"]) for one in found] == [(page, w) for page in pages for w in WIDTHS]
    for one in found:
        problems = {name: one[name] for name in ("sideways", "outside", "broken", "elsewhere") if one[name]}
        assert (problems, one["title"] != "") == ({}, True), (one["page"], one["width"])
        brightness = sum(map(int, re.findall(r"\d+", one["dark"])[:3])) / 3
        assert (brightness < 128) == (scheme == "dark"), one


def in_browser(address: str, scheme: str, profile: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Lines of the console, and what the probe found."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1500,900"]
    options += [f"--user-data-dir={profile}", f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # a request elsewhere is an error there
    command = [str(CHROMIUM), *options, "--dump-dom", address]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    (found,) = re.findall(r'data-found="([^"]*)"', result.stdout)
    console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return console, json.loads(unescape(found))

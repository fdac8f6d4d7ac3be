"""Pages as readers have them: in headless Chromium, on a wide and a narrow screen, light and dark."""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
SCREENS = [(width, scheme) for width in (1400, 400) for scheme in ("light", "dark")]

# A frame takes its colour scheme from its element, so one start shows all screens. What is wider than the screen must
# lie in something that scrolls by itself.
PROBE = """<script>
const look = frame => {
  const page = frame.contentDocument, view = frame.contentWindow, wide = page.documentElement.clientWidth;
  const scrolls = one => one && one !== page.body &&
    (getComputedStyle(one).overflowX !== "visible" || scrolls(one.parentElement));
  const outside = [...page.body.querySelectorAll("*")].filter(one => {
    const box = one.getBoundingClientRect();
    return box.width && (box.right > wide + 1 || box.left < -1) && !scrolls(one.parentElement);
  });
  return {
    wide, scrolled: page.documentElement.scrollWidth,
    outside: outside.slice(0, 5).map(one => one.outerHTML.slice(0, 120)),
    broken: [...page.images].filter(one => !one.naturalWidth).length, images: page.images.length,
    unnamed: [...page.images].filter(one => !one.alt).length,
    ground: view.getComputedStyle(page.body).backgroundColor, ink: view.getComputedStyle(page.body).color,
  };
};
addEventListener("load", () => {
  document.body.dataset.found = JSON.stringify([...document.querySelectorAll("iframe")].map(look));
});
</script>"""


def assert_fits_every_screen(page: Path, work: Path) -> None:
    """No console errors, every picture there and named, nothing off-screen, dark where the reader wants it."""
    text = page.read_text(encoding="utf-8")
    frames = "".join(
        f'<iframe style="width:{width}px;height:900px;border:0;color-scheme:{scheme}" '
        f'srcdoc="{escape(text, quote=True)}"></iframe>'
        for width, scheme in SCREENS
    )
    found, console = in_browser(f"<!DOCTYPE html><html><head>{PROBE}</head><body>{frames}</body></html>", work)
    assert console == []
    for (width, scheme), screen in zip(SCREENS, found, strict=True):
        where = f"{page.name} at {width} px, {scheme}"
        assert screen["outside"] == [] and screen["scrolled"] <= screen["wide"] <= width, (where, screen)
        assert screen["broken"] == screen["unnamed"] == 0, (where, screen)
        ground, ink = (brightness(screen[name]) for name in ("ground", "ink"))
        assert (ground < 60 and ink > 180) if scheme == "dark" else (ground > 200 and ink < 80), (where, screen)


def brightness(colour: str) -> float:
    """Mean of the channels of rgb(...)."""
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def in_browser(html: str, work: Path) -> tuple[Any, list[str]]:
    """Open a page; what its probe wrote into data-found, and what it wrote to the console."""
    (work / "probed.html").write_text(html, encoding="utf-8")
    return opened(f"file://{work / 'probed.html'}", work)


def opened(address: str, work: Path) -> tuple[Any, list[str]]:
    """The same of a page that lies somewhere. A request to another machine is an error on the console."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={work / 'profile'}"]
    result = subprocess.run(
        [*map(str, command), "--enable-logging=stderr", "--window-size=1500,900", "--dump-dom",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", address],
        capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    (found,) = re.findall(r'data-found="([^"]*)"', result.stdout)
    return json.loads(unescape(found)), [line for line in result.stderr.splitlines() if ":CONSOLE" in line]

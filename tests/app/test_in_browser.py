"""The page as a visitor has it, in headless Chromium: every way through it, and no error on its console."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.browser import CHROMIUM, Browser, chromium
from tests.app.test_pictures import write_bomb
from tests.app.visitor import CAPTION, FILE, STATUS, choose, fill, generated, open_sampling
from tests.generate.scenes.test_scene import write_geotiff
from tests.generate.worlds import RESOLUTION, write_image

pytest.importorskip("gradio", reason="the extra `app` is not installed")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
    pytest.mark.filterwarnings("default"),  # of the server's libraries
]


@pytest.fixture
def page(address: str, tmp_path: Path) -> Iterator[Browser]:
    """Opened; whatever a test does, the console stays clean."""
    with chromium(tmp_path / "profile") as browser:
        browser.open(address)
        browser.wait(CAPTION)
        yield browser
        assert browser.problems == []


def test_an_image_its_swipe_and_its_word_map(page: Browser, tmp_path: Path) -> None:
    """From an uploaded PNG; the handle is drawn from the middle to a quarter."""
    page.upload(FILE.format("upload"), write_image(tmp_path / "place.png"))
    page.wait(f"{STATUS}.includes('{RESOLUTION} x {RESOLUTION} px')")
    open_sampling(page)
    fill(page, "#steps input", "2")
    fill(page, "#words_asked textarea, #words_asked input", "flooding")
    generated(page)
    page.wait("document.querySelector('#words img').naturalWidth > 0")
    assert page.evaluate("[...document.querySelectorAll('#swipe img')].every(image => image.naturalWidth > 0)")
    handle = "document.querySelector('#swipe .outer, #swipe [role=slider], #swipe .inner')"
    box, picture = page.box(handle), page.box("document.querySelector('#swipe .image-container')")
    handle_box = page.evaluate(f"JSON.parse(JSON.stringify({handle}.getBoundingClientRect()))")
    start = (handle_box["x"] + handle_box["width"] / 2, picture["y"] + picture["height"] / 2)
    page.drag(start, (picture["x"] + picture["width"] / 4, start[1]))
    moved = page.evaluate(f"{handle}.getBoundingClientRect().x")
    assert box["width"] and moved < handle_box["x"] - picture["width"] / 8


def test_the_page_fits_a_phone(page: Browser) -> None:
    """With everything in it: four seeds and their word maps; nothing is wider than the window."""
    choose(page, "pick", "0000_64")
    page.wait(f"{STATUS}.includes('with its real post image')")
    open_sampling(page)
    fill(page, "#steps input", "2")
    fill(page, "#samples input", "4")
    fill(page, "#words_asked textarea, #words_asked input", "town,flood")
    generated(page)
    page.wait("document.querySelector('#words img').naturalWidth > 0")
    page.resize(400, 900)
    page.wait("window.innerWidth == 400 && document.documentElement.scrollWidth <= 400")


def test_an_image_of_a_geotiff(page: Browser, tmp_path: Path) -> None:
    """Its result is offered as a GeoTIFF."""
    page.upload(FILE.format("upload"), write_geotiff(tmp_path / "scene.tif", 2 * RESOLUTION, RESOLUTION))
    page.wait(f"{STATUS}.includes('on the ground')")
    open_sampling(page)
    fill(page, "#steps input", "2")
    generated(page)
    page.wait("[...document.querySelectorAll('#files a')].some(link => link.href.endsWith('/scene.tif'))")


def test_damage_is_painted(page: Browser, tmp_path: Path) -> None:
    """The same place and seed, with and without a stroke."""
    choose(page, "model", "masked")
    page.upload(FILE.format("upload"), write_image(tmp_path / "place.png"))
    page.wait(f"{STATUS}.includes('{RESOLUTION} x {RESOLUTION} px')")
    open_sampling(page)
    fill(page, "#steps input", "2")
    page.click("document.querySelector('#paint input')")
    box = page.box("document.querySelector('#painting canvas')")
    page.wait("document.querySelector('#painting canvas').width > 0")
    blank = generated(page)
    box = page.box("document.querySelector('#painting canvas')")
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.drag((middle[0] - 20, middle[1] - 20), (middle[0] + 20, middle[1] + 20))
    assert generated(page).split(",")[1] != blank.split(",")[1]


def test_a_hostile_upload_is_refused(page: Browser, tmp_path: Path) -> None:
    """In words; then the page goes on."""
    page.upload(FILE.format("upload"), write_bomb(tmp_path / "bomb.png"))
    page.wait(f"{STATUS}.includes('are 200 megapixels; expected at most 17')")
    choose(page, "pick", "0000_64")
    page.wait(f"{STATUS}.includes('with its real post image')")
    open_sampling(page)
    fill(page, "#steps input", "2")
    generated(page)
    page.wait(f"{STATUS}.includes('generated and real')")


def start_a_long_job(page: Browser, tmp_path: Path) -> None:
    """250 steps of eight images, seen to have begun."""
    page.upload(FILE.format("upload"), write_image(tmp_path / "place.png"))
    page.wait(f"{STATUS}.includes('{RESOLUTION} x {RESOLUTION} px')")
    open_sampling(page)
    fill(page, "#steps input", "250")
    fill(page, "#samples input", "8")
    page.click("document.querySelector('#generate')")
    page.wait("/generating|[1-9][0-9]?(\\\\.[0-9])?%/.test(document.querySelector('#swipe').innerText)")


def test_a_run_is_cancelled(page: Browser, tmp_path: Path) -> None:
    """Long before it is over; the next one runs."""
    start_a_long_job(page, tmp_path)
    page.click("document.querySelector('#cancel')")
    page.wait("!document.querySelector('#swipe .progress-text, #swipe .eta-bar, #swipe .progress-level')")
    fill(page, "#steps input", "2")
    fill(page, "#samples input", "1")
    generated(page)


def test_a_closed_page_ends_its_job(address: str, own: Path, tmp_path: Path) -> None:
    """The next visitor's is the only one that is kept: neither a finished job of the first, nor half of it."""
    with chromium(tmp_path / "first") as page:
        page.open(address)
        page.wait(CAPTION)
        start_a_long_job(page, tmp_path)
    with chromium(tmp_path / "second") as page:
        page.open(address)
        page.wait(CAPTION)
        choose(page, "pick", "0000_64")
        page.wait(f"{STATUS}.includes('with its real post image')")
        generated(page)
        assert len(list((own / "jobs").iterdir())) == 1

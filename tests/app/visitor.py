"""What a visitor does with the page."""

from tests.app.browser import Browser

CAPTION = "document.querySelector('#caption textarea').value"
FILE = "#{} input[type=file]"
SWIPED = "document.querySelectorAll('#swipe img').length == 2"
SOURCES = "[...document.querySelectorAll('#swipe img')].map(image => image.src).join()"
STATUS = "document.body.innerText"


def choose(page: Browser, name: str, option: str) -> None:
    """An option of a dropdown, by what it ends with."""
    field = f"document.querySelector('#{name} input')"
    page.evaluate(f"{field}.focus()")
    page.wait(f"[...document.querySelectorAll('[role=option]')].some(one => one.innerText.trim().endsWith({option!r}))")
    page.evaluate(
        "[...document.querySelectorAll('[role=option]')].find(one => one.innerText.trim().endsWith("
        f"{option!r})).dispatchEvent(new MouseEvent('mousedown', {{bubbles: true, cancelable: true}}))"
    )
    page.wait(f"{field}.value.endsWith({option!r})")


def fill(page: Browser, selector: str, value: str) -> None:
    """Text of a field."""
    page.wait(f"document.querySelector({selector!r})")
    page.evaluate(
        "(field => { Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value')"
        f".set.call(field, {value!r});"
        f" field.dispatchEvent(new Event('input', {{bubbles: true}})); }})(document.querySelector({selector!r}))"
    )


def generated(page: Browser) -> str:
    """Press the button and wait for another pair of images."""
    before = page.evaluate(SOURCES)
    page.click("document.querySelector('#generate')")
    page.wait(f"{SWIPED} && {SOURCES} != {before!r}")
    found: str = page.evaluate(SOURCES)
    return found


def open_sampling(page: Browser) -> None:
    page.click("[...document.querySelectorAll('button')].find(one => one.innerText.includes('How it is sampled'))")
    page.wait("document.querySelector('#steps input')")

"""`~` where no shell has expanded it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from data.home import at_home


@dataclass(frozen=True)
class Stage:
    dataset: Path
    names: list[str]


@pytest.mark.parametrize(
    ("given", "right"),
    [
        (Path("~/runs"), Path("/home/eva/runs")),
        (Path("~"), Path("/home/eva")),
        (Path("a/~/b"), Path("a/~/b")),
        (Path("~nobody-of-that-name/x"), Path("~nobody-of-that-name/x")),
        ("~/base", "/home/eva/base"),
        ("~40 houses destroyed", "~40 houses destroyed"),
        ([Stage(Path("~/d"), ["~/x", "y"])], [Stage(Path("/home/eva/d"), ["/home/eva/x", "y"])]),
        ({"short": 1.0}, {"short": 1.0}),
        (None, None),
    ],
)
def test_the_home_folder_stands_for_it(monkeypatch: pytest.MonkeyPatch, given: object, right: object) -> None:
    monkeypatch.setenv("HOME", "/home/eva")
    assert at_home(given) == right

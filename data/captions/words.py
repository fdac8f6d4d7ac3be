"""Grammar for captions: numbers, plurals, lists, dates, and the choice between phrasings."""

import calendar
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
# The least number of buildings for each word.
_AMOUNTS = (
    (2000, "thousands of"),
    (200, "hundreds of"),
    (101, "over a hundred"),
    (100, "a hundred"),
    (24, "dozens of"),
    (15, "well over a dozen"),
    (10, "about a dozen"),
    (3, "a few"),
)
_TROPIC_DEG = 23.44  # between the tropics there are no four seasons
_SEASONS = ("winter", "spring", "summer", "autumn")


@dataclass(frozen=True)
class Phrasing:
    """Chooses among phrasings: a pure function of the patch, the seed and the place in the text."""

    key: str
    variant: int  # captions of the same patch and style differ in every choice

    def choose(self, place: str, options: Sequence[str]) -> str:
        """One of the options."""
        digest = hashlib.sha256(f"{self.key} {place}".encode()).digest()
        return options[(int.from_bytes(digest[:8], "big") + self.variant) % len(options)]


def spelled(number: int) -> str:
    """A count as in English prose: a word up to ten, figures beyond."""
    return _NUMBERS[number] if number < len(_NUMBERS) else f"{number:,}"


def counted(number: int, noun: str) -> str:
    """`no buildings`, `one building`, `12 buildings`."""
    return f"{spelled(number)} {noun}" + "s" * (number != 1)


def amount(number: int, adjective: str = "") -> str:
    """How many buildings, as one would say without counting: `dozens of scattered buildings`."""
    word = next((word for least, word in _AMOUNTS if number >= least), spelled(number))
    return " ".join(filter(None, [word, adjective, "building" if number == 1 else "buildings"]))


def measured(value: float, unit: str) -> str:
    """Two significant digits and a unit: `0.46 metres`, `1 metre`, `1,200 square metres`."""
    digits = max(0, 1 - math.floor(math.log10(value)))
    text = f"{round(value, 1 - math.floor(math.log10(value))):,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text} {unit}" + "s" * (text != "1")


def degrees(value: float) -> str:
    """Whole degrees."""
    return f"{round(value)} degree" + "s" * (round(value) != 1)


def joined(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def day_in_words(day: date) -> str:
    """`13 October 2018`."""
    return f"{day.day} {calendar.month_name[day.month]} {day.year}"


def season(day: date, latitude: float) -> str:
    """The meteorological season; "" in the tropics and where the latitude is unknown."""
    if not abs(latitude) > _TROPIC_DEG:
        return ""
    quarter = day.month % 12 // 3
    return _SEASONS[quarter if latitude > 0 else (quarter + 2) % 4]

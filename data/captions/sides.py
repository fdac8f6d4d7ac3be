"""Where a caption says that buildings and damage lie: held against the labels, and reworded for the mirrored view."""

import math
import re
from collections.abc import Iterator, Sequence

from data.captions.layout import CENTRE_RADIUS
from data.captions.meaning import has_side

_DAMAGE = re.compile(
    r"\b(damaged?|destr\w+|devastat\w+|collaps\w+|rubble|debris|ruins?|ruined|wreck\w*|major damage)\b", re.IGNORECASE
)
_INTACT = re.compile(r"\b(undamaged|intact|unaffected|untouched)\b", re.IGNORECASE)
_BUILDINGS = re.compile(r"\b(buildings?|houses?|homes?|structures?|they|it)\b", re.IGNORECASE)
_CHIEFLY = re.compile(r"\b(mainly|mostly|primarily|chiefly|concentrated|predominantly|largely)\b", re.IGNORECASE)
_LIE = re.compile(r"^\s*(they|it|the|all)\b.*\b(lies?|found|located|situated)\b", re.IGNORECASE)
_COMPASS = r"(?:north|south)[ -]?(?:east|west)|north|south|east|west"
_SIDE = re.compile(
    rf"\b(?:in|at|to|on|towards?|across|along) the (?:far )?"
    rf"(?:(?P<compass>{_COMPASS})(?:ern)?(?:most)?|(?P<rows>upper|top|lower|bottom)(?:[ -](?P<corner>left|right))?"
    rf"|(?P<columns>left|right)(?:-hand)?|centre|center|middle)\b(?! of the (?!view|image|scene|patch|picture|photo))",
    re.IGNORECASE,
)
_ROWS = {"upper": (0, 1), "top": (0, 1), "lower": (0, -1), "bottom": (0, -1)}
_COLUMNS = {"left": (-1, 0), "right": (1, 0)}
_NEAR = 0.05  # of the side: a centroid nearer to the middle lies on no side

# Words that change places in the mirrored view. `left` and `right` are more than sides, so they must name one.
_OF_WHAT = "hand|side|half|corner|edge|part|portion|third|quarter|of the (?:image|view|scene)"
_SWAP = re.compile(
    r"\b(?P<start>(?:north|south)?[ -]?)(?P<compass>east|west)"
    r"(?P<end>ern(?:most|er|ers)?|erly|wards?|bound|most|side)?\b"
    rf"|\b(?P<side>left|right)(?=[ -](?:{_OF_WHAT}))|(?:(?<=upper )|(?<=lower )|(?<=top )|(?<=bottom )|(?<=on the ))"
    r"(?P<corner>left|right)\b",
    re.IGNORECASE,
)
_OTHER = {"east": "west", "west": "east", "left": "right", "right": "left"}

Point = tuple[float, float, float]  # x from the west edge and y from the north edge, shares of the side; weight


def mirrored_wording(text: str) -> str | None:
    """The text for the view with left and right exchanged; None if it tells a side in a way that cannot be reworded."""
    if not has_side(text):
        return text
    names = re.search(r"(?<!^)(?<![.!?]\s)\b(?:North |South )?(?:East|West)\b|\b[NS]?[EW]\b", text)
    if names or has_side(_SWAP.sub(lambda found: re.sub(r"\w+$", "", found["start"] or ""), text)):
        return None
    return _SWAP.sub(_swapped, text)


def wrong_sides(sentence: str, before: str, buildings: Sequence[Point], damage: Sequence[Point]) -> Iterator[str]:
    """What a sentence says of where buildings and damage lie that the labels contradict.

    Args:
        sentence: of the caption.
        before: the sentence that it follows, which says what `they` are.
        buildings: of the patch, of weight 1.
        damage: the same, weighted by their damage; none if nothing is known of it.
    """
    for found in _SIDE.finditer(sentence):
        start = sentence[: found.start()]
        clause = start[max(start.rfind(","), start.rfind(";")) + 1 :]
        points = _meant(clause, before, buildings, damage)
        if points and not _holds(found, points, chiefly=bool(_CHIEFLY.search(clause) or _LIE.search(clause))):
            yield sentence[max(0, start.rfind(",") + 1) : found.end()].strip()


def _meant(clause: str, before: str, buildings: Sequence[Point], damage: Sequence[Point]) -> list[Point]:
    if _INTACT.search(clause):
        intact = {(x, y) for x, y, weight in damage if not weight}
        return [point for point in buildings if point[:2] in intact]
    if _DAMAGE.search(clause):
        return [point for point in damage if point[2]]
    pronoun = re.search(r"^\s*(they|it)\b", clause, re.IGNORECASE)
    if pronoun and not re.search(r"\bbuildings?\b", before, re.IGNORECASE):
        return []
    return list(buildings) if _BUILDINGS.search(clause) else []


def _holds(found: re.Match[str], points: Sequence[Point], *, chiefly: bool) -> bool:
    """Whether most of the weight may be said to lie there, or, if that is not said, any of it."""
    total = sum(weight for _, _, weight in points)
    east = sum(weight * (x - 0.5) for x, _, weight in points) / total
    north = sum(weight * (0.5 - y) for _, y, weight in points) / total
    if not (side := _direction(found)):
        return not chiefly or math.hypot(east, north) < 2 * CENTRE_RADIUS
    if chiefly and math.hypot(east, north) > _NEAR:
        return side[0] * east + side[1] * north > 0
    return any(side[0] * (x - 0.5) + side[1] * (0.5 - y) >= 0 for x, y, _ in points)


def _direction(found: re.Match[str]) -> tuple[int, int] | None:
    """East and north, -1 to 1; None for the middle."""
    if found["rows"]:
        east = _COLUMNS[found["corner"].lower()][0] if found["corner"] else 0
        return east, _ROWS[found["rows"].lower()][1]
    if found["columns"]:
        return _COLUMNS[found["columns"].lower()]
    if not found["compass"]:
        return None
    word = found["compass"].lower()
    return ("east" in word) - ("west" in word), ("north" in word) - ("south" in word)


def _swapped(found: re.Match[str]) -> str:
    word = next(found[name] for name in ("compass", "side", "corner") if found[name])
    other = _OTHER[word.lower()]
    other = other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
    return f"{found['start'] or ''}{other}{found['end'] or ''}"

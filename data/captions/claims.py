"""What a caption claims of the number of buildings and of their damage, held against the labels of the patch.

A building that the edge cuts is seen by who looks at the image and counted by the labels elsewhere, so a count may lie
anywhere between the buildings that the patch counts and those that it shows.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from data.captions.severity import DAMAGE_THIRDS, damage_ratio, severity

_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
_NUMBER = rf"(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?![\d.]*\d)|\b(?:{'|'.join(_WORDS)}|both|a single|the only|only a single)\b"
_ALL = "buildings?|structures?"
_NOUN = re.compile(rf"\b({_ALL}|houses?|homes?|residences?|dwellings?|roofs?|rooftops?)\b", re.IGNORECASE)
_MENTION = re.compile(rf"(?<![\w.,-])(?:{_NUMBER})(?![\w-])", re.IGNORECASE)
# Where the part of a sentence ends that a number is said of.
_END = re.compile(r"[,;:.(]|\b(?:while|whereas|but|and|near|beside|along|which)\b|\bnext to\b", re.IGNORECASE)
# Of the words between a number and its noun, those that leave none of the buildings out.
_NEUTRAL = frozenset(
    "of the these those all scattered clustered evenly spaced visible separate individual total".split()
)
_NO_COUNT = re.compile(r"\b(parts? of|the other|another|with over|per)$")  # how what stands before a number ends
_NONE_OF = re.compile(r"\b(none|neither|not one|no damage to any) of( the)?$")
_VERB = re.compile(
    r"(?<!was )(?<!were )\b(damaged|destroyed|flattened|levell?ed)( (about|around|over|at least|more than))?$"
)
# Of the whole view; `no buildings in the north`, `no buildings remain` and `no buildings with major damage` are not.
_NO_BUILDINGS = re.compile(
    rf"\bno\s+(?:visible\s+)?(?:{_ALL})(?:\s+(?:are\s+|is\s+)?(?:visible|present|seen|shown)|\s+can be seen)?"
    r"(?:\s+(?:in|on)\s+th(?:e|is)\s+(?:view|image|scene|patch|picture))?(?=\s*(?:[.,;:]|$))",
    re.IGNORECASE,
)
_IN_ALL = re.compile(r"\s*(in all|in total|altogether)\b")
_EARLIER = re.compile(
    r"\b(before|prior to|previously|originally|initially|earlier|former(ly)?|first image|pre-?(event|disaster)?)\b",
    re.IGNORECASE,
)

# Word -> the classes that it may mean; the first that matches in the text counts.
_STATES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(rf"\b(?:{words})\b", re.IGNORECASE), classes)
    for words, classes in (
        (
            r"not (?:been )?damaged|undamaged|intact|unaffected|unharmed|untouched|(?:with|show)\w* no damage",
            ("no-damage",),
        ),
        (r"cannot be assessed|(?:of )?unknown damage|damage unknown", ("un-classified",)),
        (r"damaged (?:or|and) destroyed|destroyed (?:or|and) (?:\w+ )?damaged", ("damaged",)),
        (r"destroyed|razed|levell?ed|flattened|obliterated", ("destroyed",)),
        (r"major damage", ("major-damage",)),
        (r"minor damage", ("minor-damage",)),
        (r"(?:\w+ly )?damaged|affected", ("damaged",)),
    )
)
# Word -> the numbers for which it would be said.
_AMOUNTS = tuple(
    (re.compile(rf"\b(?:{words})\s+(?:of\s+)?(?:\w+\s+){{0,3}}?(?:{_NOUN.pattern[2:-2]})", re.IGNORECASE), numbers)
    for words, numbers in (
        (r"a couple of", (2, 3)),
        (r"a few|a handful of", (2, 14)),
        (r"several", (3, 24)),
        (r"about a dozen|around a dozen|(?<!over )a dozen", (8, 17)),
        (r"(?:well )?over a dozen", (13, 30)),
        (r"(?<!a )dozens", (20, 150)),
        (r"over a hundred|a hundred", (85, 250)),
        (r"hundreds", (150, 3000)),
        (r"thousands", (1500, 1 << 30)),
    )
)
# Word -> the least and the largest share of the assessable buildings.
_SHARES = tuple(
    (
        re.compile(rf"\b(?:{words})\s+(?:of\s+)?(?:the\s+)?(?:\w+\s+){{0,2}}?(?:{_NOUN.pattern[2:-2]})", re.IGNORECASE),
        share,
    )
    for words, share in (
        (r"(?:nearly|almost|virtually) (?:all|every)", (0.8, 1.0)),
        (r"(?<!nearly )(?<!almost )(?<!virtually )(?:all|every)", (1.0, 1.0)),
        (r"most|the majority", (0.5, 1.0)),
        (r"(?:about|around|roughly) half|(?<!than )half", (0.3, 0.7)),
        (r"(?:more|greater) than half", (0.5, 1.0)),
        (r"(?:fewer|less) than half", (0.0, 0.5)),
        (r"only a few|very few", (0.0, 0.3)),
        (r"none|neither|not one", (0.0, 0.0)),
    )
)
_DAMAGE = r"(?:damage|destruction|devastation)"
_SEVERITIES = (  # words before and after
    re.compile(
        rf"\b(?:([a-z]+)\s+)?([a-z]+)\s+{_DAMAGE}\b(?!\s+(?:to|on|at)\s+(?:one|an?|some|several|the\s+(?:house|roof))\b)",
        re.IGNORECASE,
    ),
    re.compile(rf"\b{_DAMAGE}\s+(?:to\s+(?:the\s+)?\w+\s+)?(?:is|was|appears|seems)\s+([a-z]+)\b", re.IGNORECASE),
)
_EXACT = {"slight": "slight", "moderate": "moderate", "severe": "severe", "none": "none"}
_LIGHT = frozenset("light minimal limited little slight".split())
_HEAVY = frozenset("heavy extensive catastrophic widespread massive total complete enormous".split())

_KNOWN = {*_EXACT, *_LIGHT, *_HEAVY, "no"}

Range = tuple[int, int]


@dataclass(frozen=True)
class Counts:
    """Buildings of a patch by class of damage: those that it counts, and those that reach in from its neighbours."""

    counted: Mapping[str, int] | None  # None without a post label
    shown: Mapping[str, int] | None
    total: Range  # counted, shown
    moderate_from: float
    severe_from: float

    def of(self, classes: tuple[str, ...]) -> Range:
        """Least and most buildings that may be said to be of the classes; `damaged` may take the destroyed ones in."""
        assert self.counted is not None and self.shown is not None
        if classes == ("damaged",):
            least = sum(self.counted[name] for name in ("minor-damage", "major-damage"))
            return least, sum(self.shown[name] for name in ("minor-damage", "major-damage", "destroyed"))
        least, most = (sum(found[name] for name in classes) for found in (self.counted, self.shown))
        return least, most + self.shown["un-classified"] * (classes == ("no-damage",))

    @property
    def words(self) -> set[str]:
        """The severities that the labels allow; none if nothing is assessable."""
        ratios = (damage_ratio(found) for found in (self.counted, self.shown) if found is not None)
        return {severity(ratio, self.moderate_from, self.severe_from) for ratio in ratios if ratio is not None}


def wrong_counts(sentence: str, counts: Counts) -> Iterator[str]:
    """What a sentence says of numbers and shares that the labels contradict."""
    labelled = counts.counted is not None and not _EARLIER.search(sentence)
    mentions = list(_MENTION.finditer(sentence))
    whole = False  # the number is the second of `2 of 14 buildings destroyed`, and not what is destroyed
    for mention, after in zip_longest(mentions, mentions[1:]):
        rest = sentence[mention.end() : after.start() if after else len(sentence)]
        part = after is not None and bool(re.fullmatch(r"\s+of\s+(?:the\s+|all\s+)?", rest))
        clause = _clause(sentence[after.end() :] if part else rest)
        if _wrong_number(mention[0], sentence[: mention.start()], clause, counts, labelled, part=part, whole=whole):
            yield f"{mention[0]}{clause.rstrip()}"
        whole = part
    if counts.total[0] and (said := _NO_BUILDINGS.search(sentence)):
        yield said[0]
    for found, (least, most) in _each(_AMOUNTS, sentence):
        state = _state(_clause(sentence[found.end() :])) if labelled else None
        low, high = counts.of(state) if state else counts.total
        if (state or not _state(sentence)) and (least > high or most < low) and not _near_number(sentence, found):
            yield found[0]
    for found, (low_share, high_share) in _each(_SHARES, sentence) if labelled else ():
        state = _state(_clause(sentence[found.end() :]))
        if state and not _share_holds(counts, state, low_share, high_share):
            yield f"{found[0]} {_clause(sentence[found.end() :]).strip()}"


def wrong_severity(sentence: str, counts: Counts) -> Iterator[str]:
    """What a sentence says of the severity of the damage as a whole that the labels contradict."""
    words = counts.words
    if not words or _EARLIER.search(sentence) or not any(counts.total):
        return
    for found in (found for pattern in _SEVERITIES for found in pattern.finditer(sentence)):
        said = [(word or "").lower() for word in found.groups()[::-1]]
        word = next((word for word in said if word in _KNOWN), "")
        if (exact := _EXACT.get(word)) and exact not in words:
            yield found[0]
        elif (word in _LIGHT and words == {"severe"}) or (word in _HEAVY and words <= {"none", "slight"}):
            yield found[0]
        elif word == "no" and "none" not in words and not re.search(r"\bsignificant|major|severe", found[0]):
            yield found[0]


def _wrong_number(said: str, before: str, clause: str, counts: Counts, known: bool, *, part: bool, whole: bool) -> bool:
    """Whether the labels deny a number, by the words before it and those of its clause after it."""
    before = before.rstrip().lower()
    if _NO_COUNT.search(before) or re.search(r"\bper\b", clause):
        return False
    number, fits, (low, high) = _value(said), _bounds(before), counts.total
    state, noun = _state(clause), _NOUN.search(clause)
    if part and before.endswith("no damage to"):
        state = ("no-damage",)
    if noun and (verb := _VERB.search(before)):  # the storm destroyed five houses
        state = _state(verb[0])
    if "that can be assessed" in clause:
        return known and not fits(number, *counts.of(tuple(DAMAGE_THIRDS)))
    if state and not whole and not _NONE_OF.search(before):
        return known and not fits(number, *counts.of(state))
    if part or (noun and not _is_every(clause[: noun.start()], noun[0])):
        return number > high
    return bool(noun or whole or _IN_ALL.match(clause)) and not fits(number, low, high)


def _is_every(between: str, noun: str) -> bool:
    """Whether all buildings are counted, not the small ones or the houses among them."""
    return bool(re.fullmatch(_ALL, noun, re.IGNORECASE)) and set(re.findall(r"[\w-]+", between.lower())) <= _NEUTRAL


def _bounds(before: str) -> Callable[[int, int, int], bool]:
    """How a number must lie to the labels' least and most, by the words before it."""
    if re.search(r"\b(about|around|approximately|roughly|some|nearly|almost)$", before):
        return lambda number, low, high: low - max(2, number // 4) <= number <= high + max(2, number // 4)
    if re.search(r"\b(over|more than|at least)$", before):
        return lambda number, low, high: number <= high
    if re.search(r"\b(under|fewer than|less than|at most|up to)$", before):
        return lambda number, low, high: number >= low
    return lambda number, low, high: low <= number <= high


def _value(text: str) -> int:
    text = text.lower()
    if text.endswith(("single", "only")):
        return 1
    if text == "both":
        return 2
    return _WORDS.index(text) if text in _WORDS else int(text.replace(",", ""))


def _clause(rest: str) -> str:
    end = _END.search(rest)
    if end and end[0] == "and" and re.match(r"\s*(?:or|and)\s+(?:\w+ )?(?:damaged|destroyed)", rest[end.start() :]):
        end = _END.search(rest, end.end())
    return rest[: end.start()] if end else rest


def _state(text: str) -> tuple[str, ...] | None:
    return next((classes for pattern, classes in _STATES if pattern.search(text)), None)


def _each(table: tuple[tuple[re.Pattern[str], tuple], ...], text: str) -> Iterator[tuple[re.Match[str], tuple]]:  # type: ignore[type-arg]
    for pattern, value in table:
        for found in pattern.finditer(text):
            yield found, value


def _near_number(sentence: str, found: re.Match[str]) -> bool:
    """`parts of a few buildings`, `a few of the 12 buildings`: said of some only."""
    return bool(re.search(r"\bparts? of\s*$|\bonly\s*$", sentence[: found.start()]) or _MENTION.search(found[0]))


def _share_holds(counts: Counts, state: tuple[str, ...], low_share: float, high_share: float) -> bool:
    low, high = counts.of(state)
    assessable = counts.of(tuple(DAMAGE_THIRDS))[0]
    return not assessable or (high >= low_share * assessable and low <= high_share * assessable)

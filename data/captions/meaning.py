"""What the words of an external caption mean: a horizontal direction, a disaster, damage before the event.

A mirrored view needs another text wherever one distinguishes left from right. Directions are recognised in English and
some widely spoken languages; a text that may be in any other language counts as having one.
"""

import re
import unicodedata

# Left and right, east and west, alone or as a part: north-western, eastbound, left-hand, SW; not right-angled.
_ENGLISH_SIDE = re.compile(
    r"\b((north|south)[ -]?)?(east|west)(ern(most|er|ers)?|erly|wards?|bound|most|side)?\b"
    r"|\b(left|right)(most|wards?|hand(ed)?|side)?\b(?!-?over|[ -]angle|[ -]of[ -]way)"
    r"|\b(counter-?|anti-?)?clockwise\b|\bo'?clock\b|\b[ns][ew]\b|\b([ns][ns][ew]|[ew][ns][ew])\b",
    re.IGNORECASE,
)
_LETTER_SIDE = re.compile(r"\b[NS]?[EW]\b|\b[NS]\.\s?[EW]\.|[\u2190\u2192\u2194\u2196-\u2199]")
# The same in Spanish, Portuguese, French, Italian, German, Dutch, Indonesian, Turkish.
_FOREIGN_SIDE = re.compile(
    r"\b(izquierd[ao]s?|derech[ao]s?|oeste|esquerd[ao]s?|direit[ao]s?|leste|gauche|droite|ouest|sinistr[ao]|destr[ao]|ovest"
    r"|links|linken?|linker|rechts|rechten?|rechter|ost(en|lich)?|west(en|lich)|oosten|oostelijk\w*|westelijk\w*|kiri|kanan"
    r"|barat|timur|solda|solunda|sa\u011f\w*|do\u011fu\w*|bat\u0131\w*)\b",
    re.IGNORECASE,
)
_ENGLISH = frozenset(
    "the a an of and or in on at to is are was were be been with without from by for as no not it its this that "
    "these those there their they which has have had near along across between around after before into over "
    "under off out up down some all many most several few more one two three only but than through while where".split()
)
_OTHERS = frozenset(
    "el la los las un una del y en con por para al lo se le les des une et du dans sur est sont au aux pas il gli "
    "di che nel della sono per e o os um uma do da dos das em no na nos nas com ao der die und ist sind den dem "
    "ein eine mit von auf im zu het een van op zijn yang dan ke dari ini itu ada bir ve bu ile de w z po i je och "
    "det som att av".split()
)
_WORDS = re.compile(r"[^\W\d_]+")
_TELLING = 4  # different words from which a text without any English particle is in doubt

# Word -> the disaster types that it may describe; a hurricane may do its damage by wind or by water.
KINDS = (
    (re.compile(r"\b(flood(s|ed|ing|water\w*)?|inundat\w+|submerged)\b", re.IGNORECASE), {"flooding", "tsunami"}),
    (re.compile(r"\b(hurricanes?|cyclones?|typhoons?|storms?)\b", re.IGNORECASE), {"wind", "flooding"}),
    (
        re.compile(
            r"\b(tornado(es|s)?|windstorms?|winds(?! (its|through|along|around|past|across|up|down)))\b", re.IGNORECASE
        ),
        {"wind"},
    ),
    (
        re.compile(
            r"\b((wild|bush)?fires?(?! (station|truck|hydrant|engine))|burn(t|ed|ing)|charred|scorched)\b",
            re.IGNORECASE,
        ),
        {"fire", "volcano"},
    ),
    (re.compile(r"\b(earth)?quakes?\b", re.IGNORECASE), {"earthquake", "tsunami"}),
    (re.compile(r"\btsunamis?\b", re.IGNORECASE), {"tsunami"}),
    (re.compile(r"\b(volcan\w+|lava|erupt\w+)\b", re.IGNORECASE), {"volcano"}),
)
KNOWN_KINDS = frozenset().union(*(kinds for _, kinds in KINDS))

# A model prompted with the event sees its traces even before it. "before a flood" itself is not such a word.
_DAMAGE = re.compile(
    r"\b(ash|lava|ruins?|ruined|rubble|debris|wreck(age|ed)?|collaps(ed|ing|e)|destr(oyed|uction|uctive)|damag(ed?|ing)"
    r"|burn(t|ed|ing)?|charred|scorched|flood(ed|waters?)|submerged|inundated|devastat(ed|ion|ing)|aftermath|catastroph\w+"
    r"|(torn|blown|ripped|swept) (off|away|down|apart)|missing roofs?|roofless|tarps?|tarpaulins?|uprooted|washed away"
    r"|rescue|evacuat\w+|disasters?)\b",
    re.IGNORECASE,
)


def has_side(text: str) -> bool:
    """Whether the text may distinguish left from right."""
    if any(pattern.search(text) for pattern in (_ENGLISH_SIDE, _LETTER_SIDE, _FOREIGN_SIDE)):
        return True
    return not may_be_english(text)


def tells_damage(text: str) -> re.Match[str] | None:
    """Where the text speaks of damage, in English."""
    return _DAMAGE.search(text)


def other_disaster(text: str, disaster_type: str) -> bool:
    """Whether the text names disasters, and none that the label's type may be."""
    named = [kinds for pattern, kinds in KINDS if pattern.search(text)]
    return disaster_type in KNOWN_KINDS and bool(named) and not any(disaster_type in kinds for kinds in named)


def may_be_english(text: str) -> bool:
    """By its alphabet and its particles; a few words without any are taken as English if their letters are."""
    letters = [char for char in text if char.isalpha()]
    if not all("LATIN" in unicodedata.name(char, "") for char in letters):
        return False
    words = [word.casefold() for word in _WORDS.findall(text)]
    english, others = (sum(word in particles for word in words) for particles in (_ENGLISH, _OTHERS - _ENGLISH))
    if not english:
        return text.isascii() and not others and len(set(words)) < _TELLING
    return english >= others

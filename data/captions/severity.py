"""How severe the damage of a patch is: a ratio from the building counts, and a word for it."""

from collections.abc import Mapping

# The damage of a building in thirds, whole numbers, so that no sum depends on its order: 0 = intact, 3 = destroyed.
DAMAGE_THIRDS = {"no-damage": 0, "minor-damage": 1, "major-damage": 2, "destroyed": 3}
# Severity from the mean damage of the assessable buildings: 0 = all intact, 1 = all destroyed.
MODERATE_FROM = 0.1
SEVERE_FROM = 0.4


def damage_ratio(classes: Mapping[str, int]) -> float | None:
    """Mean damage of the assessable buildings, 0 to 1; None without any.

    One division of whole numbers, hence the nearest float: two fifths equals 0.4 exactly.
    """
    assessable = sum(classes[name] for name in DAMAGE_THIRDS)
    if not assessable:
        return None
    return sum(thirds * classes[name] for name, thirds in DAMAGE_THIRDS.items()) / (3 * assessable)


def severity(ratio: float, moderate_from: float = MODERATE_FROM, severe_from: float = SEVERE_FROM) -> str:
    """One of none, slight, moderate, severe."""
    if ratio == 0:
        return "none"
    if ratio < moderate_from:
        return "slight"
    return "moderate" if ratio < severe_from else "severe"

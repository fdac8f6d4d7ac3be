"""How bad the damage of a patch is: a ratio from the building counts, and a word for it."""

from collections.abc import Mapping

# Severity from the mean damage of the assessable buildings: 0 = all intact, 1 = all destroyed.
DAMAGE_WEIGHTS = {"no-damage": 0.0, "minor-damage": 1 / 3, "major-damage": 2 / 3, "destroyed": 1.0}
MODERATE_FROM = 0.1
SEVERE_FROM = 0.4


def damage_ratio(classes: Mapping[str, int]) -> float | None:
    """Mean damage of the assessable buildings, 0 to 1; None without any."""
    assessable = sum(classes[name] for name in DAMAGE_WEIGHTS)
    if not assessable:
        return None
    return sum(weight * classes[name] for name, weight in DAMAGE_WEIGHTS.items()) / assessable


def severity(ratio: float, moderate_from: float = MODERATE_FROM, severe_from: float = SEVERE_FROM) -> str:
    """One of none, slight, moderate, severe."""
    if ratio == 0:
        return "none"
    if ratio < moderate_from:
        return "slight"
    return "moderate" if ratio < severe_from else "severe"

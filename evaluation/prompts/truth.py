"""The measures of a prompt study on the real post images, each against its own caption: an upper bound."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data.captions.facts import layout_of
from data.captions.layout import COMPASS
from data.captions.row import facts_of_row
from data.captions.severity import damage_ratio, severity
from data.examples.regions import foreseeable
from data.imagery.pixels import resize_rgb
from evaluation.prompts.answers import cell_means, centroid, turned_away
from evaluation.prompts.change import Detector, difference
from evaluation.prompts.grid import NINE, STUDIES


def real_pairs(rows: Iterable[Mapping[str, Any]], side: int, detector: Detector) -> dict[str, Any]:
    """Changed area by the severity of the labels, angle and hits by the place of the damage; NaN without any pair.

    Args:
        rows: of the dataset.
        side: that patches are resized to, px.
        detector: of change.
    """
    areas: dict[str, list[float]] = {word: [] for word in STUDIES["severity"]}
    angles, hits = [], []
    for row in rows:
        facts = facts_of_row(row)
        ratio = damage_ratio(facts.classes) if facts.classes else None
        if ratio is None or not foreseeable(row, side).all():
            continue  # a cloud looks like change
        pre, post = (resize_rgb(row[phase], side) for phase in ("pre", "post"))
        areas[severity(ratio)].append(float(detector.changed(pre, post).mean()))
        place = layout_of(facts).damage
        if place in COMPASS:
            apart = difference(pre, post)
            angles.append(turned_away(place, *centroid(apart**2)))
            hits.append(NINE[int(np.argmax(cell_means(apart)))] == place)
    return {
        "severity": {word: {"patches": len(found), "changed": _mean(found)} for word, found in areas.items()},
        "position": {"patches": len(angles), "angle": _mean(angles), "hit": 100 * _mean(hits)},
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan

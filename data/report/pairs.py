"""What is known of the pairs: time between the images, view, pixel size, and which of them are the worst."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from html import escape
from typing import Any

from data.dataset.summary import lacking
from data.pages.document import html_table
from data.schema import METADATA_FIELDS

COLUMNS = ["metadata_pre", "metadata_post", "sensor_pre", "sensor_post"]
WORST = 6
# A pair is as bad as its worst measure, in units of what docs/pair-quality.md calls a lot.
MUCH = {"shift, px": 8.0, "cloud": 0.5, "no data": 0.5, "difference of tones": 60.0}
MUCH_NODATA = 0.25  # share of a patch from which on it is warned of
Row = Mapping[str, Any]


def days_between(row: Row) -> float:
    """From pre to post; NaN unless both dates are known."""
    dates = [_date(row[f"metadata_{phase}"]) for phase in ("pre", "post")]
    return float((dates[1] - dates[0]).days) if dates[0] and dates[1] else math.nan


def off_nadir(row: Row, phase: str) -> float:
    """Degrees from straight down; NaN if the labels do not say."""
    angle = (row[f"sensor_{phase}"] or {}).get("off_nadir_angle")
    return math.nan if angle is None else float(angle)


def event_table(rows: Iterable[Row]) -> str:
    """A line for each event: pixel size, time gap, views, patches without buildings."""
    by_event: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_event[row["event"]].append(row)
    heads = ["event", "pixel size, m", "days between", "off-nadir pre, °", "off-nadir post, °", "without buildings"]
    lines = [
        [
            escape(event),
            _median([row["pixel_size_m"] for row in of], 2),
            _median([days_between(row) for row in of], 0),
            *(_median([off_nadir(row, phase) for row in of], 1) for phase in ("pre", "post")),
            _without_buildings(of),
        ]
        for event, of in sorted(by_event.items())
    ]
    return html_table(heads, lines)


def badness(row: Row) -> tuple[float, str]:
    """How bad a pair is, 1 = a lot, and what is bad about it."""
    measures = {
        "shift, px": math.hypot(*row["shift_px"]),
        "cloud": max(row["cloud_pre"], row["cloud_post"], key=lambda share: -1 if math.isnan(share) else share),
        "no data": row["nodata_fraction"],
        "difference of tones": row["radiometric_gap"],
    }
    known = {name: value for name, value in measures.items() if not math.isnan(value)}
    name = max(known, key=lambda name: known[name] / MUCH[name], default="")
    return (known[name] / MUCH[name], f"{name} {known[name]:.2g}") if name else (0.0, "")


def worst_pairs(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The worst first, at most one of a scene, with the reason as `why`; only those with a lot of something."""
    found: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (-badness(row)[0], row["patch_id"])):
        if badness(row)[0] >= 1:
            found.setdefault(row["scene_id"], row | {"why": badness(row)[1]})
    return list(found.values())[:WORST]


def warnings(manifest: Mapping[str, Any], rows: Sequence[Row], dark: Sequence[str]) -> list[str]:
    """What to know before training, the most important first; `dark` are the ids of dark patches."""
    found = [f"There is no {split} split: {words}" for split, words in lacking(manifest).items()]
    if unlabelled := [
        event
        for event, of in sorted(manifest["events"].items())
        if (part := of["splits"].get("test")) and part["patches"] and not part["labelled_patches"]
    ]:
        found.append(f"In test, {', '.join(unlabelled)} has no label: numbers inside the change leave it out.")
    for column, share, what in (
        ("nodata_fraction", MUCH_NODATA, "black (no data)"),
        ("cloud_post", 0.5, "cloud after the event"),
    ):
        if many := sum(row[column] > share for row in rows):
            found.append(f"{_patches(many)} more than {share:.0%} {what}.")
    if dark:
        why = f"{dark[0]} for one: night, deep shadow or a failed exposure"
        found.append(f"{_patches(len(dark))} almost black in pre or post, {why}.")
    if late := sum(days_between(row) < 0 for row in rows):
        found.append(f"{_patches(late)} of a post image that is older than the pre image.")
    if quarantined := len(manifest["quarantine"]):
        found.append(f"{quarantined:,} scene{'s' * (quarantined != 1)} could not be used; the reasons are below.")
    return found


def _patches(count: int) -> str:
    return "1 patch is" if count == 1 else f"{count:,} patches are"


def _date(metadata: Sequence[float]) -> date | None:
    numbers = dict(zip(METADATA_FIELDS, metadata, strict=True))
    try:
        return date(*(int(numbers[name]) for name in ("year", "month", "day")))
    except (ValueError, OverflowError):  # NaN, or no day of the calendar
        return None


def _median(values: Iterable[float], digits: int) -> str:
    known = [value for value in values if not math.isnan(value)]
    return f"{statistics.median(known):,.{digits}f}" if known else "-"


def _without_buildings(rows: Sequence[Row]) -> str:
    labelled = [row for row in rows if row["ratio"] is not None or row["counts"]["no_damage"] is not None]
    empty = sum(not row["total"] for row in labelled)
    return f"{empty:,} of {len(labelled):,}" if labelled else "-"

"""Names of events, scenes and patches: they become names of files and folders, also those of external datasets."""

import re
from collections.abc import Iterable

import pyarrow
import pyarrow.compute as compute

from data.errors import DataError, shortened

EVENT = r"[a-z0-9-]{1,200}"
SCENE = r"[A-Za-z0-9-][A-Za-z0-9._-]{0,199}"
PATCH = rf"{SCENE}_\d{{4,6}}_\d{{4,6}}_\d{{1,6}}"
RULES = {
    "event": (EVENT, "lower-case letters, digits and hyphens, as in hurricane-michael"),
    "scene_id": (SCENE, "letters, digits, '.', '_' and '-', as in hurricane-michael_00000003"),
    "patch_id": (PATCH, "SCENE_ROW_COL_SIZE, as in hurricane-michael_00000003_0000_0512_512"),
}

# RSCC (2025) numbers the 512 px quarters of a scene.
_QUARTER = re.compile(r"(.+)_(?:pre|post)_disaster_part([1-4])")
_CORNERS = {"1": "0000_0000", "2": "0000_0512", "3": "0512_0000", "4": "0512_0512"}  # row and column; 2 is right


def patch_of_quarter(stem: str) -> str:
    """The patch_id of an image of RSCC by its name without ending; "" if it is no quarter of a scene."""
    quarter = _QUARTER.fullmatch(stem)
    return f"{quarter[1]}_{_CORNERS[quarter[2]]}_512" if quarter else ""


def check_names(rows: pyarrow.Table, where: str) -> None:
    """Stop unless all names follow the rules of `pre2post build` and no two patches share one.

    Args:
        rows: with the columns of RULES.
        where: the dataset and its split.

    Raises:
        DataError: naming the first that is not.
    """
    for column, (pattern, expected) in RULES.items():
        if column not in rows.column_names or not pyarrow.types.is_string(rows.schema.field(column).type):
            raise DataError(f"{where}: it has no column {column} of texts. Copy the dataset again, or rebuild it.")
        names = compute.unique(rows[column])
        fits = compute.match_substring_regex(names, f"^(?:{pattern})$")
        place = compute.index(compute.fill_null(fits, False), False).as_py()
        if place >= 0:
            _refuse(where, column, names[place].as_py(), expected)
    counts = compute.value_counts(rows["patch_id"])
    twice = compute.index(compute.greater(counts.field("counts"), 1), True).as_py()
    if twice >= 0:
        raise DataError(
            f"{where}: several patches are called {counts.field('values')[twice]}. Rebuild the dataset, and give each "
            "scene an id of its own."
        )


def check_event_names(events: Iterable[str], where: str) -> None:
    """The same for the events that a dataset.json lists."""
    for event in events:
        if not re.fullmatch(EVENT, event):
            _refuse(where, "event", event, RULES["event"][1])


def _refuse(where: str, column: str, value: object, expected: str) -> None:
    raise DataError(
        f"{where}: {column} {shortened(value)} is not a name that pre2post build gives; expected {expected}. Rebuild "
        "the dataset with other names."
    )

"""Options of `pre2post build` that several wings share; `--help` reads them here without importing the wings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from data.errors import DataError

MaskRule = Literal["centre", "xview2"]
SplitBy = Literal["official", "scene", "event", "list"]


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """How the scenes are split."""

    split_by: SplitBy = "official"
    """`official`: train, tier1 and tier3 train, hold validates, test tests. `scene`: by a hash of the scene's name.
    `event`: whole disasters are held out, which shows how a model performs on an unseen one. These two keep scenes
    and events that share ground in one split. `list`: the scenes of `--test-list` test, a twentieth of the others
    validates."""
    test_events: str = ""
    """With `--split-by event`: the events to test on, such as `palu-tsunami,socal-fire`. All others train, so one name
    alone means leave one event out."""
    validation_events: str = ""
    """With `--split-by event`: the events to validate on."""
    test_list: Path | None = None
    """With `--split-by list`: a file that names patches, scenes or images of xBD or RSCC, one per line, such as the
    test set of a paper. Their scenes are held out whole."""
    seed: int = 0
    """Which scenes or events are held out (not used by `official`), and how captions are phrased."""

    def __post_init__(self) -> None:
        """Stop on a rule that contradicts itself."""
        if self.split_by not in get_args(SplitBy):
            raise DataError(f"split_by is {self.split_by!r}; expected {', '.join(get_args(SplitBy))}.")
        if (self.test_list is not None) != (self.split_by == "list"):
            raise DataError(
                "--split-by list and --test-list FILE need each other: the file says which scenes to test on."
            )
        if self.named and self.split_by != "event":
            raise DataError(
                f"test_events and validation_events hold out whole events, but split_by is {self.split_by!r}. "
                "Add --split-by event."
            )
        if both := sorted({*event_names(self.test_events)} & {*event_names(self.validation_events)}):
            raise DataError(f"{', '.join(both)} is in test_events and in validation_events. Name it in one of them.")

    @property
    def named(self) -> dict[str, str]:
        """The split of every event that the user named."""
        tests, validates = event_names(self.test_events), event_names(self.validation_events)
        return dict.fromkeys(tests, "test") | dict.fromkeys(validates, "validation")

    def settings(self) -> dict[str, Any]:
        """For dataset.json."""
        lists = {name: list(event_names(getattr(self, name))) for name in ("test_events", "validation_events")}
        listed = {"test_list": self.test_list.name} if self.test_list else {}
        return {"split_by": self.split_by, "seed": self.seed} | listed | (lists if self.named else {})


def event_names(text: str) -> list[str]:
    """The names in a list like `palu-tsunami,hurricane-michael`."""
    return sorted({name.strip() for name in text.split(",") if name.strip()})


OFFICIAL = SplitRule()


@dataclass(frozen=True, kw_only=True)
class Exports:
    """What is written in addition to the Parquet shards."""

    format: Literal["parquet", "webdataset"] = "parquet"
    """`webdataset`: also write tar files in the layout that DiffusionSat's trainer reads."""
    geotiff: bool = False
    """Also write every patch as GeoTIFFs, with its coordinate system and transform."""


PARQUET_ONLY = Exports()

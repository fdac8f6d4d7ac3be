"""The numbers of an `evaluate` result, for the card."""

import math
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from data.documents import Count, Finite, read_document
from data.examples.regions import REGIONS
from evaluation.columns import METRICS, NETWORK_METRICS, PIXEL_METRICS, SET_METRICS, number
from evaluation.output import RESULTS
from generate.checkpoint import Checkpoint
from generate.sampling import Sampling
from publish.errors import PublishError

FIX = "Name the folder that `pre2post evaluate` wrote for this checkpoint, or leave --results out."


class Value(TypedDict):
    """An estimate with its interval; null where there is none."""

    value: Finite | None
    low: Finite | None
    high: Finite | None


class Captioned(TypedDict):
    """Of one patch."""

    prompt: str


class Results(TypedDict):
    """Of results.json."""

    checkpoint_sha256: str
    dataset: str
    split: str
    scheduler: str
    steps: Count
    guidance_scale: Finite
    control_scale: Finite
    control_start: Finite
    control_end: Finite
    rows: dict[str, str]  # key of a method -> its name
    summary: dict[str, dict[str, dict[str, Value]]]  # method -> region -> metric
    sets: dict[str, dict[str, Value]]  # method -> metric
    intervals: str
    notes: list[str]
    per_patch: list[Captioned]


RESULTS_SCHEMA = TypeAdapter(Results)


@dataclass(frozen=True)
class Measured:
    """What the card says of an evaluation."""

    results: Results

    @property
    def sampling(self) -> Sampling:
        """How the measured images were sampled."""
        found = self.results
        return Sampling(
            scheduler=found["scheduler"],  # type: ignore[arg-type]  # it checks the name
            steps=found["steps"],
            guidance_scale=found["guidance_scale"],
            control_scale=found["control_scale"],
            control_start=found["control_start"],
            control_end=found["control_end"],
        )

    @property
    def prompt(self) -> str | None:
        """A caption of the kind that the checkpoint was trained with."""
        return next((patch["prompt"] for patch in self.results["per_patch"]), None)

    def table(self) -> list[list[str]]:
        """Head and one row for each method."""
        summary, sets = self.results["summary"], self.results["sets"]
        columns = [(region, metric) for region in REGIONS for metric in PIXEL_METRICS]
        columns += [("whole", metric) for metric in (*NETWORK_METRICS, *SET_METRICS)]

        def value(method: str, region: str, metric: str) -> Value | None:
            here = sets.get(method, {}) if metric in SET_METRICS else summary[method].get(region, {})
            return here.get(metric)

        shown = [one for one in columns if any(_text(value(method, *one), one[1]) != "-" for method in summary)]
        heads = ["", *(f"{METRICS[metric].name} {region}" for region, metric in shown)]
        rows = [
            [self.results["rows"].get(method, method), *(_text(value(method, *one), one[1]) for one in shown)]
            for method in summary
        ]
        return [heads, *rows]

    def values(self) -> list[tuple[str, str, float]]:
        """(metric, region, value) of the generated images."""
        generated, nothing = self.results["summary"].get("generated", {}), Value(value=None, low=None, high=None)
        named = [(region, metric) for region in REGIONS for metric in (*PIXEL_METRICS, *NETWORK_METRICS)]
        found = [(*one, generated.get(one[0], {}).get(one[1], nothing)["value"]) for one in named]
        return [(METRICS[metric].name, region, value) for region, metric, value in found if value is not None]


def read_measured(path: Path, checkpoint: Checkpoint) -> Measured:
    """Read results.json, in the folder of an evaluation or named itself.

    Raises:
        PublishError: it is missing, damaged, of another version, or of another checkpoint.
        GenerateError: it names a sampler that does not exist.
    """
    path = path / RESULTS if path.is_dir() else path
    measured = Measured(read_document(path, RESULTS_SCHEMA, FIX, PublishError))
    if measured.results["checkpoint_sha256"] != checkpoint.described()["checkpoint_sha256"]:
        raise PublishError(f"{path}: measures another checkpoint than {checkpoint.folder}. {FIX}")
    assert measured.sampling
    return measured


def _text(found: Value | None, metric: str) -> str:
    if not found or found["value"] is None:
        return "-"
    ends = [number(end, metric) for end in (found["low"], found["high"]) if end is not None and math.isfinite(end)]
    return number(found["value"], metric) + (f" ({' to '.join(ends)})" if len(ends) == 2 else "")

"""What a region run makes: a YAML file, checked as a whole before anything is opened."""

import difflib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data.errors import shortened
from data.sources.events import CAUSES
from data.strict_json import as_json
from generate.errors import GenerateError

LEAST_BUILDINGS = 1  # a tile without any teaches nothing about damage
MOST_PAIRS = 100_000_000  # the numbers of xView2's file names have eight digits

Share = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
Stated = Annotated[str, Field(min_length=2, max_length=400)]
Band = Annotated[int, Field(ge=1, le=1000)]
Disaster = Literal["flooding", "wind", "fire", "earthquake", "tsunami", "volcano"]
assert set(CAUSES) == set(Disaster.__args__)  # type: ignore[attr-defined]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Classes(_Checked):
    """Shares of the buildings of the whole set; their sum does not matter."""

    no_damage: Annotated[float, Field(ge=0)] = 0.4
    minor_damage: Annotated[float, Field(ge=0)] = 0.2
    major_damage: Annotated[float, Field(ge=0)] = 0.2
    destroyed: Annotated[float, Field(ge=0)] = 0.2

    def shares(self) -> list[float]:
        """Of the four classes, in their order; the sum is 1."""
        values = [self.no_damage, self.minor_damage, self.major_damage, self.destroyed]
        return [value / sum(values) for value in values]


class Severity(_Checked):
    """Shares of the tiles; their sum does not matter."""

    slight: Annotated[float, Field(ge=0)] = 1.0
    moderate: Annotated[float, Field(ge=0)] = 1.0
    severe: Annotated[float, Field(ge=0)] = 1.0

    def shares(self) -> list[float]:
        """From slight to severe; the sum is 1."""
        values = [self.slight, self.moderate, self.severe]
        return [value / sum(values) for value in values]


class Stretch(_Checked):
    """Which value becomes the darkest of 8 bits and which the brightest; linear between them, and one for all tiles."""

    values: tuple[float, float] | None = None  # of all bands and images
    percentiles: tuple[float, float] | None = None  # of each band of each image, from samples all over it

    def faults(self) -> Iterator[str]:
        """What is wrong with it."""
        if (self.values is None) == (self.percentiles is None):
            yield "expected either values: [LOW, HIGH] or percentiles: [2, 98]"
        low, high = self.values or self.percentiles or (0.0, 1.0)
        if not -math.inf < low < high < math.inf or (self.percentiles and not 0 <= low < high <= 100):
            yield f"{low:g} to {high:g} is no range" + " of percentiles, 0 to 100" * bool(self.percentiles)


class Region(_Checked):
    """A stretch of ground with images and footprints."""

    name: Name
    # A GeoTIFF, a VRT, a folder or a glob of GeoTIFFs, relative to the plan; or a STAC item collection, on disk (.json)
    # or by its address.
    imagery: Stated
    imagery_licence: Stated  # an SPDX name, or the words of whoever grants it
    footprints: Stated  # GeoJSON, GeoPackage, FlatGeobuf or GeoParquet
    footprints_licence: Stated
    taken: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]  # the day of the images, or of the latest of them
    disasters: dict[Disaster, Share]  # and their shares in this region
    bands: tuple[Band, Band, Band] = (1, 2, 3)  # red, green, blue; 1 is the first
    stretch: Stretch | None = None  # to 8 bits, of images with other values
    attribution: str = ""  # what the licences want to be said
    share: Share = 1.0  # of all pairs, among the regions
    bbox: tuple[float, float, float, float] | None = None  # west, south, east, north in degrees; None: all images


class Plan(_Checked):
    """A set of pairs. Tile k depends on this, its seed and k only."""

    name: Name
    pairs: Annotated[int, Field(ge=1, le=MOST_PAIRS)]
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    regions: Annotated[list[Region], Field(min_length=1, max_length=1000)]
    classes: Classes = Classes()
    severity: Severity = Severity()
    gsd_m: Annotated[float, Field(ge=0.01, le=100)] | None = None  # images of other pixels are resampled; None: none is
    tile_px: Annotated[int, Field(ge=64, le=8192, multiple_of=8)] = 1024
    min_buildings: Annotated[int, Field(ge=LEAST_BUILDINGS)] = 5  # whose centre lies in a tile
    min_valid: Annotated[float, Field(gt=0, le=1)] = 0.98  # share of the pixels of a tile that hold data
    tries: Annotated[int, Field(ge=1, le=1000)] = 20  # places that are looked at for a tile
    shard: Annotated[int, Field(ge=1, le=100_000)] = 50  # tiles that one process takes at a time

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-self.pairs // self.shard)

    def of_shard(self, number: int) -> range:
        """The tiles of a shard."""
        return range(number * self.shard, min((number + 1) * self.shard, self.pairs))


_KNOWN: dict[str, type[_Checked]] = {"regions": Region, "classes": Classes, "severity": Severity}


def read_plan(path: Path) -> Plan:
    """A checked plan.

    Raises:
        GenerateError: every unknown name, with the nearest known one, and every invalid value.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GenerateError(f"plan {path}: cannot be read ({error.strerror}). Name a YAML file with --plan.") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise GenerateError(f"plan {path}: not a YAML file ({' '.join(str(error).split())[:200]}).") from None
    if not isinstance(content, dict):
        raise GenerateError(f"plan {path}: expected settings such as pairs: 400; see configs/gbd/ for examples.")
    try:
        # By way of JSON, whose lists and objects are what a strict schema takes.
        plan = Plan.model_validate_json(as_json(_plain(_with_names(content)), None))
    except ValidationError as error:
        faults = error.errors(include_url=False)
        lines = [f"plan {path}: {line}" for line in map(_described, faults[:20])]
        more = [f"and {len(faults) - 20} more."] if len(faults) > 20 else []
        raise GenerateError("\n".join([*lines, *more])) from None
    if problems := [f"plan {path}: {line}" for line in _contradictions(plan)]:
        raise GenerateError("\n".join(problems))
    return plan


def _with_names(content: dict[str, Any]) -> dict[str, Any]:
    """XBD's words for damage have hyphens, which names in Python have not."""
    classes = content.get("classes")
    if not isinstance(classes, dict):
        return content
    return content | {"classes": {str(key).replace("-", "_"): value for key, value in classes.items()}}


def _plain(value: Any) -> Any:  # noqa: ANN401  # what YAML holds
    """Dates, which YAML makes of what looks like one, as texts."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return (
        [_plain(inner) for inner in value]
        if isinstance(value, list)
        else (value if isinstance(value, str | int | float | None) else str(value))
    )


def _described(fault: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _KNOWN.get(str(fault["loc"][0]), Plan).model_fields if len(fault["loc"]) > 1 else Plan.model_fields
        near = difflib.get_close_matches(str(fault["loc"][-1]), known, 1)
        return f"{where}: no such setting. " + (f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}.")
    if fault["type"] == "missing":
        why = " No image is used without one." if str(fault["loc"][-1]).endswith("licence") else ""
        return f"{where} is not set.{why}"
    return f"{where} is {shortened(fault['input'])}: {fault['msg'].lower()}."


def _contradictions(plan: Plan) -> Iterator[str]:
    names = [region.name for region in plan.regions]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"regions: the name {name} is given {names.count(name)} times. Give each its own."
    for setting in ("classes", "severity"):
        values = getattr(plan, setting).model_dump().values()
        if not 0 < sum(values) < float("inf"):
            yield f"{setting}: the shares add up to {sum(values)}; at least one must be above 0."
    for region in plan.regions:
        if not region.disasters:
            yield f"regions: {region.name} has no disasters; expected some of {', '.join(CAUSES)} with their shares."
        if (box := region.bbox) and not (-180 <= box[0] < box[2] <= 180 and -90 <= box[1] < box[3] <= 90):
            yield f"regions: bbox of {region.name} is {list(box)}; expected west, south, east, north in degrees."
        for fault in region.stretch.faults() if region.stretch else ():
            yield f"regions: stretch of {region.name}: {fault}."

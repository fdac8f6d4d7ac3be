"""Do generated images follow the metadata they are conditioned on?

    python -m benchmarks.studies.follows_metadata --base tiny-satellite --dataset DATASET --checkpoint RUN

Two fields are varied over their range, at fixed noise and prompt: the pixel size and, by the month, the season. The
outcome is measured in the images: pixel size by a linear estimate from the spectrum, fitted on true images after the
base's autoencoder; season by greenness. A ControlNet on that base is evaluated on held-out places.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from PIL import Image

from benchmarks.studies.metadata_measures import Images, SizeEstimate, Trend, Values, fit_size, greenness, summer, trend
from data.dataset.open import open_dataset
from data.imagery.pixels import resize_rgb
from data.schema import METADATA_FIELDS
from generate.checkpoint import open_base, open_checkpoint
from generate.generator import generate_images, load_generator
from generate.sampling import Sampling
from models import load_base
from models.base import Base
from models.diffusionsat.pipeline import SatPipeline
from models.images import as_pixels, decode, to_unit
from train.inputs.cache import encode_images

PROMPT = "a fmow satellite image before being affected by a wind natural disaster"
NORTH = {"lon": -91.62, "lat": 38.71, "gsd": 1.0, "year": 2016.0, "month": 7.0, "day": 15.0}
SOUTH = NORTH | {"lon": 146.38, "lat": -36.55}
SIZES_M = [0.5, 0.71, 1.0, 1.41, 2.0]
MONTHS = list(range(1, 13))
SHOWN_MONTHS = [1, 3, 5, 7, 9, 11]
BATCH = 16

Request = dict[str, float]  # metadata in natural units
Make = Callable[[Sequence[Request], Sequence[int]], Images]  # metadata and number of each image


@dataclass(frozen=True)
class Truth:
    """True images of a split as reconstructed by the autoencoder, with their metadata; pre and post alternate."""

    images: Images
    raw: Images
    metadata: list[Request]


def true_images(base: Base, dataset: Path, split: str, limit: int) -> Truth:
    """Patches without nodata and with known location and pixel size, evenly spread over a split."""
    rows = open_dataset(dataset, split)
    facts = zip(rows["nodata_fraction"][:], rows["location_source"][:], strict=True)
    whole = [row for row, (missing, source) in enumerate(facts) if not missing and source == "tile"]
    chosen = [whole[i] for i in np.linspace(0, len(whole) - 1, min(limit, len(whole))).astype(int)]
    raw, metadata = [], []
    for row in (rows[index] for index in chosen):
        for phase in ("pre", "post"):
            raw.append(resize_rgb(row[phase], base.resolution))
            known = dict(zip(METADATA_FIELDS, row[f"metadata_{phase}"], strict=True))
            metadata.append(known | {"gsd": known["gsd"] * row["size"] / base.resolution})
    vae = base.load_vae()
    batches = torch.from_numpy(np.stack(raw)).permute(0, 3, 1, 2).split(BATCH)
    with torch.inference_mode():
        latents = torch.cat([encode_images(vae, batch)["mean"] for batch in batches])
        shown = [as_pixels(to_unit(decode(vae, part * vae.config.scaling_factor))) for part in latents.split(BATCH)]
        return Truth(np.concatenate(shown), np.stack(raw), metadata)


def base_maker(base: Base, guidance: float, steps: int) -> Make:
    """Images of the base alone; an image's number is its seed."""
    pipeline = SatPipeline(
        base.load_vae(), base.load_text_encoder(), base.load_tokenizer(), base.load_unet(), base.load_sampler()
    )
    pipeline.set_progress_bar_config(disable=True)

    def make(metadata: Sequence[Request], numbers: Sequence[int]) -> Images:
        images = pipeline(
            [PROMPT] * len(numbers),
            metadata=list(metadata),
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(number) for number in numbers],
            output_type="np",
        ).images
        return as_pixels(images)

    return in_batches(make)


def control_maker(checkpoint: Path, held_out: Truth, steps: int) -> Make:
    """Images of a ControlNet; an image's number is its index in `held_out`, whose pre image is its condition."""
    trained = open_checkpoint(checkpoint)
    networks = load_generator(trained, open_base(trained), Sampling())

    def make(metadata: Sequence[Request], numbers: Sequence[int]) -> Images:
        pre = [held_out.raw[2 * number] for number in numbers]
        pairs = [
            [
                [one.get(field, np.nan) for field in METADATA_FIELDS]
                for one in (requested, held_out.metadata[2 * number])
            ]
            for requested, number in zip(metadata, numbers, strict=True)
        ]
        return generate_images(
            networks, pre, [PROMPT] * len(pre), list(numbers), Sampling(steps=steps),
            metadata=[(target, shown) for target, shown in pairs],
        )  # fmt: skip

    return in_batches(make)


def in_batches(make: Make) -> Make:
    """The same for any number of images."""

    def all_of(metadata: Sequence[Request], numbers: Sequence[int]) -> Images:
        starts = range(0, len(numbers), BATCH)
        return np.concatenate([make(metadata[i : i + BATCH], numbers[i : i + BATCH]) for i in starts])

    return all_of


def swept(make: Make, places: Sequence[Request], field: str, values: Sequence[float]) -> tuple[Images, list[Request]]:
    """Every place at every value, place by place; number k is places[k]."""
    requested = [place | {field: value} for place in places for value in values]
    return make(requested, [number for number in range(len(places)) for _ in values]), requested


def sizes(requested: Sequence[Request]) -> Values:
    """log2 of the requested pixel size, m."""
    return np.log2([one["gsd"] for one in requested])


def summers(requested: Sequence[Request]) -> Values:
    """See `summer`."""
    return np.array([summer(one) for one in requested])


def measure_base(make: Make, size_of: SizeEstimate, noises: int) -> dict[str, Trend]:
    """Vary pixel size and season over their range."""
    found = {}
    images, requested = swept(make, [NORTH] * noises, "gsd", SIZES_M)
    groups = [number for number in range(noises) for _ in SIZES_M]
    found["pixel size"] = trend(sizes(requested), size_of(images), groups)
    groups = [number for number in range(noises) for _ in MONTHS]
    for name, place in (("north", NORTH), ("south", SOUTH)):
        images, requested = swept(make, [place] * noises, "month", MONTHS)
        found[f"season, {name}"] = trend(summers(requested), greenness(images), groups)
    unknown = make([{}] * noises, range(noises))
    for name, values in (("log2 of the pixel size in m", size_of(unknown)), ("greenness", greenness(unknown))):
        print(f"all unknown: {name} {values.mean():.3f}, deviation {values.std():.3f}")
    return found


def measure_control(make: Make, held_out: Truth, size_of: SizeEstimate, places: int) -> dict[str, Trend]:
    """Own metadata; then season and pixel size requested that contradict the pre image."""
    own = held_out.metadata[1::2]
    images = make(own, range(len(own)))
    found = {"pixel size, each place its own": trend(sizes(own), size_of(images))}
    far = [number for number, one in enumerate(own) if one["lat"] > 30][:places]
    for name, field, values in (("season", "month", MONTHS), ("pixel size", "gsd", SIZES_M)):
        requested = [own[number] | {"day": 15.0, field: float(value)} for number in far for value in values]
        numbers = [number for number in far for _ in values]
        images = make(requested, numbers)
        x, y = (summers(requested), greenness(images)) if field == "month" else (sizes(requested), size_of(images))
        found[f"{name}, same pre image"] = trend(x, y, numbers)
    return found


def sheet(rows: Sequence[Images]) -> Image.Image:
    """Images in rows, enlarged twofold."""
    gap = 4
    side = rows[0].shape[1]
    width = max(len(row) for row in rows) * (side + gap) - gap
    canvas = np.full((len(rows) * (side + gap) - gap, width, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        for column, image in enumerate(row):
            top, left = number * (side + gap), column * (side + gap)
            canvas[top : top + side, left : left + side] = image
    return Image.fromarray(canvas)


def follows_metadata(
    *,
    base: str,
    dataset: Path,
    checkpoint: Path | None = None,
    noises: int = 12,
    steps: int = 25,
    limit: int = 300,
    picture: Path | None = None,
) -> None:
    """Measure whether images follow their metadata.

    Args:
        base: A base conditioned on metadata.
        dataset: Its simulated training data (`pre2post simulate --varied`, built at the base's size).
        checkpoint: A ControlNet trained on that base; evaluated too if given.
        noises: Initial noises of the base, places of the ControlNet; each is generated with every requested value.
        steps: Denoising steps.
        limit: Maximum number of true patches of a split.
        picture: A JPEG to write: rows of images over pixel sizes, months, and months with control.
    """
    opened = load_base(base)
    learned, held_out = (true_images(opened, dataset, split, limit) for split in ("train", "test"))
    size_of = fit_size(learned.images, sizes(learned.metadata))
    far = [number for number, one in enumerate(held_out.metadata) if abs(one["lat"]) > 30]
    rows = {
        "true, held out": {
            "pixel size": trend(sizes(held_out.metadata), size_of(held_out.images)),
            "season": trend(summers([held_out.metadata[number] for number in far]), greenness(held_out.images[far])),
        }
    }
    for guidance in (1.0, 3.0):
        rows[f"base, guidance {guidance:g}"] = measure_base(base_maker(opened, guidance, steps), size_of, noises)
    if checkpoint:
        rows["ControlNet"] = measure_control(control_maker(checkpoint, held_out, steps), held_out, size_of, noises)
    print("\n| images | requested | slope | r | n |\n|---|---|---|---|---|")
    for name, trends in rows.items():
        for what, found in trends.items():
            print(f"| {name} | {what} | {found.slope:.3f} | {found.r:.2f} | {found.images} |")
    if picture:
        control = control_maker(checkpoint, held_out, steps) if checkpoint else None
        draw(picture, base_maker(opened, 3.0, steps), control, held_out)


def draw(picture: Path, make: Make, control: Make | None, held_out: Truth) -> None:
    """Draw two noises over pixel sizes, two over months, two pre images over months."""
    rows = []
    for field, values in (("gsd", [0.5, 0.63, 0.89, 1.26, 1.59, 2.0]), ("month", SHOWN_MONTHS)):
        images, _ = swept(make, [NORTH] * 2, field, [float(value) for value in values])
        rows += np.split(images, 2)
    if control:
        north = [number for number, one in enumerate(held_out.metadata[1::2]) if one["lat"] > 30]
        for number in (north[0], north[len(north) // 2]):
            requested = [
                held_out.metadata[2 * number + 1] | {"month": float(month), "day": 15.0} for month in SHOWN_MONTHS[1:]
            ]
            rows.append(np.concatenate([held_out.raw[2 * number][None], control(requested, [number] * len(requested))]))
    sheet(rows).save(picture, quality=85)


if __name__ == "__main__":
    auto_cli(follows_metadata, as_positional=False)

"""From what was asked for in the page to images in a folder, by the code behind `pre2post generate`."""

import hashlib
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from PIL import Image

from app.errors import AppError
from app.models import Model, Models
from app.painting import Layer, Mask, mask_of
from app.picks import Picks
from app.pictures import check_upload, write_shown
from data.examples.condition import condition_of
from data.examples.rows import shown_metadata
from data.schema import METADATA_FIELDS
from data.storage import sha256
from generate.images.items import Item, file_items
from generate.inputs import Metadata
from generate.make import Task, make_images
from generate.output import MANIFEST, PICTURE, WORDS
from generate.run import check_options, tasks_for
from generate.sampling import Sampling
from generate.scale import window_at
from generate.scenes.scene import windowing
from models.diffusionsat.metadata import natural_metadata

MOST_LETTERS = 10_000  # of a caption; the tokenizer says how much of it is read
MOST_SAMPLES, MOST_STEPS = 8, 250
OVERLAP = 0.5  # of windows, as `pre2post generate` has it
IMAGES, SHOWN, MASK, MAPS = "images", "shown", "mask.png", "word-maps.zip"  # in the folder of a job


@dataclass(frozen=True, kw_only=True)
class Order:
    """What was asked for."""

    model: str  # one of Models.names()
    prompt: str
    upload: Path | None = None  # the pre image
    real: Path | None = None  # what it became, to compare with
    pick: str = ""  # one of Picks.names() in place of both
    painted: Sequence[Layer] | None = None  # the damage; None = the patch's own
    metadata: Mapping[str, float | None] | None = None  # of the new image, natural units of this image; None = unknown
    words: str = ""  # that get maps
    watermark: bool = False
    sampling: Sampling

    def __post_init__(self) -> None:
        """Stop at what no page sends.

        Raises:
            AppError: naming the value.
        """
        if len(self.prompt) > MOST_LETTERS:
            raise AppError(f"the caption has {len(self.prompt):,} characters; expected at most {MOST_LETTERS:,}.")
        if self.sampling.samples > MOST_SAMPLES or self.sampling.steps > MOST_STEPS:
            raise AppError(
                f"{self.sampling.samples} images of {self.sampling.steps} steps; expected at most {MOST_SAMPLES} of "
                f"{MOST_STEPS}. `pre2post generate` makes more."
            )
        if not (self.upload or self.pick):
            raise AppError("there is no pre-disaster image yet. Upload one, or pick one.")


@dataclass(frozen=True)
class Made:
    """What was made: files, and copies of them that a browser can show."""

    pre: Path
    real: Path | None
    shown: list[Path]  # one for each seed
    seeds: list[int]
    words: list[Path]  # pictures of word maps, one for each seed
    files: list[Path]  # to download


def make(order: Order, models: Models, picks: Picks, folder: Path, on_share: Callable[[float], object]) -> Made:
    """Generate.

    Args:
        order: what was asked for.
        models: that can be chosen.
        picks: that can be picked.
        folder: new, for everything that is written.
        on_share: called in every step with the share of the work that is done, 0..1; what it raises ends the run.

    Raises:
        AppError, GenerateError, CheckpointError, BaseError, MetadataError: it cannot be made; the message says why.
    """
    model, sampling = models.open(order.model), order.sampling
    if sampling.scheduler not in model.samplers:
        raise AppError(f"{model.name} is not made with {sampling.scheduler}; choose {', '.join(model.samplers)}.")
    side = model.trained.resolution
    window = side if order.pick else window_at(model.trained, side)
    covered = len(picks.patch(order.pick).pre) if order.pick else window  # px of the image for `side` of the network
    item = _picked(order, model, picks, side) if order.pick else _uploaded(order, model, folder, side, window)
    if order.metadata and model.reads_metadata:
        item = replace(item, metadata=_metadata(order.metadata, item.metadata, covered, side))
    tasks = tasks_for(
        [item],
        model.trained,
        model.parts,
        sampling,
        model.facts(),
        scene_facts={"window": window, "overlap": OVERLAP},
        watermark=order.watermark,
        word_maps=order.words or None,
        captions=False,
        method=model.method,
    )
    make_images(
        tasks,
        folder / IMAGES,
        partial(models.load, model, sampling),
        sampling,
        windowing(side, window, OVERLAP),
        watermark=order.watermark,
        overwrite=False,
        what="app",
        on_share=on_share,
    )
    return _result(order, model, picks, folder, tasks)


def _uploaded(order: Order, model: Model, folder: Path, side: int, window: int) -> Item:
    assert order.upload
    header = check_upload(order.upload)
    if order.real:
        check_upload(order.real)
    mask = None
    if order.painted is not None and condition_of(model.trained.trained, model.trained.condition).with_mask:
        mask = folder / MASK
        Image.fromarray(mask_of(order.painted, header.width, header.height)).save(mask)
    check_options(model.trained, order.upload, mask, None, None)
    (item,) = file_items(order.upload, order.prompt, model.trained, side=side, window=window, mask=mask)
    files = {"pre": order.upload} | ({"mask": mask} if mask else {})
    # Names instead of paths: those of a server are nobody's business.
    origin = {role: file.name for role, file in files.items()}
    origin |= {f"{role}_sha256": sha256(file) for role, file in files.items()}
    return replace(item, origin=lambda: origin)


def _picked(order: Order, model: Model, picks: Picks, side: int) -> Item:
    painted: Mask | None = None
    if order.painted is not None and condition_of(model.trained.trained, model.trained.condition).with_mask:
        height, width = picks.patch(order.pick).pre.shape[:2]
        painted = mask_of(order.painted, width, height)
    item = picks.item(order.pick, model.trained, side, order.prompt, painted)
    if painted is None:
        return item
    digest = hashlib.sha256(painted.tobytes()).hexdigest()
    return replace(item, origin=lambda: {**item.origin(), "painted_mask_sha256": digest})


def _metadata(given: Mapping[str, float | None], known: Metadata | None, covered: int, side: int) -> Metadata:
    """Of the new image what is given, of the pre image what the dataset says; else the same place and ground size."""
    target = shown_metadata(natural_metadata(given).tolist(), covered, side)
    same = [
        value if field in ("lon", "lat", "gsd") else math.nan
        for field, value in zip(METADATA_FIELDS, target, strict=True)
    ]
    return target, known[1] if known else same


def _result(order: Order, model: Model, picks: Picks, folder: Path, tasks: Sequence[Task]) -> Made:
    images, shown = [folder / IMAGES / task.file for task in tasks], folder / SHOWN
    pictures = [folder / IMAGES / WORDS / image.stem / PICTURE for image in images] if order.words else []
    real = write_shown(order.real, shown / "real") if order.real else None
    if order.pick:
        pre, real = picks.files(order.pick, model.target, shown / "pick")
    else:
        assert order.upload
        pre = write_shown(order.upload, shown / "pre")
    return Made(
        pre=pre,
        real=real,
        shown=[write_shown(image, shown) for image in images],
        seeds=[task.seed for task in tasks],
        words=pictures,
        files=[*images, *([_packed(folder)] if pictures else []), folder / IMAGES / MANIFEST],
    )


def _packed(folder: Path) -> Path:
    """All word maps in one file."""
    file, inside = folder / MAPS, folder / IMAGES / WORDS
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(inside.rglob("*.png")):
            archive.write(path, path.relative_to(inside))
    return file

"""Generate satellite images from prompts and metadata with a DiffusionSat (or any Stable Diffusion) base.

On a laptop: `pre2post satellite --requests images.json --base tiny --out images`
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from data.disk import look
from data.documents import read_document
from data.progress import Bar
from data.storage import locked, whole, write_text
from data.strict_json import as_json
from generate.errors import GenerateError
from generate.generator import check_finite
from generate.progress import progress, step_reporter
from generate.satellite_items import SatelliteItem, read_items
from models import load_base
from models.diffusionsat.pipeline import SatPipeline
from models.images import as_pixels

MADE = "made.json"


class Noted(TypedDict):
    """An entry of `made.json`: a `SatelliteItem` and its base."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    output: str


NOTED = TypeAdapter(list[Noted])


def satellite(*, requests: Path, base: str, out: Path, half_precision: bool = False, overwrite: bool = False) -> None:
    """Generate the images listed in a JSON file from prompts and metadata.

    The file is a list of objects: prompt and output (a file name, .png); and, optionally, metadata (an
    object with any of lon, lat in degrees, gsd in metres per pixel, cloud_cover 0..1, year, month, day), steps (50),
    guidance (7.5; 1 = none), size (px, or [width, height]), seed (0). The initial noise comes from
    `torch.Generator("cpu").manual_seed(seed)`. `made.json` in the folder records how each image was made.

    Args:
        requests: The JSON file.
        base: A diffusers folder, a clean DiffusionSat folder (`pre2post convert`), a hub id, or `tiny`.
        out: The output folder.
        half_precision: Run the networks in float16 (bfloat16 on a CPU); metadata stays float32.
        overwrite: Replace images of the same names.
    """
    wanted = read_items(requests)
    with locked(out):
        look(out)
        found = sorted(item.output for item in wanted if (out / item.output).exists())
        if found and not overwrite:
            raise GenerateError(
                f"out {out} already contains {', '.join(found[:3])}. Add --overwrite, or name another folder."
            )
        made = _earlier(out / MADE, {item.output for item in wanted})
        pipeline = _pipeline(base, half_precision)
        with progress(len(wanted), "satellite", "image") as bar:
            for item in wanted:
                _make(pipeline, item, out / item.output, bar)
                made.append({**vars(item), "base": base})
                write_text(out / MADE, as_json(made))
                bar.update()
    print(f"{len(wanted)} image{'s' * (len(wanted) != 1)} in {out}")


def _pipeline(name: str, half_precision: bool) -> SatPipeline:
    base = load_base(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32
    if half_precision:
        dtype = torch.float16 if device == "cuda" else torch.bfloat16
    pipeline = SatPipeline(
        vae=base.load_vae(dtype),
        text_encoder=base.load_text_encoder(dtype),
        tokenizer=base.load_tokenizer(),
        unet=base.load_unet(dtype),
        scheduler=base.load_sampler(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)  # type: ignore[no-any-return]


def _make(pipeline: SatPipeline, item: SatelliteItem, path: Path, bar: Bar) -> None:
    width, height = item.size or (None, None)

    report = step_reporter(bar, item.steps)

    images = pipeline(
        item.prompt,
        metadata=item.metadata or None,
        width=width,
        height=height,
        num_inference_steps=item.steps,
        guidance_scale=item.guidance,
        generator=torch.Generator("cpu").manual_seed(item.seed),
        on_step=lambda done, latents: report(done),
        output_type="np",
    ).images
    check_finite(images, [item.seed])
    with whole(path) as file:
        Image.fromarray(as_pixels(images)[0]).save(file, format="PNG")


def _earlier(path: Path, replaced: set[str]) -> list[Mapping[str, Any]]:
    """The entries of earlier runs for the images that stay."""
    if not path.exists():
        return []
    fix = "It was not written by pre2post satellite. Name another folder with --out."
    return [entry for entry in read_document(path, NOTED, fix, GenerateError) if entry["output"] not in replaced]

"""Make a folder that others can load, with a model card, out of a checkpoint.

On a laptop: `pre2post publish --checkpoint runs/first --out first-controlnet`
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from data.errors import DataError
from data.examples.condition import CONDITIONS
from data.storage import foreign, reraise_disk_errors, sha256, whole_folder
from data.strict_json import as_json
from generate.checkpoint import PARTS, Checkpoint, open_base, open_checkpoint, solved
from generate.sampling import PUBLISHED
from models import Base
from models.checkpoint import MANIFEST, is_ours, read_state, seal, trained_state
from models.lora import KOHYA
from models.samplers import stock_sampler
from publish.card import PICTURES, is_hub_id, model_card
from publish.errors import PublishError
from publish.hub import check_repository, push
from publish.measured import Measured, read_measured
from publish.origin import TINY, Origin, origin_of
from publish.snippet import Use, stock_of

CARD, SCHEDULER = "README.md", "scheduler"
TINY_FOLDER = "models/tiny"  # of a clone of this project
PROMPT = "a fmow satellite image after being affected by a flooding natural disaster"
SOURCE = "published_from"  # field of state.json: the hash of the checkpoint's own manifest


def publish(
    *,
    checkpoint: Path,
    out: Path,
    base: str | None = None,
    base_id: str | None = None,
    dataset: Path | None = None,
    results: Path | None = None,
    licence: str | None = None,
    pictures: Literal["simulated", "any", "none"] = "simulated",
    half: bool = False,
    push_to_hub: str | None = None,
    overwrite: bool = False,
) -> None:
    """Make a folder to share out of a checkpoint: ControlNet and LoRA, the sampler, a model card with how to load it.

    Nothing of the optimizer and no path of this machine goes in; averaged weights go in where there are any. The folder
    is itself a checkpoint for `pre2post generate`. Nothing leaves this machine without --push-to-hub.

    Args:
        checkpoint: A run folder (its newest intact checkpoint is used) or one of its checkpoints/step-*.
        out: The folder to write.
        base: Where the base is now: a diffusers folder, hub id, or `tiny`; by default where the training found it.
        base_id: Where others find the base, for the card; by default its hub id. Needed if it is a folder here.
        dataset: Where the dataset of the training is now; it decides licence and pictures.
        results: The folder of a `pre2post evaluate` of this checkpoint: its numbers and sampling go into the card.
        licence: Of weights that are not trained on xBD, as the hub writes it, such as apache-2.0.
        pictures: Pictures of the validation of this step: of simulated scenes only, of any (check that you may share
            them: xBD's are CC BY-NC-SA 4.0), or none.
        half: Weights in float16: half as large; images change by a few grey levels at most.
        push_to_hub: ORGANISATION/NAME on the Hugging Face hub; a new repository is private. Read the card first: the
            same command with this option pushes the folder that is there, with your edits of README.md.
        overwrite: Replace a folder that an earlier publish wrote.
    """
    if push_to_hub:
        check_repository(push_to_hub)
    trained = open_checkpoint(checkpoint)
    if out.exists() and push_to_hub and not overwrite:
        _check_is_of(out, trained)
    else:
        _check_out(out, overwrite)
        origin = origin_of(trained, dataset, licence)
        measured = read_measured(results, trained) if results else None
        parts = open_base(trained, base)
        use = Use(
            trained,
            base=base_id or _base_id(trained),
            weights=push_to_hub or out.name,
            prompt=(measured and measured.prompt) or PROMPT,
            sampling=measured.sampling if measured else solved(PUBLISHED, trained),
            stock=stock_of(trained, parts),
        )
        _write(out, use, parts, origin, measured, _sheet(trained, origin, pictures), half=half)
        print(f"{out}: {', '.join(PARTS[trained.trained])}, {SCHEDULER}, {CARD}. Licence: {origin.licence}.")
    if push_to_hub:
        print(push(out, push_to_hub, _files(out)))
    else:
        print(f"Read {out / CARD}. To share it: the same command with --push-to-hub ORGANISATION/NAME")


def is_published(name: str) -> bool:
    """Whether this command could have written a file or folder of this name, relative to `out`."""
    return is_ours(name) or name in (CARD, PICTURES) or re.fullmatch(rf"{SCHEDULER}(/\w+\.json)?", name) is not None


def _base_id(trained: Checkpoint) -> str:
    if trained.base == TINY:
        return TINY_FOLDER
    if not is_hub_id(trained.base) or Path(trained.base).exists():
        raise PublishError(
            f"{trained.folder}: its base is {trained.base}, a folder of this machine. Name where others find it: "
            "--base-id ORGANISATION/NAME."
        )
    return trained.base


def _check_out(out: Path, overwrite: bool) -> None:
    """Stop unless `out` does not exist, or is a published folder that may be replaced."""
    if not out.exists():
        return
    if not out.is_dir() or not (out / MANIFEST).is_file() or (others := foreign(out, is_published)):
        held = f" ({others[0]})" if out.is_dir() and (others := foreign(out, is_published)) else ""
        raise PublishError(f"out is {out}: it exists and is not (only) a published folder{held}. Name another.")
    if not overwrite:
        raise PublishError(
            f"out is {out}: it exists. Add --overwrite to write it again, --push-to-hub to push it as it is."
        )


def _check_is_of(out: Path, trained: Checkpoint) -> None:
    """Stop unless the folder was published from this checkpoint and is intact."""
    there = read_state(open_checkpoint(out).folder)
    if there.get(SOURCE) != trained.described()["checkpoint_sha256"]:
        raise PublishError(f"out is {out}: was not published from {trained.folder}. Name another, or add --overwrite.")
    print(f"{out} is pushed as it is.")


def _sheet(trained: Checkpoint, origin: Origin, pictures: str) -> Path | None:
    """The contact sheet of the checkpoint's validation, if it may be shown."""
    run = trained.folder.resolve().parents[1]
    sheet = run / "validation" / trained.folder.resolve().name / "images.png"
    wanted = pictures == "any" or (pictures == "simulated" and origin.simulated)
    return sheet if wanted and sheet.is_file() else None


def _write(
    out: Path, use: Use, base: Base, origin: Origin, measured: Measured | None, sheet: Path | None, *, half: bool
) -> None:
    trained = use.checkpoint
    with reraise_disk_errors(out), whole_folder(out, is_published) as partial:
        for part in PARTS[trained.trained]:
            shutil.copytree(trained.weights / part, partial / part)
            _without_paths(partial / part / "config.json")
            if CONDITIONS[trained.condition].latents:  # no other tool has such a ControlNet
                (partial / part / KOHYA).unlink(missing_ok=True)
            if half:
                _in_half(partial / part)
        seal(partial, _state(trained, use.base))
        sampler = base.load_sampler(use.scheduler, trained.zero_terminal_snr)
        stock_sampler(use.scheduler).from_config(sampler.config).save_pretrained(partial / SCHEDULER)
        _without_paths(partial / SCHEDULER / "scheduler_config.json")
        if sheet:
            with Image.open(sheet, formats=("PNG",)) as image:
                image.convert("RGB").save(partial / PICTURES)
        model_card(use, origin, measured, pictures=sheet is not None).save(partial / CARD)


def _state(trained: Checkpoint, base: str) -> dict[str, Any]:
    """What generating needs, without what is of this machine only."""
    state: dict[str, Any] = dict(trained_state(trained.folder))
    data = {name: trained.trained_on[name] for name in ("split", "leave_out")}
    name = trained.base if trained.base == TINY else base
    return state | {
        "base": {"name": name, "unet_sha256": trained.unet_sha256},
        "config": {"data": data},
        SOURCE: sha256(trained.folder / MANIFEST),
    }


def _in_half(part: Path) -> None:
    """Round weights to float16, in place."""
    for path in part.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            header, weights = file.metadata(), {name: file.get_tensor(name).half() for name in file.keys()}
        save_file(weights, path, metadata=header)


def _without_paths(config: Path) -> None:
    """Drop the folder of this machine that diffusers has noted in a config file."""
    if config.is_file():
        content = json.loads(config.read_bytes())
        content.pop("_name_or_path", None)
        config.write_text(as_json(content, 2), encoding="utf-8")


def _files(out: Path) -> list[str]:
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    if others := [name for name in names if not is_published(name)]:
        raise DataError(f"{out}: {others[0]} in it is not of a published folder. Move it away; nothing was pushed.")
    return names

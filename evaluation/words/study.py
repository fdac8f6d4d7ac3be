"""`pre2post evaluate --study words`: do the maps of damage words lie on the damage of the patch?

docs/word-maps.md has the protocol, and what may be concluded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.dataset.open import open_dataset
from data.imagery.pixels import resize_mask
from evaluation.errors import EvaluationError
from evaluation.output import IMAGES, REPORT
from evaluation.seen import note_of_seen, trained_scenes
from evaluation.words.measures import DAMAGE_WORDS, UNKNOWN, WORDS, Answer, by_chance, conclude, scored
from evaluation.words.report import Study, render, write_study
from generate.checkpoint import Checkpoint, open_base
from generate.images.items import Item, patch_items, spread
from generate.make import file_name
from generate.output import WORDS as FOLDER
from generate.sampling import Sampling
from generate.words.asked import places_of
from generate.words.maps import map_file

MADE = ("generated", "base")
NETWORKS = ("both", "unet", "controlnet")
PATCHES = 24  # unless --limit says otherwise
COUNTS = ("minor_damage", "major_damage", "destroyed")


def study_words(
    out: Path,
    trained: Checkpoint,
    dataset: Path,
    split: str,
    limit: int | None,
    sampling: Sampling,
    settings: dict[str, Any],
    make: Callable[..., object],
    main_process: bool,
) -> None:
    """Make the images and maps that are missing, measure all, write and print.

    Args:
        out: the folder to write.
        trained: the checkpoint.
        dataset: a built dataset.
        split: of it.
        limit: so many of the patches that fit, evenly spread; None = PATCHES.
        sampling: how the images are sampled.
        settings: what the outputs say of checkpoint, dataset and sampling.
        make: makes the images of some items by some methods below `out`, with the maps of the words of each prompt.
        main_process: whether this process measures and writes.

    Raises:
        EvaluationError: no patch has both damage and a word for it in its caption.
    """
    side = sampling.size or trained.resolution
    rows = open_dataset(dataset, split)
    tokenizer = open_base(trained, settings["base"]).load_tokenizer()
    items = [item for item in patch_items(dataset, split, trained, side=side, limit=None) if _damaged(rows, item.key)]
    words = {
        prompt: [word for word in WORDS if places_of(tokenizer, prompt, word, trained.text_chunks)]
        for prompt in {item.prompt for item in items}
    }
    fitting = [item for item in items if any(word in DAMAGE_WORDS for word in words[item.prompt])]
    if not fitting:
        raise EvaluationError(
            f"{dataset}: no patch of split {split!r} has damaged buildings and a caption of style "
            f"{trained.caption_style!r} with one of the words {', '.join(DAMAGE_WORDS)}. Name another split, or train "
            "with captions that name the damage (`short`)."
        )
    chosen = [fitting[i] for i in spread(len(fitting), PATCHES if limit is None else limit)]
    make(chosen, MADE, words=words)
    if not main_process:
        return
    answers = list(_answers(out, rows, chosen, words, side, sampling.samples))
    scenes = {item.key: rows[item.key]["scene_id"] for item in chosen}
    notes = note_of_seen(scenes.values(), "The checkpoint", trained_scenes(trained.trained_on, dataset))
    settings = settings | {"patches": len(scenes), "scenes": len(set(scenes.values())), "notes": notes}
    study = Study(settings, answers, conclude(answers, scenes), {item.key: item.name for item in chosen})
    write_study(out, study, lambda position: resize_mask(rows[position]["damage_mask"], side))
    print(render(study))
    print(f"Look at {out / REPORT}")


def _damaged(rows: datasets.Dataset, position: int) -> bool:
    row = rows.select_columns(["labels", "counts"])[position]
    return row["labels"] in ("both", "post") and any(row["counts"][name] for name in COUNTS)


def _answers(
    folder: Path,
    rows: datasets.Dataset,
    items: Sequence[Item],
    words: Mapping[str, Sequence[str]],
    side: int,
    samples: int,
) -> Iterator[Answer]:
    masks = rows.select_columns(["damage_mask"])
    for item in items:
        damage = resize_mask(masks[item.key]["damage_mask"], side)
        known = damage != UNKNOWN
        for word in words[item.prompt]:
            region = np.isin(damage, WORDS[word])
            if not region[known].any() or region[known].all():
                continue
            for method in MADE:
                for sample in range(samples):
                    maps = folder / IMAGES / method / FOLDER / Path(file_name(item.name, sample)).stem
                    for network in NETWORKS:
                        if (path := maps / map_file(word, network)).is_file():
                            score, chance = scored(_grey(path), region, known), by_chance(region, known)
                            yield Answer(method, network, item.key, word, sample, score, chance)


def _grey(path: Path) -> NDArray[np.uint8]:
    with Image.open(path, formats=("PNG",)) as image:
        return np.asarray(image)

"""What false captions cost a ControlNet, and what checking them is worth (docs/captions.md).

    python -m benchmarks.studies.corrupted_captions --work runs/captions

Trainings on the tiny base for each style, from the same three seeds, on simulated scenes. `labels` are the builder's
short captions; `false20` and `false50` have a fifth and half of them replaced by that of another patch, which says
something else; `checked50` is what `pre2post caption --recheck` lets pass of `false50`, and a caption from the labels
(`placed`) for the rest, as `pre2post caption` writes it. On held-out patches, always with the same noise: the loss with
true captions, and its rise with those of other patches, which is how much the words matter. Each seed is shown, as they
differ more than the scenes do. The same command resumes where it was stopped.
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.studies.sequence_length import measure
from caption.recheck import recheck
from data.build import build
from data.dataset.open import open_dataset
from data.simulation.simulate import simulate
from train.config import Config
from train.config_file import parse_config
from train.loop import train

STYLES = ("labels", "false20", "false50", "checked50")
FALSE_SHARE = {"labels": 0.0, "false20": 0.2, "false50": 0.5, "others": 1.0}
COLUMNS = ["patch_id", "captions"]


def main() -> None:
    """Compute what is missing, print the table and write it to WORK/results.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=60, help="simulated; every fifth is held out")
    parser.add_argument("--steps", type=int, default=500, help="optimizer steps of each training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each style")
    options = parser.parse_args()
    work = options.work
    results: dict[str, list[dict[str, float]]] = {style: [] for style in STYLES}
    dataset = captioned(work, options.scenes)
    for seed, style in itertools.product(range(options.seeds), STYLES):
        settings = partial(experiment, work, dataset, style, seed, options.steps)
        if train(settings(style)):
            return  # interrupted
        losses = [float(np.mean(measure(settings(said))["losses"])) for said in ("labels", "others")]
        results[style].append({"loss": losses[0], "rise": losses[1] - losses[0]})
    (work / "results.json").write_text(json.dumps(results, indent=1))
    print(table(results))


def captioned(work: Path, scenes: int) -> Path:
    """A dataset with every style, made once."""
    dataset, plain, release = work / "dataset", work / "plain", work / "release"
    if not dataset.exists():
        if not release.exists():
            simulate(out=release, scenes=scenes, seed=0)
        if not plain.exists():
            build(source=release, out=plain, size=256)
        lines = list(written(plain))
        (work / "false50.jsonl").write_text(as_lines(line for line in lines if line["style"] == "false50"))
        recheck(plain, work / "false50.jsonl", work / "passed.jsonl")
        lines += checked(plain, work / "passed.jsonl")
        (work / "captions.jsonl").write_text(as_lines(lines))
        build(source=release, out=dataset, size=256, captions=work / "captions.jsonl")
    return dataset


def written(dataset: Path) -> Iterator[dict[str, str]]:
    """Captions of every style but the checked one; those of the pre images are true."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        rows = open_dataset(dataset, split).select_columns(COLUMNS).to_list()
        said = [text_of(row, "short", "post") for row in rows]
        for row, own in zip(rows, said, strict=True):
            others = [text for text in said if text != own]
            other, chance = others[rng.integers(len(others))], rng.random()
            for style, share in FALSE_SHARE.items():
                yield line_of(row, style, "post", other if chance < share else own)
                yield line_of(row, style, "pre", text_of(row, "short", "pre"))


def checked(dataset: Path, passed: Path) -> Iterator[dict[str, str]]:
    """What passed, and the builder's `placed` captions for the rest."""
    lines = [json.loads(line) for line in passed.read_text().splitlines()]
    texts = {(line["patch_id"], line["target"]): line["text"] for line in lines}
    for split in ("train", "test"):
        for row in open_dataset(dataset, split).select_columns(COLUMNS):
            for target in ("pre", "post"):
                kept = texts.get((row["patch_id"], target))
                placed = entry_of(row, "placed", target)
                sides = {"mirrored": placed["mirrored"]} if placed["mirrored"] and not kept else {}
                yield line_of(row, "checked50", target, kept or placed["text"]) | sides


def entry_of(row: dict[str, Any], style: str, target: str) -> dict[str, Any]:
    """The first caption of a style."""
    return next(entry for entry in row["captions"] if (entry["style"], entry["target"]) == (style, target))


def text_of(row: dict[str, Any], style: str, target: str) -> str:
    """Its text."""
    return str(entry_of(row, style, target)["text"])


def line_of(row: dict[str, Any], style: str, target: str, text: str) -> dict[str, str]:
    """A line for `pre2post build --captions`."""
    return {"patch_id": row["patch_id"], "style": style, "target": target, "text": text}


def as_lines(entries: Iterator[dict[str, str]] | list[dict[str, str]]) -> str:
    """JSON Lines."""
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def experiment(work: Path, dataset: Path, style: str, seed: int, steps: int, said: str) -> Config:
    """Training with captions of one style, or measuring with those of another: configs/demo.yaml at half its side."""
    settings: dict[str, Any] = {
        "data.dataset": dataset,
        "data.resolution": 64,
        "data.caption_styles": f"{{{said}: 1}}",
        "model.base": "tiny",
        "train.steps": steps,
        "train.global_batch": 8,
        "train.micro_batch": 8,
        "train.learning_rate": 1.2e-3,
        "train.warmup_steps": steps // 20,
        "train.decay_steps": steps * 6 // 10,
        "train.ema_decay": 0.99,
        "train.precision": "fp32",
        "train.seed": seed,
        "validation.split": "test",
        "validation.examples": 100_000,
        "validation.images": 0,
        "run.out": work / f"{style}-seed-{seed}",
        "run.cache": work / "cache",
        "run.log_every": 50,
        "run.save_every": 200,
        "run.keep_last": 1,
        "run.workers": 1,
        "run.trackers": "[]",
    }
    return parse_config([f"--{name}={value}" for name, value in settings.items()])


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: the mean over the seeds, and each of them."""
    lines = [
        "| captions | loss | by seed | rise with false words | by seed |",
        "|---|---:|---|---:|---|",
    ]
    for style, found in results.items():
        cells = []
        for name in ("loss", "rise"):
            values = [each[name] for each in found]
            cells += [f"{np.mean(values):.4f}", ", ".join(f"{value:.4f}" for value in values)]
        lines.append(f"| {style} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

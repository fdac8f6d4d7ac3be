"""The start of a training that finds the cache of a large dataset whole, beside listing the cache's files.

    python -m benchmarks.speed.cache_start --work OUT

The dataset is a simulated one whose rows are repeated, with images of a few pixels; its latents are random numbers.
Every turn is a separate process, because libraries and the kernel keep what was read before.
"""

import io
import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from jsonargparse import auto_cli
from PIL import Image

from benchmarks.results import RESULTS, write_section
from benchmarks.speed.train_step import simulated_dataset
from benchmarks.watch import processor_seconds
from data.dataset.open import open_dataset
from models import load_base
from train.config import Config, DataConfig, ModelConfig, RunConfig, TrainConfig
from train.inputs.cache import FORMAT, PACK
from train.inputs.examples import captioned, prepare_examples
from train.inputs.packs import hashed, write_pack
from train.loop import data_loader
from train.networks import noise_schedule
from train.stages import stages_of

SIDE = 32  # px, of the images that are in the cache
WORKERS = (0, 2, 4)
PARTS = (
    "files listed",
    "dataset opened",
    "captions read",
    "cache found",
    *(f"first batch, {number} workers" for number in WORKERS),
)


def cache_start(
    *, work: Path, patches: int = 88_000, captions: int = 10_000, turns: int = 5, results: Path = RESULTS
) -> None:
    """Make dataset and cache, measure in turns, write a section.

    Args:
        work: folder outside the repository for both, half a gigabyte; existing ones are reused.
        patches: of the dataset, each with its own latents in the cache.
        captions: different ones of them.
        turns: processes.
        results: the file to write to.
    """
    dataset = work / f"dataset-{patches}-{captions}"
    if not dataset.exists():
        repeat(simulated_dataset(work), dataset, patches, captions)
        fill_latents(dataset, work / "cache")
        _measure(work, dataset)  # encodes the captions, opens the dataset for the first time
    found = [_measure(work, dataset) for _ in range(turns)]
    rows = ["| part of the start | processor seconds of all processes, median (each turn) |", "|---|---|"]
    for part in PARTS:
        each = [one[part] for one in found]
        rows.append(f"| {part} | {median(each):.2f} ({', '.join(f'{seconds:.2f}' for seconds in each)}) |")
    files = len(list((work / "cache/latents").iterdir()))
    title = f"A full cache found: {patches:,} patches, {captions:,} captions, {files:,} files of latents"
    write_section(title, "\n".join(rows), results)


def repeat(small: Path, out: Path, patches: int, captions: int) -> None:
    """Write a built dataset that has the rows of another one again and again, each with its own name and images."""
    (shard,) = (small / "data").glob("train-*.parquet")
    table = pq.read_table(shard)
    rows, parts = table.num_rows, []
    dot = io.BytesIO()
    Image.new("RGB", (8, 8)).save(dot, "png")
    image = {"bytes": dot.getvalue(), "path": None}
    listed = table["captions"].to_pylist()
    for start in range(0, patches, rows):
        here = table.slice(0, min(rows, patches - start))
        numbers = range(start, start + here.num_rows)
        new = {
            "patch_id": [f"{_scene_of(n)}_0000_0000_0256" for n in numbers],
            "scene_id": [_scene_of(n) for n in numbers],
            "pre": [image] * len(numbers),
            "post": [image] * len(numbers),
            "pre_sha256": [sha256(f"pre {n}".encode()).hexdigest() for n in numbers],
            "post_sha256": [_hash_of(n) for n in numbers],
            "captions": [
                [one | {"text": f"{one['text']} No. {n % captions}."} for one in each]
                for n, each in zip(numbers, listed, strict=False)
            ],
        }
        for name, values in new.items():
            field = table.schema.field(name)
            here = here.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
        parts.append(here)
    (out / "data").mkdir(parents=True)
    pq.write_table(pa.concat_tables(parts), out / "data" / shard.name, row_group_size=1000)
    shutil.copy(small / "dataset.json", out)


def fill_latents(dataset: Path, folder: Path) -> None:
    """Write random latents under the keys that a training of SIDE px asks for."""
    base = load_base("tiny")
    shape = (base.config("vae")["latent_channels"], *[SIDE // base.vae_scale_factor] * 2)
    (folder / "latents").mkdir(parents=True)
    vae, patches = base.weights_hash("vae"), pq.read_metadata(next((dataset / "data").iterdir())).num_rows
    for start in range(0, patches, PACK):
        numbers = range(start, min(start + PACK, patches))
        keys = [hashed([FORMAT, _hash_of(n), False, SIDE, vae]) for n in numbers]
        entries = {name: torch.rand(len(keys), *shape) for name in ("mean", "std")}
        write_pack(folder / "latents", keys, entries)


def _scene_of(number: int) -> str:
    return f"simulated-flooding_{number:08d}"


def _hash_of(number: int) -> str:
    return sha256(f"post {number}".encode()).hexdigest()


def _measure(work: Path, dataset: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.speed.cache_start", "measure", str(work / "cache"), str(dataset)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(output.splitlines()[-1], flush=True)
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def _start(cache: Path, dataset: Path) -> dict[str, float]:
    """Processor seconds of every part, as a training goes through them; workers have ended then."""
    found, started = {}, processor_seconds()

    def done(part: str) -> None:
        nonlocal started
        found[part] = processor_seconds() - started
        started = processor_seconds()

    with os.scandir(cache / "latents") as files:
        sum(file.stat().st_size for file in files)
    done(PARTS[0])
    config = Config(
        data=DataConfig(dataset=dataset, resolution=SIDE, mirror=False),
        model=ModelConfig(base="tiny"),
        train=TrainConfig(global_batch=4, micro_batch=4),
        run=RunConfig(out=dataset, cache=cache),
    )
    patches = open_dataset(dataset, "train")
    done(PARTS[1])
    base, accelerator = load_base("tiny"), Accelerator(cpu=True)
    (stage,) = stages_of(config)
    started = processor_seconds()
    read = captioned(config, stage, patches)
    done(PARTS[2])
    examples = prepare_examples(accelerator, config, stage, base, noise_schedule(base, False), patches, read)
    done(PARTS[3])
    for number, part in zip(WORKERS, PARTS[4:], strict=True):
        list(data_loader(examples, [[0, 1, 2, 3]] * max(1, number), number))  # type: ignore[arg-type]
        done(part)
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(_start(*map(Path, sys.argv[2:]))))
    else:
        auto_cli(cache_start, as_positional=False)

"""A script that trains through accelerate is timed as it is: its own steps, its own losses."""

import json
import runpy
import sys
from pathlib import Path

import datasets
import pytest
from accelerate import Accelerator

from benchmarks.speed.train_step import example, write_pairs
from tests.data.conftest import tiny_dataset

__all__ = ["tiny_dataset"]

SCRIPT = """
import argparse
from accelerate import Accelerator
parser = argparse.ArgumentParser()
for name in ("pretrained_model_name_or_path", "train_data_dir", "resolution", "train_batch_size", "mixed_precision",
             "dataloader_num_workers", "max_train_steps", "checkpointing_steps", "output_dir"):
    parser.add_argument(f"--{name}")
parser.parse_args()
accelerator = Accelerator(cpu=True)
for step in range(1, 7):
    accelerator.log({"loss": 0.5 * step, "lr": 1e-5}, step=step)
"""


def test_every_window_of_a_script_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    size = {"resolution": 32, "batch": 2, "window": 3, "workers": 0}
    module, out, *others = example(Path("base"), Path("pairs"), script, "fp32", **size)
    for name in ("log", "init_trackers"):
        monkeypatch.setattr(Accelerator, name, getattr(Accelerator, name))  # restored after the test
    monkeypatch.setattr(sys, "argv", [module, f"{out}={tmp_path}", *others])
    runpy.run_module(module, run_name="__main__")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(3, 1.5), (6, 3.0)]
    assert all(line["examples_per_second"] > 0 and line["peak_memory_gb"] > 0 for line in lines)


def test_pairs_are_what_a_patch_shows(tmp_path: Path, tiny_dataset: Path) -> None:
    write_pairs(tiny_dataset, tmp_path / "pairs")
    read = datasets.load_dataset("parquet", data_files=str(tmp_path / "pairs/train.parquet"), split="train")
    original = datasets.load_dataset(str(tiny_dataset), split="train")
    assert read.column_names == ["image", "conditioning_image", "text"]
    for pair, patch in zip(read, original, strict=True):
        assert pair["image"].tobytes() == patch["post"].tobytes()
        assert pair["conditioning_image"].tobytes() == patch["pre"].tobytes()
        assert ("short", "post", pair["text"]) in [
            (one["style"], one["target"], one["text"]) for one in patch["captions"]
        ]

"""What was trained on is not measured on without a word."""

import json
from pathlib import Path
from typing import Any

import pytest

from data.dataset.open import open_dataset
from evaluation.damage.model import DamageCard, DamageModel, save_damage_model
from evaluation.damage.network import DamageNetwork
from evaluation.prompts.study import calibration_rows
from evaluation.run import evaluate
from evaluation.seen import seen_by_model, trained_scenes
from generate.checkpoint import open_checkpoint
from generate.sampling import Sampling
from models.checkpoint import TrainedOn, read_state, step_folder, write_checkpoint
from tests.generate.worlds import EVENTS, patch_row, write_dataset, write_micro_checkpoint

HERE = "f" * 64  # fingerprint of the datasets of these tests


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes of four events to train on, two more to test on."""
    rows = [patch_row(i) for i in range(6)]
    return write_dataset(tmp_path_factory.mktemp("data") / "d", rows[:4], "train", test=rows[4:])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, micro_base: Path) -> Path:
    """A checkpoint trained in two stages, the second on that dataset without one event."""
    run = write_micro_checkpoint(tmp_path_factory.mktemp("trained") / "run", micro_base)
    state = read_state(step_folder(run / "checkpoints", 10)) | {"dataset_fingerprint": f"{'0' * 64}+{HERE}", "step": 20}
    state["config"] = {"data": {"split": "train", "leave_out": []}}
    source = step_folder(run / "checkpoints", 10) / "controlnet"

    def copy(folder: Path) -> None:
        (folder / "controlnet").mkdir()
        for file in source.iterdir():
            (folder / "controlnet" / file.name).write_bytes(file.read_bytes())

    write_checkpoint(step_folder(run / "checkpoints", 20), state, copy)
    return run


def test_scenes_that_a_checkpoint_has_seen(data: Path, trained: Path) -> None:
    """Those of its split, whatever the stage; none of another dataset."""
    trained_on = open_checkpoint(trained).trained_on
    assert trained_on == {"datasets": ["0" * 64, HERE], "split": "train", "leave_out": []}
    assert trained_scenes(trained_on, data) == {patch_row(i)["scene_id"] for i in range(4)}
    other: TrainedOn = {"datasets": ["0" * 64], "split": "train", "leave_out": []}
    assert trained_scenes(other, data) == set()
    assert trained_scenes({**other, "earlier": [trained_on]}, data) == trained_scenes(trained_on, data)


def test_events_left_out_are_not_seen(data: Path) -> None:
    """As in leave-one-out, which measures within the split that it trains on."""
    manifest = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps(manifest | {"events": dict.fromkeys(EVENTS)}))
    seen = trained_scenes({"datasets": [HERE], "split": "train", "leave_out": [EVENTS[1]]}, data)
    assert seen == {patch_row(i)["scene_id"] for i in (0, 2, 3)}


def test_an_evaluation_on_what_was_trained_on_says_so(data: Path, trained: Path, tmp_path: Path) -> None:
    """By the checkpoint or by the damage model, in results and report; a fair one says nothing."""
    model = DamageModel(DamageNetwork(8), DamageCard(width=8, resolution=32, patch_px=64))
    facts: dict[str, Any] = {"dataset_fingerprint": "0" * 64, "split": "train"}
    facts |= {"synthetic": {"dataset_fingerprint": HERE, "split": "test"}}
    save_damage_model(tmp_path / "model", model, facts)
    arguments: dict[str, Any] = {"checkpoint": trained, "dataset": data, "networks": "none", "methods": "copy"}
    heard = {}
    for split in ("train", "test"):
        out = tmp_path / split
        evaluate(**arguments, out=out, split=split, damage_model=str(tmp_path / "model"), sampling=Sampling(steps=1))
        notes = json.loads((out / "results.json").read_text())["notes"]
        heard[split] = [note.split(":")[0] for note in notes if "trained on" in note]
        assert all(note in (out / "report.html").read_text() for note in heard[split])
    assert heard == {
        "train": ["The checkpoint was trained on 4 of the 4 scenes evaluated here"],
        "test": ["The damage model was trained on 2 of the 2 scenes evaluated here"],
    }


def test_scenes_that_a_damage_model_has_seen(data: Path) -> None:
    """Of real and of synthetic pairs; a card that says nothing is no obstacle."""
    real, made = ({patch_row(i)["scene_id"] for i in places} for places in (range(4), (4, 5)))
    card = {"dataset_fingerprint": HERE, "split": "train", "synthetic": {"dataset_fingerprint": HERE, "split": "test"}}
    assert seen_by_model(card, data) == real | made
    assert seen_by_model(card | {"synthetic": None}, data) == real
    assert seen_by_model({}, data) == set()


@pytest.mark.parametrize(("train", "split"), [(0, "test"), (4, "test"), (4, "train")])
def test_calibration_is_tried_on_other_scenes(tmp_path: Path, train: int, split: str) -> None:
    """Whether there is a split to train on, and also when the study is of that very split; only labelled patches."""
    rows = [patch_row(i, scene_id=f"s{i // 2}") for i in range(12)]
    rows[1]["labels"] = "none"
    splits = {"train": rows[:train], "test": rows[train:]} if train else {"test": rows}
    name, *others = splits
    dataset = write_dataset(tmp_path / "d", splits[name], name, **{other: splits[other] for other in others})
    known, held_out = calibration_rows(dataset, split, open_dataset(dataset, split))
    of_known, of_held_out = ({row["scene_id"] for row in part} for part in (known, held_out))
    assert of_known
    assert of_held_out
    assert not of_known & of_held_out
    assert patch_row(1)["patch_id"] not in [row["patch_id"] for row in (*known, *held_out)]
    expected = {0: 12, 4: 12 if split == "test" else 4}[train]
    assert len(known) + len(held_out) == expected - 1


def test_one_scene_leaves_nothing_to_try_on(tmp_path: Path) -> None:
    """Then the agreement is unknown, and said to be."""
    dataset = write_dataset(tmp_path / "d", [patch_row(i, scene_id="s") for i in range(3)])
    known, held_out = calibration_rows(dataset, "test", open_dataset(dataset, "test"))
    assert (len(known), held_out) == (3, [])

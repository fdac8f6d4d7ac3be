"""The usefulness test: which models are trained on what, and what the table makes of their scores."""

import hashlib
import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from data.errors import DataError
from data.storage import locked
from evaluation.damage.model import DamageCard, DamageModel, save_damage_model
from evaluation.damage.network import DamageNetwork
from evaluation.damage.score import ERRORS, JUDGED
from evaluation.damage.table import Score, mean_over_seeds, usefulness_tables
from evaluation.damage.usefulness import drawn_scenes, planned, usefulness
from evaluation.errors import EvaluationError
from evaluation.estimate import interval
from evaluation.options import Training
from tests.generate.worlds import patch_row, write_dataset

SHORT = Training(steps=2, batch=2, width=8)


def write_synthetic(folder: Path, **changes: object) -> Path:
    """Two pairs of noise, as `pre2post synthesize` lays them out."""
    rng, lines = np.random.default_rng(0), []
    for name in ("a", "b"):
        for kind, pixels in (
            ("pre", rng.integers(0, 256, (32, 32, 3))),
            ("post", rng.integers(0, 256, (32, 32, 3))),
            ("masks", rng.integers(0, 5, (32, 32))),
        ):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{name}.png")
        label = hashlib.sha256((folder / "masks" / f"{name}.png").read_bytes()).hexdigest()
        lines.append(json.dumps({"patch_id": name, "file": f"{name}.png", "seed": 0, "mask_sha256": label}))
    (folder / "post" / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    card = {"format": "pre2post-synthetic", "resolution": 32, "patch_px": 64, "pairs": 2, "split": "train"}
    card |= {"dataset_fingerprint": "f" * 64, "trained_on": {"datasets": ["0" * 64], "split": "train", "leave_out": []}}
    (folder / "synthetic.json").write_text(json.dumps(card | changes))
    return folder


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    """Three labelled scenes to train on, two to test on."""
    rows = [patch_row(i) for i in range(5)]
    return {
        "dataset": write_dataset(tmp_path / "d", rows[:3], "train", test=rows[3:]),
        "synthetic": write_synthetic(tmp_path / "s"),
        "out": tmp_path / "out",
        "scenes": "1,2",
        "seeds": "0,1",
        "training": SHORT,
    }


def test_every_model_is_trained_once(
    arguments: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven a seed with two counts; a second run reads what the first has found; another training is refused."""
    usefulness(**arguments)
    names = sorted(path.name for path in (arguments["out"] / "trainings").iterdir())
    assert len(names) == 2 * (3 * 2 + 1)
    assert names[0] == "real+footprints-001-seed0.json"
    table = (arguments["out"] / "usefulness.md").read_text()
    assert table in capsys.readouterr().out
    scores = [json.loads((arguments["out"] / f"trainings/real-002-seed{seed}.json").read_text()) for seed in (0, 1)]
    mean = np.mean([one["scores"]["localisation_f1"] for one in scores])
    line = next(line for line in table.splitlines() if line.startswith("| 2 | real |"))
    assert line.split("|")[4].strip().startswith(f"{mean:.3f}")

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("evaluation.damage.usefulness.train_damage_model", never)
    usefulness(**arguments)
    assert (arguments["out"] / "usefulness.md").read_text() == table
    with pytest.raises(EvaluationError, match="was trained from other data or in another way"):
        usefulness(**arguments | {"training": Training(steps=3, batch=2, width=8)})


def test_a_model_that_another_process_trains_comes_last(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process ends, here without a result, when all else is done."""
    trained: list[str] = []
    other = ExitStack()
    other.enter_context(locked(arguments["out"] / "trainings", name=".real-001-seed0.lock"))

    def train(path: Path, *_: object) -> NDArray[np.int64]:
        trained.append(path.stem)
        if len(trained) == 6:
            other.close()
        return np.ones((2, len(JUDGED), len(ERRORS)), np.int64)

    monkeypatch.setattr("evaluation.damage.usefulness._counts", train)
    usefulness(**arguments | {"seeds": "0"})
    assert len(set(trained)) == 7 and trained[-1] == "real-001-seed0"
    assert [path.name for path in (arguments["out"] / "trainings").glob("*")] == []


def test_others_are_two_more_arms(arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What each arm is shown: its sources, in equal shares."""
    shown: list[tuple[str, list[str]]] = []

    def record(sources: Any, card: Any, training: Any, seed: int, what: str, validation: Any) -> Any:
        shown.append((what, [source.name for source in sources]))
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluation.damage.usefulness.train_damage_model", record)
    for arm, count in planned([1], ("synthetic", "footprints", "others")):
        monkeypatch.setattr("evaluation.damage.usefulness.planned", lambda *_, arm=arm, count=count: [(arm, count)])
        with pytest.raises(KeyboardInterrupt):
            usefulness(**arguments | {"others": arguments["dataset"], "seeds": "4"})
    assert shown == [
        ("real-001-seed4", ["real"]),
        ("real+footprints-001-seed4", ["real", "footprints"]),
        ("real+synthetic-001-seed4", ["real", "synthetic"]),
        ("synthetic-000-seed4", ["synthetic"]),
        ("others-000-seed4", ["others"]),
        ("real+others-001-seed4", ["real", "others"]),
    ]


@pytest.fixture
def validated(arguments: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The same with four scenes to validate on; two of each split are of the event hurricane-b."""
    rows = [patch_row(i, event=("flood-a", "hurricane-b")[i % 2]) for i in range(12)]
    splits = {"train": rows[:4], "validation": rows[4:8], "test": rows[8:]}
    dataset = write_dataset(tmp_path / "v", splits["train"], "train", validation=splits["validation"], test=rows[8:])
    return arguments | {"dataset": dataset}


def test_the_whole_protocol(validated: dict[str, Any], tmp_path: Path) -> None:
    """Trained until validation stops improving, with a judged arm, for one event held out; others leave it out."""
    judge = tmp_path / "judge"
    torch.manual_seed(0)  # some judges keep none
    save_damage_model(judge, DamageModel(DamageNetwork(8), DamageCard(8, 32, 64)), {})
    patient = Training(steps=12, batch=2, width=8, patience=1, validate_every=2, learning_rate=0.05)
    options = {"event": "hurricane-b", "judge": judge, "others": validated["dataset"], "training": patient}
    manifest = json.loads((validated["dataset"] / "dataset.json").read_text())
    manifest["events"] = {"flood-a": {}, "hurricane-b": {}}
    (validated["dataset"] / "dataset.json").write_text(json.dumps(manifest))
    usefulness(**validated | options | {"false_rejection": 0.8, "scenes": "1", "seeds": "0"})
    found = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out/trainings").iterdir()}
    arms = "real-001 real+footprints-001 real+synthetic-001 real+judged-001 synthetic-000 judged-000 others-000"
    assert sorted(found) == sorted(f"{arm}-seed0" for arm in [*arms.split(), "real+others-001"])
    for one in found.values():
        assert len(one["counts"]) == 2  # scenes of the event in the test split
        assert one["steps_taken"] in range(2, 13, 2)
        assert one["steps_taken"] in (one["best_step"] + 2, 12)
    assert "| 1 | real + judged | real + synthetic |" in (tmp_path / "out/usefulness.md").read_text()


def test_what_the_protocol_refuses(validated: dict[str, Any], tmp_path: Path) -> None:
    """Validation scenes that the judge knows, an event that is not there, too few pairs for a threshold."""
    dataset = validated["dataset"]
    judge = {"dataset_fingerprint": "f" * 64, "split": "validation"}
    for name, facts in (("knows", judge), ("fresh", {})):
        save_damage_model(tmp_path / name, DamageModel(DamageNetwork(8), DamageCard(8, 32, 64)), facts)
    for message, options in (
        ("4 of its 4 scenes are also trained on by the judge", {"judge": tmp_path / "knows"}),
        ("needs 39 labelled scenes to calibrate with, and there are 4", {"judge": tmp_path / "fresh"}),
        ("no event 'hurricane-c'.*Did you mean hurricane-b", {"event": "hurricane-c"}),
    ):
        with pytest.raises((EvaluationError, DataError), match=message):
            usefulness(**validated | options)
    with pytest.raises(DataError, match="has no split 'validation'"):
        own = write_dataset(tmp_path / "own", [patch_row(0), patch_row(1)], "train", test=[patch_row(2)])
        usefulness(**validated | {"dataset": own, "training": Training(steps=2, batch=2, width=8, patience=1)})
    assert dataset.is_dir()


def test_few_scenes_are_among_many() -> None:
    """So that more scenes never mean other scenes; another seed draws others."""
    scenes = [f"scene{i}" for i in range(30)] * 2
    few, many = drawn_scenes(scenes, 5, seed=1), drawn_scenes(scenes, 20, seed=1)
    assert (len(few), len(many)) == (5, 20)
    assert few < many
    assert few != drawn_scenes(scenes, 5, seed=2)


def test_mistakes_are_named(arguments: dict[str, Any], tmp_path: Path) -> None:
    """Before anything is trained."""
    for message, options in (
        ("scenes: 80 are requested, but .* has 3 with damage labels", {"scenes": "2,80"}),
        ("scenes is 'few'; expected whole numbers", {"scenes": "few"}),
        ("scenes is '0,5'; 0 is too small", {"scenes": "0,5"}),
        (r"there is no synthetic\.json", {"synthetic": tmp_path}),
    ):
        with pytest.raises(EvaluationError, match=message):
            usefulness(**arguments | options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("split", "changes", "message"),
    [
        (
            "train",
            {"dataset_fingerprint": "0" * 64},
            r"--test-split train: 3 of its 3 scenes are also trained on \(--split train\)",
        ),
        ("test", {"split": "test"}, r"2 of its 2 scenes are also shown by the synthetic pairs of .* \(made from split"),
        (
            "test",
            {"trained_on": {"datasets": ["f" * 64], "split": "test", "leave_out": []}},
            "2 of its 2 scenes are also trained on by the ControlNet that made",
        ),
    ],
)
def test_no_test_on_what_was_trained_on(
    arguments: dict[str, Any], tmp_path: Path, split: str, changes: dict[str, Any], message: str
) -> None:
    """Of the same scenes, of synthetic pairs that show them, by a ControlNet that has seen them."""
    synthetic = write_synthetic(tmp_path / "leaky", **changes)
    with pytest.raises(EvaluationError, match=message):
        usefulness(**arguments | {"synthetic": synthetic, "test_split": split})
    assert not (tmp_path / "out").exists()


def test_others_are_not_the_test_scenes(arguments: dict[str, Any], tmp_path: Path) -> None:
    """A copy of the dataset: its split `train` is the test split here."""
    synthetic = write_synthetic(tmp_path / "s2", dataset_fingerprint="0" * 64)
    options = {"synthetic": synthetic, "others": arguments["dataset"], "split": "test", "test_split": "train"}
    with pytest.raises(EvaluationError, match=r"3 of its 3 scenes are also trained on \(--others"):
        usefulness(**arguments | options)


def of_model(arm: str, seed: int, found: NDArray[np.float64], scenes: int = 5) -> Score:
    """A model that finds so many of the 1,000 building pixels of each test scene, and misses the others."""
    counts = np.zeros((len(found), 5, 3), np.int64)
    counts[:, 0, 0] = np.round(found)
    counts[:, 0, 2] = 1000 - counts[:, 0, 0]
    return Score(arm, scenes, seed, counts)


def localisation(found: NDArray[np.float64]) -> float:
    """F1 of that: pooled over scenes."""
    return float(2 * found.sum() / (found.sum() + 1000 * len(found)))


def ends(cell: str) -> list[float]:
    """Numbers of a cell, such as `0.4 (0.3 to 0.5)`."""
    return [float(number) for number in re.findall(r"[+-]?\d\.\d+", cell)]


def test_gains_are_paired_and_both_seeds_and_test_scenes_are_drawn() -> None:
    """Seeds and scenes differ by much, alike in both arms; the interval of the gain holds only what is left."""
    rng = np.random.default_rng(0)
    alike = 500 + rng.normal(0, 60, (6, 1)) + rng.normal(0, 60, (1, 20))
    gain = 30 + rng.normal(0, 4, (6, 20))
    scores = [of_model("real", seed, alike[seed]) for seed in range(6)]
    scores += [of_model("real + synthetic", seed, alike[seed] + gain[seed]) for seed in range(6)]
    text = usefulness_tables(scores)
    own = ends(next(line for line in text.splitlines() if line.startswith("| 5 | real |")).split("|")[4])
    less = ends(next(line for line in text.splitlines() if "| real + synthetic | real |" in line).split("|")[5])
    expected = np.mean([localisation(found.round()) for found in alike])
    assert own[0] == pytest.approx(expected, abs=6e-4)
    assert less[0] == pytest.approx(
        np.mean([localisation(found.round()) for found in alike + gain]) - expected, abs=6e-4
    )
    assert own[2] - own[1] > 10 * (less[2] - less[1])
    assert 0 < less[1] < less[0] < less[2]


@pytest.mark.parametrize("sizes", [(5, 12), (12, 40)])
def test_coverage_of_seeds_and_scenes(sizes: tuple[int, int]) -> None:
    """Both differ: 95 % or more of the intervals hold the truth; over seeds alone, half of them would not."""
    seeds, scenes = sizes
    rng, worlds, held = np.random.default_rng(seeds), 150, 0
    for _ in range(worlds):
        found = 500 + rng.normal(0, 30, (seeds, 1)) + rng.normal(0, 60, (1, scenes)) + rng.normal(0, 20, sizes)
        drawn = mean_over_seeds([of_model("real", seed, one).counts for seed, one in enumerate(found)])
        low, high = interval(drawn["localisation_f1"][1:], min(sizes))
        held += low <= localisation(np.array([500.0])) <= high
    assert held / worlds >= 0.91  # two standard errors below 0.95


def test_no_interval_below_five_seeds_or_test_scenes() -> None:
    """Means alone."""
    for seeds, scenes in ((4, 9), (9, 4)):
        text = usefulness_tables([of_model("real", seed, np.full(scenes, 500.0)) for seed in range(seeds)])
        assert " to " not in text
        assert f"Means over {seeds} seeds, on {scenes} test scenes." in text

"""The usefulness test: which models are trained on what, and what the table makes of their scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from evaluation.damage_training import Training
from evaluation.errors import EvaluationError
from evaluation.usefulness import drawn_scenes, planned, usefulness
from evaluation.usefulness_table import Score, half_width, usefulness_tables
from tests.generate.worlds import patch_row, write_dataset

SHORT = Training(steps=2, batch=2, width=8)


def write_synthetic(folder: Path) -> Path:
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
        lines.append(json.dumps({"patch_id": name, "file": f"{name}.png"}))
    (folder / "post" / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    card = {"format": "pre2post-synthetic", "resolution": 32, "patch_px": 64}
    (folder / "synthetic.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    """Three labelled scenes; the test is made on the same ones."""
    return {
        "dataset": write_dataset(tmp_path / "d", [patch_row(i) for i in range(3)], "train"),
        "synthetic": write_synthetic(tmp_path / "s"),
        "out": tmp_path / "out",
        "scenes": "1,2",
        "seeds": "0,1",
        "test_split": "train",
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

    monkeypatch.setattr("evaluation.usefulness.train_damage_model", never)
    usefulness(**arguments)
    assert (arguments["out"] / "usefulness.md").read_text() == table
    with pytest.raises(EvaluationError, match="was trained from other data or in another way"):
        usefulness(**arguments | {"training": Training(steps=3, batch=2, width=8)})


def test_others_are_two_more_arms(arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What each arm is shown: its sources, in equal shares."""
    shown: list[tuple[str, list[str]]] = []

    def record(sources: Any, card: Any, training: Any, seed: int, what: str) -> Any:
        shown.append((what, [source.name for source in sources]))
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluation.usefulness.train_damage_model", record)
    for arm, count in planned([1], ("synthetic", "footprints", "others")):
        monkeypatch.setattr("evaluation.usefulness.planned", lambda *_, arm=arm, count=count: [(arm, count)])
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
        ("scenes: 80 are asked for, but .* has 3 with damage labels", {"scenes": "2,80"}),
        ("scenes is 'few'; expected whole numbers", {"scenes": "few"}),
        ("scenes is '0,5'; 0 is too small", {"scenes": "0,5"}),
        (r"there is no synthetic\.json", {"synthetic": tmp_path}),
    ):
        with pytest.raises(EvaluationError, match=message):
            usefulness(**arguments | options)
    assert not (tmp_path / "out").exists()


def test_intervals_are_students() -> None:
    """Against scipy's own interval of a mean; a single value has none."""
    values = [0.2, 0.5, 0.35]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2)
    assert np.isnan(half_width([0.3]))


def test_gains_are_paired_by_seed() -> None:
    """Both gain 0.1 in either seed: no spread, though the scores differ by much."""

    def score(arm: str, seed: int, value: float) -> Score:
        names = ("score", "localisation_f1", "damage_f1", "no-damage_f1", "minor-damage_f1", "major-damage_f1")
        return Score(arm, 5, seed, dict.fromkeys((*names, "destroyed_f1"), value))

    scores = [score("real", 0, 0.2), score("real", 1, 0.6)]
    scores += [score("real + synthetic", 0, 0.3), score("real + synthetic", 1, 0.7)]
    text = usefulness_tables(scores)
    assert "| 5 | real + synthetic | real | +0.100 ± 0.000 | +0.100 ± 0.000 | +0.100 ± 0.000 |" in text
    assert "| 5 | real | 0.400 ± 2.541 |" in text  # t(0.975, 1) x 0.2828 / sqrt 2 = 12.706 x 0.2

"""The damage model: it learns, always the same; its command, its folder, its errors."""

import errno
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.dataset.open import open_dataset
from data.errors import DataError
from data.storage import locked
from evaluation.damage.examples import Examples, Pair, Source, footprints_only, of_scenes, real_source, remembered
from evaluation.damage.model import (
    DamageCard,
    DamageModel,
    keep_damage_model,
    load_damage_model,
    save_damage_model,
    score_pairs,
)
from evaluation.damage.network import DamageNetwork, classify
from evaluation.damage.score import count, official
from evaluation.damage.training import damage_loss, damage_model, rate, train_damage_model, validation_loss
from evaluation.errors import EvaluationError
from evaluation.options import Training
from tests.disks import Disk
from tests.evaluation.damage_worlds import SIDE, toy_pair, toy_source
from tests.generate.worlds import patch_row, write_dataset

CARD = DamageCard(width=8, resolution=SIDE, patch_px=SIDE)
SHORT = Training(steps=2, batch=2, width=8)


def test_it_learns_what_needs_both_images() -> None:
    """New toy squares: both F1 above 0.8.

    In the pre image all classes look alike: who knows only that gives every building the same class, which has an F1
    of 0.4, and the others 0; a damage F1 next to 0.
    """
    how = Training(steps=120, batch=16, width=8, learning_rate=1e-2)
    model, _ = train_damage_model([toy_source(range(64))], CARD, how, seed=0)
    found = official(score_pairs(model, (toy_pair(seed) for seed in range(100, 132))).sum(axis=0))
    assert found["localisation_f1"] > 0.8
    assert found["damage_f1"] > 0.8
    blind = [Pair(pair.pre, pair.pre, pair.damage) for pair in map(toy_pair, range(100, 132))]
    assert official(score_pairs(model, blind).sum(axis=0))["damage_f1"] < 0.1


def test_the_same_from_the_same_seed() -> None:
    """Bit for bit; another seed has other weights and other examples."""
    models = [train_damage_model([toy_source(range(8))], CARD, SHORT, seed)[0] for seed in (3, 3, 4)]
    first, again, other = ([*model.network.state_dict().values()] for model in models)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_training_leaves_the_global_generator_alone() -> None:
    """Whoever trains a model within another program changes none of its numbers."""
    before = torch.get_rng_state()
    train_damage_model([toy_source(range(2))], CARD, SHORT, seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_pair_and_labels_are_turned_alike() -> None:
    """All eight ways of laying a square down occur, and pixels keep their labels."""
    corner = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) % 251
    damage = corner.astype(np.uint8)
    pair = Pair(np.repeat(damage[..., None], 3, axis=2), np.repeat(damage[..., None], 3, axis=2), damage)
    seen = set()
    for ordinal in range(100):
        pre, post, turned = Examples([Source("real", [lambda: pair])], seed=0)[ordinal]
        assert torch.equal(pre[0], turned)
        assert torch.equal(post[2], turned)
        seen.add(turned.numpy().tobytes())
    ways = {np.rot90(way, k).tobytes() for way in (damage, damage[:, ::-1]) for k in range(4)}
    assert seen == ways


def test_sources_take_turns() -> None:
    """Half of the examples each, however many pairs they have; each pair once before any comes again."""
    named = [Source(str(n), [lambda n=n, i=i: constant(10 * n + i) for i in range(n)]) for n in (2, 8)]  # type: ignore[misc]
    values = [int(Examples(named, seed=5)[ordinal][2][0, 0]) for ordinal in range(16)]
    assert sorted(values[::2]) == sorted([20, 21] * 4)
    assert sorted(values[1::2]) == list(range(80, 88))


def constant(value: int) -> Pair:
    image = np.full((SIDE, SIDE, 3), value, np.uint8)
    return Pair(image, image, image[..., 0])


def test_footprints_tell_where_but_not_how_bad() -> None:
    """The post image is not shown, and every building is un-classified."""
    whole, blank = toy_pair(3), footprints_only(toy_source(range(3, 4))).pairs[0]()
    assert np.array_equal(blank.post, whole.pre)
    assert np.array_equal(blank.damage, np.where(whole.damage == 4, 255, 0))


def test_what_was_read_is_remembered() -> None:
    """A file is read once; of_scenes takes the pairs of its scenes."""
    reads: list[int] = []

    def read(index: int) -> Pair:
        reads.append(index)
        return constant(index)

    source = Source("real", remembered([lambda i=i: read(i) for i in range(3)]), ["a", "b", "a"])  # type: ignore[misc]
    some = of_scenes(source, {"a"})
    assert [pair().damage[0, 0] for pair in (*some.pairs, *some.pairs)] == [0, 2, 0, 2]
    assert reads == [0, 2]


def test_loss_by_hand() -> None:
    """All logits 0, two pixels, one of them a building: ln 2 + Dice 1/3 + ln 4 where its class is known."""
    logits = (torch.zeros(1, 1, 2), torch.zeros(1, 4, 1, 2))
    localisation = math.log(2) + 1 / 3
    for value, expected in ((3, localisation + math.log(4)), (255, localisation)):
        loss = damage_loss(logits, torch.tensor([[[0, value]]], dtype=torch.uint8))
        assert loss.item() == pytest.approx(expected)
    empty = damage_loss(logits, torch.zeros(1, 1, 2, dtype=torch.uint8))
    assert empty.item() == pytest.approx(math.log(2) + 1 - 1 / 2)


def test_rare_classes_weigh_more_but_not_as_much_as_frequent_ones() -> None:
    """9 pixels of class 1 and 1 of class 4: weights 9 / 3 and 1 / 1, so 3/4 and 1/4."""
    classes = torch.zeros(1, 4, 1, 10)
    classes[0, 0, 0, 9] = 2.0  # the pixel of class 4 is taken for class 1
    damage = torch.tensor([[[1] * 9 + [4]]], dtype=torch.uint8)
    without = damage_loss((torch.zeros(1, 1, 10), torch.zeros(1, 4, 1, 10)), damage)
    wrong = math.log(3 + math.exp(2)) - math.log(4)  # cross entropy of that pixel, less what it was
    assert (damage_loss((torch.zeros(1, 1, 10), classes), damage) - without).item() == pytest.approx(
        wrong / 4, rel=1e-5
    )


def test_rate() -> None:
    """Up in a twentieth of the steps, down to nothing."""
    rates = [rate(step, 100) for step in range(100)]
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert rates[-1] < 0.001
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_classes_of_logits() -> None:
    """The likeliest class where a building is likelier than none."""
    damage = torch.tensor([[[0.0, 0.0]], [[0.0, 5.0]], [[9.0, 0.0]], [[0.0, 0.0]]])[None]
    assert classify((torch.tensor([[[0.1, -0.1]]]), damage)).tolist() == [[[3, 0]]]


def test_size() -> None:
    """The default network has at most a million weights."""
    assert 400_000 < sum(weight.numel() for weight in DamageNetwork().parameters()) < 1_000_000


def dataset_of(folder: Path, *, labelled: int = 3, unlabelled: int = 1, split: str = "train") -> Path:
    rows = [patch_row(i) for i in range(labelled)]
    rows += [patch_row(labelled + i, labels="none", damage_mask=None) for i in range(unlabelled)]
    return write_dataset(folder, rows, split)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with weights and card, nothing temporary; the score in the card is that of the model in the folder."""
    test = [patch_row(i) for i in range(4, 7)]
    rows = [*(patch_row(i) for i in range(3)), patch_row(3, labels="none", damage_mask=None)]
    dataset, out = write_dataset(tmp_path / "d", rows, "train", test=test), tmp_path / "model"
    damage_model(dataset=dataset, out=out, resolution=SIDE, training=SHORT)
    assert "real: 3 labelled pairs; 1 without labels left out" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["model.json", "model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "model"]
    card = json.loads((out / "model.json").read_text())
    assert (card["resolution"], card["patch_px"], card["unlabelled"], card["sources"]) == (SIDE, 64, 1, {"real": 3})
    model, counts = load_damage_model(out), np.zeros((5, 3), np.int64)
    for index in range(4, 7):
        pre, post, mask = shown(index)
        counts += count(model.classify([pre], [post])[0], mask)
    assert card["scores"]["score"]["value"] == pytest.approx(official(counts)["score"])


def test_a_model_trained_until_validation_stops_improving(tmp_path: Path) -> None:
    """On the split `validation` of its dataset; the card says when it was best."""
    rows = [patch_row(i) for i in range(4)]
    dataset = write_dataset(tmp_path / "d", rows[:2], "train", validation=rows[2:])
    patient = Training(steps=6, batch=2, width=8, patience=1, validate_every=2)
    damage_model(dataset=dataset, out=tmp_path / "m", resolution=32, score_split="none", training=patient)
    card = json.loads((tmp_path / "m/model.json").read_text())
    assert card["patience"] == 1 and card["best_step"] in (2, 4, 6)
    assert card["steps_taken"] in (card["best_step"] + 2, 6)
    network = load_damage_model(tmp_path / "m").network
    pairs = real_source(open_dataset(dataset, "validation"), 32).pairs
    assert validation_loss(network, pairs, 2) == pytest.approx(card["validation_loss"], rel=1e-4)


def shown(index: int) -> list[Any]:
    """Pre, post and mask of a tiny row at 32 px."""
    import io

    from PIL import Image

    images = [Image.open(io.BytesIO(patch_row(index)[name]["bytes"])) for name in ("pre", "post", "damage_mask")]
    ways = [Image.Resampling.BOX, Image.Resampling.BOX, Image.Resampling.NEAREST]
    return [np.asarray(image.resize((SIDE, SIDE), way)) for image, way in zip(images, ways, strict=True)]


def test_mistakes_are_named(tmp_path: Path) -> None:
    """Before anything is trained; nothing is left behind."""
    labelled, none = dataset_of(tmp_path / "d"), dataset_of(tmp_path / "n", labelled=0, unlabelled=2)
    arguments: dict[str, Any] = {"out": tmp_path / "model", "split": "train", "training": SHORT, "resolution": SIDE}
    for error, message, options in (
        (EvaluationError, "none of its 2 patches has damage labels", {"dataset": none}),
        (EvaluationError, "multiple of 16", {"dataset": labelled, "resolution": 40}),
        (EvaluationError, r"there is no synthetic\.json", {"dataset": labelled, "synthetic": tmp_path}),
        (
            EvaluationError,
            r"--score-split train: 3 of its 3 scenes are also trained on \(--split train\)",
            {"dataset": labelled, "score_split": "train"},
        ),
        (DataError, "no split 'hold'", {"dataset": labelled, "score_split": "hold"}),
        (EvaluationError, "exists already", {"dataset": labelled, "out": tmp_path / "d"}),
    ):
        with pytest.raises(error, match=message):
            damage_model(**arguments | options)
    with pytest.raises(EvaluationError, match="width is 12; expected a multiple of 8"):
        Training(width=12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "n"]


def test_a_folder_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while saving."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluation.damage.model.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_damage_model(tmp_path / "model", DamageModel(DamageNetwork(8), CARD), {})
    assert not list(tmp_path.iterdir())


def test_the_folder_is_tried_before_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nowhere to write, or another command at it: reported before the first step."""
    dataset = write_dataset(tmp_path / "d", [patch_row(0)], "train")
    monkeypatch.setattr("evaluation.damage.training.train_damage_model", lambda *_: pytest.fail("trained"))
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match="file"):
        damage_model(dataset=dataset, out=tmp_path / "file" / "model", score_split="none")
    with locked(tmp_path, name=".model.lock"), pytest.raises(DataError, match="another command is writing"):
        damage_model(dataset=dataset, out=tmp_path / "model", score_split="none")


def test_a_trained_model_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is saved elsewhere, whole, and the message says where."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "other").mkdir()
    Disk(monkeypatch, tmp_path / "disk").without("mkdir", errno.ENOSPC)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "other"))
    model = DamageModel(DamageNetwork(8), CARD)
    with pytest.raises(EvaluationError, match=r"the disk is full.*The trained model was saved to (\S+): ") as caught:
        keep_damage_model(tmp_path / "disk" / "model", model, {})
    assert not list((tmp_path / "disk").iterdir())
    (folder,) = (tmp_path / "other").glob("*/model")
    assert str(folder) in str(caught.value)
    kept, weights = load_damage_model(folder).network.state_dict(), model.network.state_dict()
    assert all(torch.equal(kept[name], weight) for name, weight in weights.items())


def test_wrong_folders(tmp_path: Path) -> None:
    """No model, somebody else's JSON, weights of another width."""
    with pytest.raises(EvaluationError, match=r"there is no model\.json with model\.safetensors\. Train one"):
        load_damage_model(tmp_path)
    save_damage_model(tmp_path / "m", DamageModel(DamageNetwork(8), CARD), {})
    card = tmp_path / "m" / "model.json"
    content = json.loads(card.read_text())
    card.write_text(json.dumps(content | {"width": 16}))
    with pytest.raises(EvaluationError, match="its files do not fit"):
        load_damage_model(tmp_path / "m")
    card.write_text("{}")
    with pytest.raises(EvaluationError, match=r"format is missing\. Expected what pre2post damage-model writes"):
        load_damage_model(tmp_path / "m")
    card.write_text("{")
    with pytest.raises(EvaluationError, match="not valid JSON"):
        load_damage_model(tmp_path / "m")

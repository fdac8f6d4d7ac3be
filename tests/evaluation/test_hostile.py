"""What evaluation reads of others: whatever the damage, one message or the right content."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.errors import DataError
from evaluation.damage.model import DamageCard, DamageModel, load_damage_model, save_damage_model
from evaluation.damage.network import DamageNetwork
from evaluation.damage.synthetic import seen_by_synthetic, synthetic_source
from evaluation.damage.usefulness import _finished
from evaluation.errors import EvaluationError
from evaluation.folds import read_results
from generate.errors import GenerateError
from tests.damage import byte_damage, hostile, json_damage
from tests.evaluation.damage.test_usefulness import write_synthetic

CARD = DamageCard(width=2, resolution=32, patch_px=64)
FACTS = {"dataset_fingerprint": "f" * 64, "split": "train", "synthetic": {"dataset_fingerprint": "f", "split": "test"}}


@hostile
@given(data=st.data())
def test_a_damage_model(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("model") / "m"
    save_damage_model(folder, DamageModel(DamageNetwork(2), CARD), FACTS)
    name = data.draw(st.sampled_from(["model.json", "model.safetensors"]))
    whole = (folder / name).read_bytes()
    damage = byte_damage(whole) if name.endswith("s") else json_damage(json.loads(whole))
    (folder / name).write_bytes(data.draw(damage))
    try:
        model = load_damage_model(folder)
    except EvaluationError as error:
        assert str(folder) in str(error) and "\n" not in str(error)
    else:
        assert model.network.width == CARD.width and model.card.resolution % 16 == 0


@hostile
@given(data=st.data())
def test_synthetic_pairs(tmp_path_factory: pytest.TempPathFactory, dataset: Path, data: st.DataObject) -> None:
    folder = write_synthetic(tmp_path_factory.mktemp("synthetic") / "s")
    name = data.draw(
        st.sampled_from(["synthetic.json", "post/manifest.jsonl", "pre/a.png", "post/b.png", "masks/a.png"])
    )
    path = folder / name
    whole = path.read_bytes()
    first = whole.splitlines()[0] if name.endswith("l") else whole
    damage = byte_damage(whole) if name.endswith("png") else json_damage(json.loads(first))
    path.write_bytes(data.draw(damage) + (b"\n" if name.endswith("l") else b""))
    try:
        source = synthetic_source(folder, 32, 64)
        pairs = [read() for read in source.pairs]
        seen_by_synthetic(folder, dataset)
    except (DataError, EvaluationError, GenerateError) as error:
        assert (str(folder) in str(error) or "has no split" in str(error)) and len(str(error)) < 1500
    else:
        assert all(pair.pre.shape == (32, 32, 3) and pair.damage.shape == (32, 32) for pair in pairs)


@hostile
@given(data=st.data())
def test_results_of_a_training(tmp_path: Path, data: st.DataObject) -> None:
    settings: dict[str, Any] = {"seed": 1, "dataset": ["f", "train"]}
    counts = np.arange(30).reshape(2, 5, 3).tolist()
    path = tmp_path / "one.json"
    path.write_bytes(data.draw(json_damage({"settings": settings, "counts": counts, "last_loss": 0.1})))
    try:
        found = _finished(path, settings)
    except EvaluationError as error:
        assert str(path) in str(error)
    else:
        assert found is not None and found.shape[1:] == (5, 3) and (found >= 0).all()


@hostile
@given(data=st.data())
def test_results_of_an_evaluation(tmp_path: Path, data: st.DataObject) -> None:
    patch: dict[str, Any] = {
        "patch_id": "a",
        "event": "e",
        "disaster_type": "fire",
        "position": 0,
        "seeds": [1],
        "prompt": "a town",
    }
    patch["scores"] = {"copy": [{"all": {"mse": 0.5, "psnr": None}}]}
    content = {
        "format": 3,
        "checkpoint": "c",
        "rows": {"copy": "copy"},
        "rows_without_images": {},
        "per_patch": [patch],
    }
    (tmp_path / "results.json").write_bytes(data.draw(json_damage(content)))
    try:
        found = read_results(tmp_path)
    except EvaluationError as error:
        assert str(tmp_path) in str(error)
    else:
        assert isinstance(found["per_patch"], list)


def test_pictures_of_another_size(tmp_path: Path) -> None:
    folder = write_synthetic(tmp_path / "s")
    Image.new("RGB", (64, 64)).save(folder / "pre" / "a.png")
    with pytest.raises(EvaluationError, match=r"pre/a\.png: expected a PNG of 32 x 32 px of RGB \(64 x 64 px of RGB\)"):
        [read() for read in synthetic_source(folder, 32, 64).pairs]

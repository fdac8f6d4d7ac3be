"""`evaluate --damage-model`: the score of every row, from the images on disk, with unlabelled patches left out."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation.damage.model import DamageCard, DamageModel, load_damage_model, save_damage_model
from evaluation.damage.network import DamageNetwork
from evaluation.damage.score import count, official
from evaluation.damage.training import train_damage_model
from evaluation.errors import EvaluationError
from evaluation.options import Training
from evaluation.output import image_file
from evaluation.run import evaluate
from generate.sampling import Sampling
from tests.evaluation.damage_worlds import toy_source
from tests.generate.worlds import patch_row, png, write_dataset

SIDE, PATCHES = 32, 4
CARD = DamageCard(width=8, resolution=SIDE, patch_px=64)


def row(index: int) -> dict[str, Any]:
    """Two classes and an un-classified building; the last patch has no labels."""
    if index == PATCHES - 1:
        return patch_row(index, labels="none", damage_mask=None)
    mask = np.zeros((64, 64), np.uint8)
    mask[16:40, 16:40], mask[0:8, 0:64], mask[56:64, 0:8] = 4, 1, 255
    return patch_row(index, damage_mask=png(mask))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained a little, so that it sees some buildings and not all."""
    folder = tmp_path_factory.mktemp("models") / "model"
    trained, _ = train_damage_model([toy_source(range(16))], CARD, Training(steps=12, batch=8, width=8), seed=0)
    save_damage_model(folder, trained, {})
    return folder


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, run_folder: Path, model: Path) -> Path:
    root = tmp_path_factory.mktemp("scores")
    evaluate(
        checkpoint=run_folder,
        dataset=write_dataset(root / "d", [row(i) for i in range(PATCHES)]),
        out=root / "out",
        networks="none",
        damage_model=str(model),
        sampling=Sampling(steps=2, samples=2, batch_size=4),
    )
    return root / "out"


def shown(index: int, name: str, way: Image.Resampling = Image.Resampling.BOX) -> Any:
    with Image.open(io.BytesIO(row(index)[name]["bytes"])) as image:
        return np.asarray(image.resize((SIDE, SIDE), way))


def expected(out: Path, network: DamageModel, method: str) -> dict[str, Any]:
    """Patch by patch, from the files."""
    total = np.zeros((5, 3), np.int64)
    for index in range(PATCHES - 1):
        pre, truth = shown(index, "pre"), shown(index, "damage_mask", Image.Resampling.NEAREST)
        if method in ("real", "copy"):
            images = [shown(index, "post" if method == "real" else "pre")]
        else:
            paths = [out / image_file(row(index)["patch_id"], method, sample) for sample in range(2)]
            images = [np.asarray(Image.open(path)) for path in paths]
        for image in images:
            total += count(network.classify([pre], [image])[0], truth)
    return official(total)


def test_every_row_is_scored(evaluated: Path, model: Path) -> None:
    """Generated images, copies, the base alone, and the real post images as the mark that can be reached."""
    content, network = json.loads((evaluated / "results.json").read_text()), load_damage_model(model)
    assert list(content["damage"]) == ["generated", "copy", "base", "real"]
    for method, scores in content["damage"].items():
        for name, value in expected(evaluated, network, method).items():
            assert scores[name]["value"] == pytest.approx(float(value)), (method, name)
        assert scores["score"]["patches"] == PATCHES - 1
    found = {method: scores["localisation_f1"]["value"] for method, scores in content["damage"].items()}
    assert found["copy"] == found["real"] == found["generated"] > 0  # buildings are looked for in the pre image
    assert content["damage_model"] == str(model)
    assert content["damage_by_disaster_type"]["earthquake"] == {}  # the type of the unlabelled patch


def test_what_is_left_out_is_said(evaluated: Path) -> None:
    """One patch without labels, two classes that are nowhere."""
    notes = json.loads((evaluated / "results.json").read_text())["notes"]
    assert "The damage score leaves out 1 of 4 patches, which have no labels." in notes
    assert any(note.startswith("No pixel is minor-damage or major-damage in these patches") for note in notes)


def test_table_report_and_latex(evaluated: Path) -> None:
    """The same numbers for people and for papers; the best of several samples has no row."""
    content = json.loads((evaluated / "results.json").read_text())
    latex, page = ((evaluated / name).read_text() for name in ("results.tex", "report.html"))
    table = latex[latex.index("Damage as a damage model sees it") :].partition("\\end{table}")[0]
    lines = [line for line in table.splitlines() if line.endswith("\\\\") and " & " in line][2:]
    assert [line.partition(" &")[0] for line in lines] == [
        "generated, mean of 2 seeds", "copy the pre-image", "base without control, mean of 2 seeds", "real post",
    ]  # fmt: skip
    for line, method in zip(lines, content["damage"], strict=True):
        values = [float(value) for value in re.findall(r"\d\.\d+", line)]
        rounded = [round(one["value"], 3) for one in content["damage"][method].values()]
        assert values == pytest.approx(rounded, abs=1e-9)
    assert "Damage as a damage model sees it" in page
    assert "As in the xView2 challenge" in page


def test_without_a_model_nothing_is_said(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """Neither table nor words."""
    evaluate(checkpoint=run_folder, dataset=dataset, out=tmp_path / "out", networks="none", limit=1,
             sampling=Sampling(steps=1))  # fmt: skip
    assert json.loads((tmp_path / "out/results.json").read_text())["damage"] == {}
    assert "xView2" not in (tmp_path / "out/report.html").read_text()


def test_no_labels_at_all(tmp_path: Path, run_folder: Path, model: Path) -> None:
    """The other numbers are measured; the missing ones are explained."""
    dataset = write_dataset(tmp_path / "d", [row(PATCHES - 1)])
    out = tmp_path / "out"
    evaluate(checkpoint=run_folder, dataset=dataset, out=out, networks="none", damage_model=str(model),
             sampling=Sampling(steps=1))  # fmt: skip
    content = json.loads((out / "results.json").read_text())
    assert content["damage"] == {}
    assert content["notes"] == ["The damage score leaves out 1 of 1 patches, which have no labels."]


def test_a_model_of_another_scale_is_refused(tmp_path: Path, run_folder: Path, dataset: Path, model: Path) -> None:
    """Before any image is made, as is a folder that is no model."""
    arguments: dict[str, Any] = {"checkpoint": run_folder, "dataset": dataset, "out": tmp_path / "out"}
    card = DamageCard(width=8, resolution=SIDE, patch_px=128)
    save_damage_model(tmp_path / "wide", DamageModel(DamageNetwork(8), card), {})
    for folder, message in (
        (tmp_path / "wide", "trained on patches of 128 px shown at 32 px; here are patches of 64 px shown at 32 px"),
        (dataset, r"there is no model\.json"),
    ):
        with pytest.raises(EvaluationError, match=message):
            evaluate(**arguments, damage_model=str(folder))
    assert not (tmp_path / "out").exists()

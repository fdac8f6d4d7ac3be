"""The command: its files, its table, its errors."""

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation.errors import EvaluationError
from evaluation.output import image_file
from evaluation.run import evaluate
from generate.run import generate
from tests.generate.worlds import EVENTS, patch_row, write_dataset


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, run_folder: Path, dataset: Path) -> Path:
    """An evaluation of all four patches."""
    out = tmp_path_factory.mktemp("scores") / "out"
    evaluate(checkpoint=run_folder, dataset=dataset, out=out, steps=2, seed=50, batch_size=3)
    return out


def results(out: Path) -> dict[str, Any]:
    """results.json; it is plain JSON without NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content: dict[str, Any] = json.loads((out / "results.json").read_text(), parse_constant=refuse)
    return content


def test_files(evaluated: Path) -> None:
    """Two images per patch beside numbers and report; nothing else, nothing temporary."""
    names = [f"{event}_{i:08d}_0000_0000_64" for i, event in enumerate(EVENTS)]
    assert sorted(path.name for path in evaluated.iterdir()) == ["images", "report.html", "results.json"]
    expected = sorted(f"{name}_{method}.png" for name in names for method in ("generated", "base"))
    assert sorted(path.name for path in (evaluated / "images").iterdir()) == expected
    assert [path.name for path in evaluated.parent.iterdir()] == ["out"]


def test_copying_by_hand(evaluated: Path) -> None:
    """The tiny world's post equals its pre but for one square of 12 x 12 px at 32 px resolution."""
    summary = results(evaluated)["summary"]["copy"]
    assert summary["inside"]["patches"] == 4
    assert summary["inside"]["pixels"] == 4 * 12 * 12
    assert summary["outside"]["pixels"] == 4 * (32 * 32 - 12 * 12)
    assert summary["outside"]["mse"] == 0
    assert summary["whole"]["mse"] == pytest.approx(summary["inside"]["mse"] * (12 * 12) / (32 * 32))


def test_numbers_belong_to_the_images(evaluated: Path) -> None:
    """Whole MSE of every generated image, from the PNG on disk and the dataset row."""
    for index, patch in enumerate(results(evaluated)["per_patch"]):
        row = patch_row(index)
        assert (patch["patch_id"], patch["seed"]) == (row["patch_id"], 50 + index)
        with Image.open(io.BytesIO(row["post"]["bytes"])) as image:
            post = image.resize((32, 32), Image.Resampling.BOX)
        for method in ("generated", "base"):
            with Image.open(evaluated / image_file(patch["patch_id"], method)) as image:
                error = ((np.asarray(image, float) - np.asarray(post, float)) / 255) ** 2
            assert patch["scores"][method]["whole"]["mse"] == pytest.approx(error.mean(), rel=1e-9)


def test_same_images_as_generate(tmp_path: Path, evaluated: Path, run_folder: Path, dataset: Path) -> None:
    """What is measured is what the user would generate with the same seed."""
    generate(checkpoint=run_folder, pre=dataset, out=tmp_path / "out", steps=2, seed=50, batch_size=3)
    for patch in results(evaluated)["per_patch"]:
        made = (tmp_path / "out" / f"{patch['patch_id']}.png").read_bytes()
        assert made == (evaluated / image_file(patch["patch_id"], "generated")).read_bytes()


def test_table_in_the_terminal(
    tmp_path: Path, run_folder: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three rows, aligned columns, one best value per column, one row per disaster type."""
    evaluate(checkpoint=run_folder, dataset=dataset, out=tmp_path / "out", steps=1, limit=2)
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if "whole (2 patches)" in line)
    table = lines[start + 1 : start + 5]
    assert [line[:22].strip() for line in table] == ["", "generated", "copy the pre-image", "base without control"]
    assert re.findall(r"MSE|PSNR|SSIM", table[0]) == ["MSE", "PSNR", "SSIM"] * 3
    assert "".join(table).count("*") == 9
    assert len({len(line.rstrip("* ")) for line in table[1:]}) == 1
    assert any(line.startswith("flooding ") for line in lines)
    assert any(line.startswith("earthquake ") for line in lines)


def test_report_is_one_escaped_page(tmp_path: Path, run_folder: Path) -> None:
    """Captions are shown as text; nothing is loaded from elsewhere."""
    captions = [{"style": "short", "target": "post", "text": "<script>alert('x')</script> & more"}]
    rows = [patch_row(0, captions=captions), *(patch_row(i) for i in range(1, 8))]
    evaluate(
        checkpoint=run_folder, dataset=write_dataset(tmp_path / "d", rows), out=tmp_path / "out", steps=1, batch_size=8
    )
    page = (tmp_path / "out/report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; more" in page
    assert not re.findall(r'(?:src|href)="(?!data:image/)', page)
    assert "url(" not in page
    assert page.count("<article>") == 8
    assert page.count("<img ") == 8 * 4


def test_patches_without_change_or_labels(tmp_path: Path, run_folder: Path) -> None:
    """They count where they can; what cannot be measured is null and a dash."""
    rows = [patch_row(0, change_mask=None, damage_mask=None), patch_row(1, change_mask=None, damage_mask=None)]
    evaluate(checkpoint=run_folder, dataset=write_dataset(tmp_path / "d", rows), out=tmp_path / "out", steps=1)
    summary = results(tmp_path / "out")["summary"]["generated"]
    assert summary["inside"] == {"patches": 0, "pixels": 0, "mse": None, "psnr": None, "ssim": None}
    assert summary["whole"]["patches"] == 2
    assert not math.isnan(summary["whole"]["mse"])
    assert "over the whole patch" in (tmp_path / "out/report.html").read_text()


def test_out_folder(tmp_path: Path, evaluated: Path, run_folder: Path, dataset: Path) -> None:
    """An earlier evaluation is replaced only on request, anything else never."""
    arguments: dict[str, Any] = {"checkpoint": run_folder, "dataset": dataset, "steps": 1, "limit": 1}
    out = tmp_path / "out"
    evaluate(out=out, **arguments)
    with pytest.raises(EvaluationError, match="--overwrite"):
        evaluate(out=out, **arguments)
    evaluate(out=out, overwrite=True, **(arguments | {"limit": 2}))
    assert len(results(out)["per_patch"]) == 2
    (out / "images/mine.txt").write_text("notes")
    with pytest.raises(EvaluationError, match=r"holds mine\.txt"):
        evaluate(out=out, overwrite=True, **arguments)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/images").mkdir()
    with pytest.raises(EvaluationError, match=r"has no results\.json"):
        evaluate(out=tmp_path / "home", overwrite=True, **arguments)


def test_an_interrupted_evaluation_leaves_nothing(
    tmp_path: Path, run_folder: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either whole or absent."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluation.run.write_report", interrupt)
    with pytest.raises(KeyboardInterrupt):
        evaluate(checkpoint=run_folder, dataset=dataset, out=tmp_path / "out", steps=1, limit=1)
    assert list(tmp_path.iterdir()) == []

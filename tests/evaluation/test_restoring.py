"""Checkpoints that restore post images: held against the simplest answer, in the hole."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.examples.holes import patch_hole
from evaluation.compare import compare
from evaluation.errors import EvaluationError
from evaluation.output import image_file
from evaluation.run import evaluate
from generate.errors import GenerateError
from generate.run import generate
from generate.sampling import Sampling
from tests.evaluation.test_run import results
from tests.generate.worlds import patch_row, png, write_dataset, write_kind

STEPS = Sampling(steps=2, seed=50)
SIDE = 32


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, micro_base: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    names = ("coarse4", "hole", "pixels")
    return {name: write_kind(folder / name, micro_base, "controlnet", name) for name in names}


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of noise, the last one with a cloud on its upper half."""
    rows = [patch_row(index) for index in range(6)]
    for row in rows:
        noise = np.random.default_rng(row["row"]).integers(1, 255, (64, 64, 3), np.uint8)
        row["post"], row["cover_mask"] = png(noise), png(np.zeros((64, 64), np.uint8))
    cover = np.zeros((64, 64), np.uint8)
    cover[:32] = 9
    rows[-1]["cover_mask"] = png(cover)
    return write_dataset(tmp_path_factory.mktemp("datasets") / "d64", rows)


def posts() -> list[np.ndarray[Any, Any]]:
    cells = [np.random.default_rng(0).integers(1, 255, (64, 64, 3), np.uint8)] * 6
    return [np.asarray(Image.fromarray(cell).resize((SIDE, SIDE), Image.Resampling.BOX)) for cell in cells]


def test_super_resolution_is_held_against_bicubic(tmp_path: Path, runs: dict[str, Path], patches: Path) -> None:
    """Its error by Pillow and numpy; the words are its own."""
    out = tmp_path / "out"
    evaluate(checkpoint=runs["coarse4"], dataset=patches, out=out, networks="none", sampling=STEPS)
    content, page = results(out), (out / "report.html").read_text()
    assert content["rows"]["copy"] == "bicubic enlargement"
    for patch, post in zip(content["per_patch"], posts(), strict=True):
        small = Image.fromarray(post).resize((SIDE // 4, SIDE // 4), Image.Resampling.BOX)
        bicubic = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC), float)
        expected = ((bicubic - post) ** 2).mean() / 255**2
        assert patch["scores"]["copy"][0]["whole"]["mse"] == pytest.approx(expected, rel=1e-9)
    assert content["generated_less_copy"]["whole"]["patches"] == 6
    assert "than the bicubic enlargements: generated minus bicubic is" in page or "generated minus bicubic" in page
    assert "copied" not in page and "at a lower resolution, and restores it" in page


def test_inpainting_is_measured_in_the_hole(tmp_path: Path, runs: dict[str, Path], patches: Path) -> None:
    out = tmp_path / "out"
    evaluate(checkpoint=runs["hole"], dataset=patches, out=out, networks="none", sampling=STEPS)
    content, page = results(out), (out / "report.html").read_text()
    assert content["rows"]["copy"] == "mean colour"
    for position, (patch, post) in enumerate(zip(content["per_patch"], posts(), strict=True)):
        hole, hidden = patch_hole(position, SIDE), np.zeros((SIDE, SIDE), bool)
        hidden[:16] = position == 5
        fill = post[~(hole | hidden)].mean(axis=0).round()
        with Image.open(out / image_file(patch["patch_id"], "generated")) as image:
            made = np.asarray(image, float)
        for row, answer in (("copy", fill), ("generated", made)):
            error = (((answer - post) / 255) ** 2 * np.ones((SIDE, SIDE, 1)))[hole & ~hidden].mean()
            found = patch["scores"][row][0]["inside"]
            assert found["pixels"] == (hole & ~hidden).sum() and found["mse"] == pytest.approx(error, rel=1e-6)
        outside = patch["scores"]["copy"][0]["outside"]
        assert outside["mse"] == 0 and outside["pixels"] == (~hole & ~hidden).sum()
    assert "In the hole" in page and "changed area" not in page and "copied" not in page
    assert not re.search(r">\s*cop(y|ying)\b", page)


def test_a_patch_of_nothing_but_cloud(tmp_path: Path, runs: dict[str, Path]) -> None:
    """It counts nowhere."""
    rows = [patch_row(index, cover_mask=png(np.full((64, 64), 255 * index, np.uint8))) for index in range(2)]
    out = tmp_path / "out"
    evaluate(
        checkpoint=runs["hole"], dataset=write_dataset(tmp_path / "d", rows), out=out, networks="none", methods="copy",
        sampling=STEPS,
    )  # fmt: skip
    assert results(out)["summary"]["copy"]["inside"]["mse"]["patches"] == 1


def test_a_dataset_needs_no_mask_file_and_an_image_does(tmp_path: Path, runs: dict[str, Path], patches: Path) -> None:
    """What lies in the hole makes no difference to the image."""
    given: dict[str, Any] = {"checkpoint": runs["hole"], "sampling": STEPS}
    generate(pre=patches, out=tmp_path / "of-patches", limit=1, **given)
    assert len(list((tmp_path / "of-patches").glob("*.png"))) == 1
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    hole = np.zeros((SIDE, SIDE), np.uint8)
    hole[8:20, 4:30] = 255
    Image.fromarray(hole).save(tmp_path / "mask.png")
    for name, image in (("one", pixels), ("two", np.where(hole[..., None], 255 - pixels, pixels))):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        given |= {"prompt": "after a flood", "window": SIDE}
        with pytest.raises(GenerateError, match="trained on hole, so it needs a mask"):
            generate(pre=tmp_path / f"{name}.png", out=tmp_path / name, **given)
        generate(pre=tmp_path / f"{name}.png", mask=tmp_path / "mask.png", out=tmp_path / name, **given)
    one, two = (np.asarray(Image.open(tmp_path / name / f"{name}.png")) for name in ("one", "two"))
    assert np.array_equal(one, two)


def test_rows_studies_and_comparisons_that_need_a_pre_image(
    tmp_path: Path, runs: dict[str, Path], patches: Path
) -> None:
    given: dict[str, Any] = {"dataset": patches, "out": tmp_path / "out"}
    with pytest.raises(EvaluationError, match=r"methods: sdedit, invert edit pre images, but .* restores post images"):
        evaluate(checkpoint=runs["hole"], methods="generated,invert,sdedit", **given)
    with pytest.raises(EvaluationError, match="study: prompts shows pre images"):
        evaluate(checkpoint=runs["coarse4"], study="prompts", **given)
    with pytest.raises(EvaluationError, match=r"coarse4 at 32 px \(coarse4\), of pre images \(pixels\)"):
        compare(checkpoints=[str(runs["coarse4"]), str(runs["pixels"])], **given)
    compare(checkpoints=[f"a={runs['hole']}", f"b={runs['hole']}"], networks="none", sampling=STEPS, limit=1, **given)
    assert results(tmp_path / "out")["rows"]["copy"] == "mean colour"

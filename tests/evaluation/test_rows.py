"""Rows of the tables beside generated, copy and base; and of which patches."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.errors import DataError
from evaluation.errors import EvaluationError
from evaluation.run import evaluate
from generate.sampling import Sampling
from tests.evaluation.test_run import NAMES, results
from tests.generate.test_run import emptied
from tests.generate.worlds import EVENTS, patch_row, png, write_dataset


def test_editing_is_a_row_like_any_other(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """Inpainting leaves what is not building as it was: here the outside of the change, where copying is perfect."""
    out = tmp_path / "out"
    methods = "generated,copy,sdedit,inpaint,invert,diffedit"
    arguments: dict[str, Any] = {"checkpoint": run_folder, "dataset": dataset, "networks": "none", "limit": 2}
    evaluate(out=out, methods=methods, sampling=Sampling(steps=2), **arguments)
    content = results(out)
    assert list(content["rows"]) == ["generated", "copy", "sdedit", "inpaint", "invert", "diffedit"]
    assert content["summary"]["inpaint"]["outside"]["mse"]["value"] == 0
    assert content["summary"]["inpaint"]["inside"]["mse"]["value"] > 0
    assert content["summary"]["sdedit"]["outside"]["mse"]["value"] > 0
    assert "SDEdit of the pre-image" in (out / "report.html").read_text()
    (line, _) = (out / "images/diffedit/manifest.jsonl").read_text().splitlines()
    assert json.loads(line)["source_prompt"] == "a town before a flood"


def test_rows_that_do_not_fit_are_gaps(
    tmp_path: Path, run_folder: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named with their reason in every output; the others are measured."""
    out = tmp_path / "out"
    arguments: dict[str, Any] = {"checkpoint": run_folder, "dataset": dataset, "networks": "none", "limit": 2}
    sampling = Sampling(steps=2, scheduler="unipc")
    evaluate(out=out, methods="copy,invert,instruct,again", sampling=sampling, **arguments)
    content, printed = results(out), capsys.readouterr().out
    reasons = {
        "invert": "DDIM inversion: no row, it inverts DDIM, but the scheduler is unipc",
        "instruct": "InstructPix2Pix: no row, its weights were not named (--instruct-pix2pix",
        "again": "real post, taken again: no row, 2 of 2 patches have no second post image",
    }
    assert list(content["rows"]) == ["copy"]
    assert content["rows_without_images"].keys() == reasons.keys()
    for reason in reasons.values():
        assert reason in printed
        assert reason in (out / "results.tex").read_text()
        assert reason in (out / "report.html").read_text()
    assert re.search(r"^InstructPix2Pix( +-){9}", printed, re.MULTILINE)
    with pytest.raises(EvaluationError, match=r"none of them can be made. InstructPix2Pix: no row, /nowhere: neither"):
        evaluate(out=tmp_path / "none", methods="instruct", instruct_pix2pix="/nowhere", **arguments)


def test_a_second_real_image_is_a_row_that_competes_with_none(tmp_path: Path, run_folder: Path) -> None:
    """Its error is that of the second image, by hand; it is never marked as best."""
    rows = [patch_row(0), patch_row(1)]
    for row in rows:
        with Image.open(io.BytesIO(row["post"]["bytes"])) as image:
            brighter = np.asarray(image) + np.uint8(51)  # a fifth of the range, and nothing saturates
        row["post_again"] = png(brighter)
    out = tmp_path / "out"
    evaluate(
        checkpoint=run_folder, dataset=write_dataset(tmp_path / "d", rows), out=out, methods="generated,again",
        networks="none", sampling=Sampling(steps=1),
    )  # fmt: skip
    summary = results(out)["summary"]["again"]
    for region in ("whole", "inside", "outside"):
        assert summary[region]["mse"]["value"] == pytest.approx(0.2**2, rel=1e-6)
    table = (out / "results.tex").read_text()
    (line,) = (line for line in table.split("\\end{table}")[0].splitlines() if line.startswith("real post"))
    assert "textbf" not in line
    assert "real post, taken again" in (out / "report.html").read_text()


def test_only_some_events(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """Their patches alone, from the noise that they have in the whole split."""
    arguments: dict[str, Any] = {"checkpoint": run_folder, "dataset": dataset, "networks": "none"}
    evaluate(out=tmp_path / "out", events=EVENTS[2], methods="copy", sampling=Sampling(steps=1, seed=50), **arguments)
    (patch,) = results(tmp_path / "out")["per_patch"]
    assert (patch["patch_id"], patch["seeds"]) == (NAMES[2], [52])
    with pytest.raises(DataError, match=r"no event 'juniper-fire' in the split. Did you mean juniper-creek-fire\?"):
        evaluate(out=tmp_path / "none", events="juniper-fire", **arguments)


def test_an_empty_split(tmp_path: Path, run_folder: Path) -> None:
    """Named before anything is made."""
    dataset = emptied(write_dataset(tmp_path / "d", [patch_row(0)]))
    with pytest.raises(DataError, match="split 'test' is empty"):
        evaluate(checkpoint=run_folder, dataset=dataset, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""The folder of an evaluation: replaced on request only, gone on with after a stop."""

from pathlib import Path
from typing import Any

import pytest

from data.errors import DataError
from data.storage import locked
from evaluation.errors import EvaluationError
from evaluation.output import image_file
from evaluation.run import evaluate
from generate.errors import GenerateError
from generate.sampling import Sampling
from tests.evaluation.test_run import NAMES, results


def test_out_folder(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """An earlier evaluation is replaced only on request, anything else never."""
    arguments: dict[str, Any] = {"checkpoint": run_folder, "dataset": dataset, "networks": "none"}
    out, one_step = tmp_path / "out", Sampling(steps=1)
    evaluate(out=out, limit=1, sampling=one_step, **arguments)
    kept = (out / image_file(NAMES[0], "generated")).stat().st_mtime_ns
    with pytest.raises(EvaluationError, match="--overwrite"):
        evaluate(out=out, limit=1, sampling=one_step, **arguments)
    evaluate(out=out, overwrite=True, limit=2, sampling=one_step, **arguments)
    assert len(results(out)["per_patch"]) == 2
    assert (out / image_file(NAMES[0], "generated")).stat().st_mtime_ns == kept
    (out / "images/mine.txt").write_text("notes")
    with pytest.raises(EvaluationError, match=r"holds mine\.txt"):
        evaluate(out=out, overwrite=True, sampling=one_step, **arguments)
    (tmp_path / "home/images/base").mkdir(parents=True)
    (tmp_path / "home/images/base/me.png").write_text("mine")
    with pytest.raises(GenerateError, match=r"contains other files \(me\.png\)"):
        evaluate(out=tmp_path / "home", overwrite=True, sampling=one_step, **arguments)


def test_an_interrupted_evaluation_goes_on(
    tmp_path: Path, run_folder: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images are kept; there is no results.json before all is there."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    arguments: dict[str, Any] = {"checkpoint": run_folder, "dataset": dataset, "networks": "none"}
    with monkeypatch.context() as patched:
        patched.setattr("evaluation.conclude.measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            evaluate(out=out, sampling=Sampling(steps=1), limit=2, **arguments)
    assert [path.name for path in out.iterdir()] == ["images"]
    monkeypatch.setattr("generate.editing.methods.load_generator", lambda *_: pytest.fail("loaded"))
    evaluate(out=out, sampling=Sampling(steps=1), limit=2, **arguments)
    assert capsys.readouterr().out.count("2 of 2 images exist already") == 2
    assert len(results(out)["per_patch"]) == 2


def test_stopped_at_the_report_or_while_overwriting(
    tmp_path: Path, run_folder: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own half-written report is no stranger; old results never stand beside new images."""
    out = tmp_path / "out"
    arguments: dict[str, Any] = {
        "checkpoint": run_folder, "dataset": dataset, "out": out, "networks": "none", "methods": "generated,copy",
        "limit": 1,
    }  # fmt: skip
    evaluate(sampling=Sampling(steps=1), **arguments)
    (out / "results.json").unlink()
    (out / ".report.html.partial").write_text("<html>")
    evaluate(sampling=Sampling(steps=1), **arguments)
    assert sorted(path.name for path in out.iterdir()) == ["images", "report.html", "results.json", "results.tex"]
    (out / ".notes.partial").write_text("mine")
    with pytest.raises(EvaluationError, match=r"holds \.notes\.partial"):
        evaluate(sampling=Sampling(steps=2), overwrite=True, **arguments)
    assert (out / "results.json").is_file()
    (out / ".notes.partial").unlink()

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluation.images.make_images", interrupt)
    with pytest.raises(KeyboardInterrupt):
        evaluate(sampling=Sampling(steps=2), overwrite=True, **arguments)
    assert [path.name for path in out.iterdir()] == ["images"]
    with locked(out), pytest.raises(DataError, match="another command is writing to it"):
        evaluate(sampling=Sampling(steps=1), **arguments)

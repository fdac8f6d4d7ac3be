"""The report of a run after two resumes, runs compared, and folders that are no run of this version."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from launch.cli import main
from tests.browser import assert_fits_every_screen, needs_browser
from tests.train.conftest import Arguments, run
from train.config import Config, DataConfig, RunConfig, TrainConfig, ValidationConfig, save_config
from train.errors import ConfigError
from train.saving.run_files import read_facts
from train.watching.contact_sheet import contact_sheet
from train.watching.history import MOST_SHEETS, read_run, read_sheets
from train.watching.run_page import run_page, write_run_page
from train.watching.runs import runs

SIDE = 12


def write_run(folder: Path, *, steps: int = 40, rate: float = 1e-3, loss: float = 0.5) -> Path:
    """A finished run as training leaves it: a line every step, a validation with two pictures every fourth."""
    folder.mkdir(parents=True)
    train = TrainConfig(steps=steps, learning_rate=rate)
    config = Config(
        data=DataConfig(dataset=Path("d")), train=train, validation=ValidationConfig(every=4), run=RunConfig(out=folder)
    )
    save_config(config, folder / "config.yaml")
    start = {"step": 0, "time": "2026-01-02T03:04:05+00:00", "processes": 1, "changed": {}}
    facts = {"id": "a1b2", "command": ["-m", "train"], "versions": {"torch": "2"}, "commit": "c", "starts": [start]}
    (folder / "run.json").write_text(json.dumps(facts))
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        lines.append({"step": step, "loss": loss + 1 / step, "learning_rate": rate, "examples_per_second": 10.0})
        if step % 4 == 0:
            lines.append({"step": step, "validation_loss": loss + 2 / step, "control_gap": step / 100,
                          "psnr_inside": 15.0, "validation_loss_t125": loss, "validation_loss_t1000": 2.5})  # fmt: skip
            write_sheet(folder / f"validation/step-{step:08d}", step)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def write_sheet(folder: Path, value: int) -> None:
    """Two patches; the generated images have the value of their step."""
    folder.mkdir(parents=True)
    plain = [np.full((SIDE, SIDE, 3), shade, np.uint8) for shade in (200, value, 100)]
    Image.fromarray(contact_sheet([plain, plain[::-1]])).save(folder / "images.png")
    (folder / "scores.json").write_text(json.dumps([{"patch_id": "a"}, {"patch_id": "b"}]))


@needs_browser
def test_a_run_with_two_resumes(tmp_path: Path, arguments: Arguments) -> None:
    validated = ["--validation.every=2", "--validation.images=2", "--validation.examples=2",
                 "--validation.sampling_steps=1"]  # fmt: skip
    run(arguments("run", *validated, "--train.steps=2"))
    run(arguments("run", *validated, "--train.steps=4", "--train.micro_batch=1"))
    run(arguments("run", *validated, "--run.log_every=2", "--train.micro_batch=1"))
    starts = read_facts(tmp_path / "run")["starts"]
    assert [start["step"] for start in starts] == [0, 2, 4]
    assert starts[0]["changed"] == {} and starts[2]["changed"] == {"run.log_every": [1, 2], "train.steps": [4, 6]}
    assert starts[1]["changed"] == {"train.micro_batch": [2, 1], "train.steps": [2, 4]}
    page = (tmp_path / "run/report.html").read_text()
    assert page.count("<img ") == 2 * (3 + 2)  # pre, three validations, real
    assert "train.micro_batch: 2 → <b>1</b>" in page and "of 6 steps" in page and "state</dt><dd>finished" in page
    assert page.count('<line class="mark"') >= 2 * 6  # both resumes in most charts
    assert_fits_every_screen(tmp_path / "run/report.html", tmp_path)


def test_a_page_that_fails_does_not_stop_the_training(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError("no axis")

    monkeypatch.setattr("train.watching.run_page.run_page", fail)
    assert run(arguments("run", "--train.steps=2")) == 0
    out = tmp_path / "run"
    assert f"NO {out / 'report.html'} (ZeroDivisionError: no axis). Try again: pre2post runs {out}" in (
        capsys.readouterr().out
    )
    monkeypatch.undo()
    runs([out])
    assert "There is no validation yet" in (out / "report.html").read_text()


def test_what_the_page_reads(tmp_path: Path) -> None:
    found = read_run(write_run(tmp_path / "run"))
    assert found.step == found.steps == 40 and found.values("control_gap")[0] == (4, 0.04)
    assert found.bins("validation_loss") == ["validation_loss_t125", "validation_loss_t1000"]
    sheets = read_sheets(found)
    assert len(sheets) == MOST_SHEETS and (sheets[0].step, sheets[-1].step) == (4, 40)
    for sheet in sheets:
        pre, generated, real = sheet.patches["a"]
        assert generated.shape == (SIDE, SIDE, 3)
        assert {int(pre.mean()), int(real.mean())} == {200, 100} and (generated == sheet.step).all()
    assert sheets[0].patches["b"][0].mean() == 100


def test_numbers_that_cannot_be_drawn_are_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", steps=1)
    strange = [None, "x", True, [1], {"a": 1}, 10**400]
    with (folder / "metrics.jsonl").open("a") as file:
        for value in strange:
            file.write(json.dumps({"step": 2, "loss": value, "validation_loss": value}) + "\n")
        file.write('{"step": 3, "loss": NaN}\n{"step": 3, "loss": Infinity}\n{"step": 3, "loss": 7.0}\n')
    assert [value for _, value in read_run(folder).values("loss")] == [1.5, 7.0]
    write_run_page(folder)


@given(st.lists(st.dictionaries(st.sampled_from(["loss", "validation_loss", "control_gap", "psnr_inside"]),
                                st.floats(allow_nan=False) | st.none()), min_size=1, max_size=5))  # fmt: skip
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_metrics_give_a_page(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    folder = tmp_path / "run"
    if not folder.exists():
        write_run(folder, steps=1)
    text = "".join(json.dumps({"step": step, **line}) + "\n" for step, line in enumerate(lines))
    (folder / "metrics.jsonl").write_text(text)
    page = run_page(read_run(folder), [])
    assert not re.search(r"\b(nan|inf)\b", page.partition("</style>")[2])


@needs_browser
def test_two_runs_in_one_table_and_one_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = write_run(tmp_path / "runs/one"), write_run(tmp_path / "runs/two", steps=80, rate=1e-2, loss=0.25)
    out = tmp_path / "page.html"
    write_run_page(one)
    for words in ([str(one), str(two)], [str(tmp_path / "runs")]):
        monkeypatch.setattr("sys.argv", ["pre2post", "runs", *words, "--out", str(out)])
        assert main() == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["one", "40", "of", "40", "0.55", "40", "0.4", "15", "-", "-", "0.525", "10"] in table
    assert ["two", "80", "of", "80", "0.275", "80", "0.8", "15", "-", "-", "0.263", "10"] in table
    page = out.read_text()
    assert "<th>train.learning_rate</th><td>0.001</td><td>0.01</td>" in page and "run.out" not in page
    assert '<a href="runs/one/report.html">one</a>' in page and "<th>two</th>" in page
    assert page.count("<img ") == 2 * 4 and "cannot be compared" not in page
    assert_fits_every_screen(out, tmp_path)


def test_runs_on_other_patches_are_not_compared_silently(tmp_path: Path) -> None:
    one, two = write_run(tmp_path / "one"), write_run(tmp_path / "two")
    config = yaml.safe_load((two / "config.yaml").read_text())
    config["validation"]["split"] = "test"
    (two / "config.yaml").write_text(yaml.safe_dump(config))
    runs([one, two], out=tmp_path / "page.html")
    assert "validation.split differ: validation losses" in (tmp_path / "page.html").read_text()


def test_a_page_of_the_users_is_not_replaced(tmp_path: Path) -> None:
    one, two = write_run(tmp_path / "one"), write_run(tmp_path / "two")
    mine = tmp_path / "page.html"
    mine.write_text("<html>mine")
    with pytest.raises(ConfigError, match="no page of `pre2post runs`"):
        runs([one, two], out=mine)
    assert mine.read_text() == "<html>mine"


BROKEN: dict[str, list[str | bytes]] = {
    "config.yaml": ["", "a: [", "- x", "data: 3", b"\xff\xfe\x00"],
    "run.json": ["", "{}", "[", '{"id": 1}', '{"id": "a", "command": [], "versions": {}, "commit": "", "starts": [1]}'],
    "metrics.jsonl": [
        "",
        "no json\n{}\n",
        '{"loss": 1}\n{"step": 1}\n',
        '{"step": -1}\n',
        '{"step": 1' + "0" * 99 + "}\n",
    ],
    "validation/step-00000004/scores.json": ["", "{}", '[{"patch": "a"}]'],
    "validation/step-00000004/images.png": ["", "GIF89a"],
}


@pytest.mark.parametrize(("name", "content"), [(name, one) for name, many in BROKEN.items() for one in many])
def test_broken_files_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, content: str | bytes
) -> None:
    folder = write_run(tmp_path / "run", steps=4)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setattr("sys.argv", ["pre2post", "runs", str(folder)])
    assert main() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder / name}: ") and error.count("\n") == 1
    assert not (folder / "report.html").exists()


def test_folders_that_are_no_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match=r"no run, it has no config\.yaml"):
            runs([folder])
    old = write_run(tmp_path / "old", steps=4)
    facts = json.loads((old / "run.json").read_text())
    del facts["starts"]  # as versions wrote it that recorded none
    (old / "run.json").write_text(json.dumps(facts))
    shutil.rmtree(old / "validation")
    runs([old])
    page = (old / "report.html").read_text()
    assert "started by an earlier version" in page and "None yet: they come with the validations" in page

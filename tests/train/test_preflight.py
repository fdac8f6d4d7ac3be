"""Everything that is wrong is said at once, before anything is downloaded, written or trained."""

import sys
from pathlib import Path

import pytest

import train.__main__
from data.errors import DataError
from tests.train.conftest import Arguments, run
from train.errors import ConfigError


def call(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> int:
    """`python -m train` in this process."""
    monkeypatch.setattr(sys, "argv", ["train", *argv])
    return train.__main__.main()


def test_settings_folders_dataset_and_base_are_reported_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    wrong = [
        "--train.sedd=1",
        "--train.precision=fp8",
        "--train.seed=-1",
        f"--data.dataset={tmp_path / 'nothing'}",
        f"--run.cache={tmp_path / 'file'}",
        f"--run.out={tmp_path / 'file' / 'run'}",
        "--model.lora_targets=[to_x]",
        "--model.trained=controlnet+lora",
        "--objective.zero_terminal_snr=true",
    ]
    for more in ([], ["--check"]):
        assert call(monkeypatch, [*arguments("run", *wrong), *more]) == 2
        said = capsys.readouterr().err.splitlines()
        assert said[0] == "error: everything that is wrong:"
        starts = (
            "train.sedd: no such setting. Did you mean train.seed?",
            "train.precision is fp8; expected",
            "train.seed is -1",
            "run.out is",
            "run.cache is",
            f"dataset {tmp_path / 'nothing'} does not exist",
        )
        for start in starts:
            assert sum(line.startswith(start) for line in said) == 1, (start, said)


def test_what_the_base_cannot_do_is_reported_with_the_rest(tmp_path: Path, arguments: Arguments) -> None:
    with pytest.raises(ConfigError) as error:
        run(
            arguments("run", "--model.trained=lora", "--model.lora_targets=[to_x]", "--data.caption_styles={rhymed: 1}")
        )
    said = str(error.value)
    assert "data.caption_styles names 'rhymed'" in said and "model.lora_targets is ['to_x']" in said
    assert not (tmp_path / "run").exists()


def test_one_fault_is_raised_as_it_is(tmp_path: Path, arguments: Arguments) -> None:
    with pytest.raises(DataError, match="does not exist"):
        run(arguments("run", f"--data.dataset={tmp_path / 'nothing'}"))
    assert not (tmp_path / "run").exists()


def test_nothing_is_asked_of_the_hub_while_a_folder_is_wrong(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def hub(name: str) -> list[str]:
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr("models.hub.list_repo_files", hub)
    base = "--model.base=someone/something"
    with pytest.raises(DataError, match="does not exist"):
        run(arguments("run", base, f"--data.dataset={tmp_path / 'nothing'}"))
    assert asked == []
    with pytest.raises(ValueError, match="someone/something: neither a folder here nor a base"):
        run(arguments("run", base))
    assert asked == ["someone/something"]


def test_a_check_says_what_a_run_would_take_and_writes_nothing(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    validated = ["--validation.every=2", "--validation.examples=1", "--validation.images=0"]
    assert call(monkeypatch, [*arguments("run", *validated), "--check"]) == 0
    checked = {line[:11].strip(): line[11:] for line in capsys.readouterr().out.splitlines()}
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()
    assert " GB of memory per process, " in checked["estimate"] and " s per step, " in checked["estimate"]
    assert checked["disk"].startswith("at most ") and " GB are free" in checked["disk"]
    assert call(monkeypatch, arguments("run", *validated)) == 0
    begun = {line[:11].strip(): line[11:] for line in capsys.readouterr().out.splitlines()}
    for row in ("trained", "frozen", "examples", "steps", "memory", "validation", "watch"):
        assert checked[row] == begun[row], row

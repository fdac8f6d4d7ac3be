"""A build that is stopped and started again, and two at once."""

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import data.dataset.pieces
from data.build import build
from data.dataset.rows import build_scene
from data.errors import DataError
from data.options import SplitRule
from data.storage import LOCK
from tests.data.test_build_errors import THIS_CODE, assert_group_ends
from tests.data.tiny_release import SCENE_IDS
from tests.worlds import REPOSITORY

KILLS = 10


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The scenes that have been built so far; a scene is a shard. The build stops before the scene named in `stop`."""
    scenes: list[str] = []
    real = build_scene

    def logged(task: Any) -> Any:
        scenes.append(task.scene.scene_id)
        return real(task)

    monkeypatch.setattr("data.dataset.pieces.build_scene", logged)
    monkeypatch.setattr("data.dataset.pieces.SCENES_PER_SHARD", 1)
    yield scenes


def interrupted(release: Path, out: Path, at: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Build, and stop after `at` scenes."""
    real, count = vars(data.dataset.pieces)["build_scene"], 0

    def counting(task: Any) -> Any:
        nonlocal count
        count += 1
        if count > at:
            raise KeyboardInterrupt
        return real(task)

    with monkeypatch.context() as patch:
        patch.setattr("data.dataset.pieces.build_scene", counting)
        with pytest.raises(KeyboardInterrupt):
            build(source=release, out=out, size=32, workers=1, **options)


@pytest.mark.slow
def test_a_kill_at_any_moment(release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.data.killed_builds", str(release), str(folder), str(KILLS)]
    output = subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True, text=True, timeout=300).stdout
    report = json.loads(output)
    assert report["total"] > 30 and len(report["kills"]) == KILLS
    expected = contents(folder / "whole")
    for i, kill in enumerate(report["kills"]):
        # A build killed after its last move is whole; the rerun then says that the folder is not empty.
        assert (kill["status"], kill["resumed"]) == (-signal.SIGKILL, int(kill["whole"])), kill
        assert contents(folder / f"d{i}") == expected, kill
        assert kill["built"] <= 5 - kill["records"], kill  # what was finished is not built again
    assert {kill["built"] for kill in report["kills"]} > {5, 0}
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_rerun_builds_only_what_is_missing(
    release: Path, tmp_path: Path, built: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(release, tmp_path / "d", 3, monkeypatch)
    assert (
        f"3 finished shards are kept in {tmp_path / '.d.partial'}: the same command continues"
        in capsys.readouterr().err
    )
    first = list(built)
    build(source=release, out=tmp_path / "d", size=32, workers=1)
    assert len(first) == 3 and sorted(built) == sorted(SCENE_IDS)
    build(source=release, out=tmp_path / "straight", size=32, workers=1)
    assert contents(tmp_path / "d") == contents(tmp_path / "straight")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "release", "straight"]


def test_other_options_or_files_are_built_anew(
    release: Path, tmp_path: Path, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(release, tmp_path / "d", 4, monkeypatch)
    label = release / "train" / "labels" / f"{SCENE_IDS[0]}_post_disaster.json"
    label.write_text(label.read_text().replace("un-classified", "destroyed"))
    first = set(built)
    built.clear()
    build(source=release, out=tmp_path / "d", size=32, workers=1)
    assert set(built) == {SCENE_IDS[0]} | (set(SCENE_IDS) - first)
    counts = json.loads((tmp_path / "d" / "dataset.json").read_text())["splits"]["train"]["buildings"]
    assert (counts["destroyed"], counts["un_classified"]) == (2, 0)
    interrupted(release, tmp_path / "e", 4, monkeypatch)
    built.clear()
    build(source=release, out=tmp_path / "e", size=64, workers=1)
    assert sorted(built) == sorted(SCENE_IDS)


@pytest.mark.parametrize("damage", ["shard", "record"])
def test_a_damaged_piece_is_built_anew(
    release: Path, tmp_path: Path, built: list[str], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    interrupted(release, tmp_path / "d", 2, monkeypatch)
    name = {"shard": "dataset/data/train-00001*", "record": "records/train-00001*"}[damage]
    (path,) = (tmp_path / ".d.partial").glob(name)
    path.write_bytes(path.read_bytes()[:-100])
    built.clear()
    build(source=release, out=tmp_path / "d", size=32, workers=1)
    assert set(built) == set(SCENE_IDS) - {SCENE_IDS[0]}


def test_strict_stops_at_a_piece_of_an_earlier_run_too(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: list[str]
) -> None:
    (release / "train" / "images" / f"{SCENE_IDS[1]}_pre_disaster.png").write_bytes(b"")
    interrupted(release, tmp_path / "d", 3, monkeypatch)
    with pytest.raises(DataError, match=rf"{SCENE_IDS[1]}: .*Stopped at once, as --strict asks"):
        build(source=release, out=tmp_path / "d", size=32, workers=1, strict=True)


def test_two_builds_into_one_folder(release: Path, tmp_path: Path) -> None:
    work = tmp_path / ".d.partial"
    work.mkdir()
    with (work / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"/d: another command is writing to it at this moment. Wait until it ends"):
            build(source=release, out=tmp_path / "d", size=32, workers=1)
        assert [path.name for path in work.iterdir()] == [LOCK]
    build(source=release, out=tmp_path / "d", size=32, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "release"]


def test_a_kill_between_the_two_moves_of_an_overwrite(release: Path, tmp_path: Path) -> None:
    build(source=release, out=tmp_path / "d", size=32, workers=1)
    (tmp_path / "d").rename(tmp_path / ".d.old")
    with pytest.raises(DataError, match="is not empty; add --overwrite"):
        build(source=release, out=tmp_path / "d", size=32, workers=1)
    assert (tmp_path / "d" / "dataset.json").exists() and not (tmp_path / ".d.old").exists()
    (tmp_path / ".d.old").mkdir()  # killed while the former one was removed
    build(source=release, out=tmp_path / "d", size=32, workers=1, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "release"]


@pytest.mark.slow
def test_workers_end_with_a_killed_build(release: Path, tmp_path: Path) -> None:
    """Only the parent is killed; nobody else could end its workers."""
    code = (
        "import sys, data.dataset.pieces\nfrom pathlib import Path\nfrom data.build import build\n"
        "if __name__ == '__main__':\n"
        "    data.dataset.pieces.SCENES_PER_SHARD = 1\n"
        "    build(source=Path(sys.argv[1]), out=Path(sys.argv[2]), size=32, workers=2)\n"
    )
    (tmp_path / "script.py").write_text(code)
    command = [sys.executable, str(tmp_path / "script.py"), str(release), str(tmp_path / "d")]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, env=THIS_CODE)
    while not (tmp_path / ".d.partial" / "records").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    assert_group_ends(process.pid, within_s=30)
    subprocess.run(command, check=True, env=THIS_CODE, capture_output=True)
    assert len(list((tmp_path / "d" / "data").iterdir())) == 5 and not list(tmp_path.glob(".d*"))


@pytest.mark.slow
def test_two_processes_build_what_one_does(release: Path, tmp_path: Path) -> None:
    out, straight = tmp_path / "together", tmp_path / "straight"
    options = ["--source", str(release), "--size", "32", "--split-by", "event"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    together = [*launcher, "-m", "launch.cli", "build", "--out", str(out), *options]
    done = subprocess.run(together, check=False, cwd=REPOSITORY, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    build(source=release, out=straight, size=32, workers=1, split=SplitRule(split_by="event"))
    assert len(list((out / "data").iterdir())) >= 2  # a shard for each process at least
    assert contents(out) == contents(straight)
    assert done.stdout.count("20 patches of 5 scenes") == 1  # the first process tells for all
    again = subprocess.run(together, check=False, cwd=REPOSITORY, capture_output=True, text=True, timeout=200)
    assert again.returncode == 1 and f"error: out {out} is not empty" in again.stderr
    assert "Traceback" not in again.stderr.partition("torch/distributed")[0]

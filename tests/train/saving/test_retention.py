"""Which checkpoints are kept."""

import errno
import math
from pathlib import Path

import pytest

from models.checkpoint import fault_of, mark_best, resolve_checkpoint, step_folder, write_checkpoint
from tests.disks import Disk
from train.saving.retention import delete_old, lowest_loss


def write(checkpoints: Path, *steps: int, losses: dict[int, float] | None = None) -> None:
    for step in steps:
        state = {"step": step} | ({"validation_loss": losses[step]} if losses and step in losses else {})
        write_checkpoint(step_folder(checkpoints, step), state, lambda partial: None)


def kept(checkpoints: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in checkpoints.glob("step-*"))


@pytest.mark.parametrize(
    ("keep_last", "keep_every", "expected"),
    [(0, 0, [1, 2, 3, 4, 5, 6, 7]), (2, 0, [6, 7]), (1, 3, [3, 6, 7]), (3, 2, [2, 4, 5, 6, 7])],
)
def test_the_last_ones_and_every_nth_stay(tmp_path: Path, keep_last: int, keep_every: int, expected: list[int]) -> None:
    write(tmp_path, *range(1, 8))
    delete_old(tmp_path, 7, keep_last=keep_last, keep_every=keep_every)
    assert kept(tmp_path) == expected


def test_the_best_one_stays(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3)
    mark_best(step_folder(tmp_path, 3))
    mark_best(step_folder(tmp_path, 1))
    delete_old(tmp_path, 3, keep_last=1, keep_every=0)
    assert kept(tmp_path) == [1, 3]
    assert (tmp_path / "best/state.json").read_text() == (step_folder(tmp_path, 1) / "state.json").read_text()


def test_a_broken_one_does_not_push_a_whole_one_out(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3, 9)
    (step_folder(tmp_path, 9) / "state.json").unlink()  # the run went on from 2
    (step_folder(tmp_path, 3) / "state.json").write_text("{")
    delete_old(tmp_path, 3, keep_last=1, keep_every=0)
    assert kept(tmp_path) == [2, 3, 9]


def test_the_lowest_loss_is_that_of_earlier_whole_ones(tmp_path: Path) -> None:
    assert lowest_loss(tmp_path, 1) == math.inf
    write(tmp_path, 1, 2, 3, 4, losses={1: 0.5, 2: 0.25, 4: 0.1})
    assert lowest_loss(tmp_path, 3) == 0.25
    (step_folder(tmp_path, 2) / "MANIFEST.json").unlink()
    assert lowest_loss(tmp_path, 3) == 0.5


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EPERM])
def test_a_disk_without_links_locks_and_flushes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    disk = Disk(monkeypatch, tmp_path)
    disk.without_links(number)
    disk.without_locks(number)
    disk.without("fsync", errno.EINVAL)
    for step in (1, 2, 3):
        write(tmp_path, step)
        if step < 3:
            mark_best(step_folder(tmp_path, step))
        delete_old(tmp_path, step, keep_last=1, keep_every=0)
    assert kept(tmp_path) == [2, 3]
    assert resolve_checkpoint(tmp_path / "best") == step_folder(tmp_path, 2)


def test_files_still_open_on_nfs_are_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Disk(monkeypatch, tmp_path).with_nfs(".json")
    for step in (1, 2, 1, 2, 3):  # the run went back to the start in between
        write(tmp_path, step)
        delete_old(tmp_path, step, keep_last=1, keep_every=0)
    assert kept(tmp_path) == [3] and fault_of(step_folder(tmp_path, 3)) is None


def test_what_a_user_put_into_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3, 4)
    (step_folder(tmp_path, 1) / "notes.txt").write_text("mine")
    (tmp_path / ".step-mine").mkdir()
    (tmp_path / ".step-00000009.new").mkdir()  # of a save that was killed
    (tmp_path / ".step-00000009.new/optimizer.safetensors").touch()
    write(tmp_path, 5)
    delete_old(tmp_path, 5, keep_last=1, keep_every=0)
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".step-mine"]
    assert kept(tmp_path) == [1, 5] and (step_folder(tmp_path, 1) / "notes.txt").read_text() == "mine"

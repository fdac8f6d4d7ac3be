"""What a build does with bad input: a clear word, nothing half-written, nothing of the user's touched."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from data.build import build
from data.errors import DataError
from data.options import SplitRule
from data.report.inspect import inspect
from data.workers import WorkerPool
from tests.data.tiny_release import SCENE_IDS
from tests.disks import Disk
from tests.worlds import REPOSITORY

THIS_CODE = os.environ | {"PYTHONPATH": str(REPOSITORY)}  # a script elsewhere would import the installed one


def attempt(source: Path, out: Path, **options: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"source": source, "out": out, "size": 32, "workers": 1}
    build(**settings | options)
    manifest: dict[str, Any] = json.loads((out / "dataset.json").read_text())
    return manifest


def image(release: Path, phase: str = "post") -> Path:
    return release / "train" / "images" / f"{SCENE_IDS[0]}_{phase}_disaster.png"


def quarantined(manifest: dict[str, Any]) -> str:
    (entry,) = manifest["quarantine"]
    assert entry["scene_id"] == SCENE_IDS[0]
    assert manifest["splits"]["train"]["scenes"] == 2  # the others are there
    return str(entry["reason"])


def test_a_cut_image_is_quarantined_and_printed(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = image(release).read_bytes()
    image(release).write_bytes(content[: len(content) // 2])
    reason = quarantined(attempt(release, tmp_path / "d"))
    assert reason.startswith(f"{image(release)}: cannot be decoded (") and reason.endswith("fetch it again.")
    assert f"quarantined {SCENE_IDS[0]}: {reason}" in capsys.readouterr().out
    assert reason in (tmp_path / "d" / "report.html").read_text()


def test_other_bad_images_are_quarantined(release: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 32)).save(image(release))
    assert "64 x 32 px, but the pre image has 64 x 64 px" in quarantined(attempt(release, tmp_path / "size"))
    Image.new("I;16", (64, 64)).save(image(release))
    assert "has 1 band, but --bands 1,2,3 needs 3" in quarantined(attempt(release, tmp_path / "depth"))
    image(release).write_text("not an image")
    assert "cannot be decoded" in quarantined(attempt(release, tmp_path / "text"))


def test_a_bad_label_is_quarantined(release: Path, tmp_path: Path) -> None:
    label = release / "train" / "labels" / f"{SCENE_IDS[0]}_pre_disaster.json"
    label.write_text('{"features": {}}')
    assert quarantined(attempt(release, tmp_path / "d")).startswith(f"{label}: lacks features.xy")


def test_links_that_lead_in_circles(release: Path, tmp_path: Path) -> None:
    image(release).unlink()
    image(release).symlink_to(image(release).name)
    (release / "train" / "images" / "round").symlink_to(release, target_is_directory=True)
    manifest = attempt(release, tmp_path / "d")
    assert "symbolic links" in quarantined(manifest)
    assert manifest["unrecognised_files"] == ["train/images/round"]


def test_another_original_size_changes_nothing(release: Path, tmp_path: Path) -> None:
    """13 labels of hurricane-michael say 1025 px, though the image has 1024."""
    expected = attempt(release, tmp_path / "d")["fingerprint"]
    label = release / "train" / "labels" / f"{SCENE_IDS[0]}_post_disaster.json"
    document = json.loads(label.read_text())
    document["metadata"] |= {"original_width": 65, "original_height": 65, "width": 64, "height": 64}
    label.write_text(json.dumps(document))
    assert attempt(release, tmp_path / "again")["fingerprint"] == expected


def test_a_missing_phase_is_quarantined(release: Path, tmp_path: Path) -> None:
    image(release, "pre").unlink()
    assert quarantined(attempt(release, tmp_path / "d")).startswith("the pre image is missing")


def test_a_small_scene_is_quarantined(release: Path, tmp_path: Path) -> None:
    for phase in ("pre", "post"):
        path = release / "tier3" / "images" / f"{SCENE_IDS[4]}_{phase}_disaster.png"
        Image.new("RGB", (24, 64)).save(path)
    (entry,) = attempt(release, tmp_path / "d")["quarantine"]
    assert "24 x 64 px, smaller than a patch of 32 px" in entry["reason"]


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_strict_stops_at_the_first(release: Path, tmp_path: Path, damage: str) -> None:
    image(release).write_bytes(b"") if damage == "cut" else image(release).unlink()
    with pytest.raises(DataError, match=rf"{SCENE_IDS[0]}: .*Stopped at once, as --strict asks"):
        attempt(release, tmp_path / "d", strict=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release"]


def test_no_usable_scene_at_all(release: Path, tmp_path: Path) -> None:
    for path in release.rglob("*_pre_disaster.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 5 scenes could be used. The first: .*cannot be decoded"):
        attempt(release, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_bad_options(release: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="size is 100; the VAE needs a positive multiple of 8"):
        attempt(release, tmp_path / "d", size=100)
    with pytest.raises(
        DataError, match=r"pre_disaster.png: 64 x 64 px, smaller than a patch of 512 px. Choose a smaller"
    ):
        attempt(release, tmp_path / "d", size=512)
    with pytest.raises(DataError, match="workers is 0; expected 1 or more"):
        attempt(release, tmp_path / "d", workers=0)
    with pytest.raises(DataError, match="split_by is 'place'"):
        attempt(release, tmp_path / "d", split=SplitRule(split_by="place"))  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release"]


def test_a_used_folder_is_not_touched(release: Path, tmp_path: Path) -> None:
    diary = tmp_path / "d" / "diary.txt"
    diary.parent.mkdir()
    diary.write_text("mine")
    with pytest.raises(DataError, match=r"out .*d is not empty; name another folder"):
        attempt(release, tmp_path / "d")
    with pytest.raises(DataError, match=r"holds diary\.txt: not \(only\) a dataset built by pre2post"):
        attempt(release, tmp_path / "d", overwrite=True)
    assert diary.read_text() == "mine"
    with pytest.raises(DataError, match=r"diary\.txt is a file. Name a folder"):
        attempt(release, diary)


def test_overwrite_replaces_a_dataset_but_not_what_was_put_beside_it(release: Path, tmp_path: Path) -> None:
    attempt(release, tmp_path / "d")
    with pytest.raises(DataError, match=r"is not empty; add --overwrite to replace that dataset, or name another"):
        attempt(release, tmp_path / "d")
    assert attempt(release, tmp_path / "d", size=64, overwrite=True)["build"]["size"] == 64
    (tmp_path / "d" / "data" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"holds data/notes\.txt: not \(only\)"):
        attempt(release, tmp_path / "d", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "release"]


def test_a_disk_without_locks_links_and_flushes_that_keeps_deleted_files(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = Disk(monkeypatch, tmp_path)
    disk.without_locks()
    disk.without_links()
    disk.without("fsync", errno.EINVAL)
    disk.with_nfs(".parquet")
    first = attempt(release, tmp_path / "d")
    assert attempt(release, tmp_path / "d", overwrite=True)["fingerprint"] == first["fingerprint"]
    assert capsys.readouterr().err.count("no locks") == 1
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and path.parent.name == "data"}
    assert {name for name in left if not name.startswith(".nfs")} == {Path(one["file"]).name for one in first["shards"]}


def test_a_link_as_out_stays_one(release: Path, tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "d").symlink_to("large disk/d")  # which is not there yet
    for overwrite in (False, True):
        attempt(release, tmp_path / "d", overwrite=overwrite)
        assert os.readlink(tmp_path / "d") == "large disk/d"
    assert sorted(path.name for path in (tmp_path / "large disk").iterdir()) == ["d"]


def test_a_report_that_was_stopped_is_no_stranger(release: Path, tmp_path: Path) -> None:
    attempt(release, tmp_path / "d")
    (tmp_path / "d/.report.html.partial").write_text("<html>")
    attempt(release, tmp_path / "d", overwrite=True)
    (tmp_path / "d/.report.html.partial").write_text("<html>")
    (tmp_path / "d/report.html").unlink()
    inspect(dataset=tmp_path / "d")
    assert "</html>" in (tmp_path / "d/report.html").read_text()
    assert not (tmp_path / "d/.report.html.partial").exists()


def test_an_empty_folder_may_be_filled(release: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert attempt(release, tmp_path / "d")["format_version"] == 2


def test_a_full_disk(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", fail)
    with pytest.raises(
        DataError, match=r"/d: could not be written, the disk is full. Free some space, .* Nothing was left"
    ):
        attempt(release, tmp_path / "d")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release"]


def test_out_below_a_file(release: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/d: .*a part of this path is a file, not a folder. Correct"):
        attempt(release, tmp_path / "file" / "d")


def test_an_interrupt_leaves_nothing(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("data.dataset.pieces.build_scene", interrupt)
    with pytest.raises(KeyboardInterrupt):
        attempt(release, tmp_path / "d")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release"]


def test_a_worker_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with WorkerPool(2) as pool:
        assert list(pool.map(os.getenv, ["OMP_NUM_THREADS"])) == ["1"]
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.slow
def test_control_c_ends_the_workers_too(release: Path, tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to the whole process group."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom data.build import build\n"
        "if __name__ == '__main__':\n"
        "    build(source=Path(sys.argv[1]), out=Path(sys.argv[2]), size=32, workers=2)\n"
    )
    command = [sys.executable, str(script), str(release), str(tmp_path / "d")]
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        env=THIS_CODE,
        # Tests that a shell runs in the background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (tmp_path / ".d.partial/dataset").exists():  # earlier, an empty hidden folder may stay
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT or "KeyboardInterrupt" in errors
    assert not (tmp_path / "d").exists()
    # Small as it is, the build may have finished a shard; without one nothing is left behind.
    assert all(list(partial.glob("dataset/data/*.parquet")) for partial in tmp_path.glob("*d*partial*"))
    assert_group_ends(process.pid, within_s=20)


def assert_group_ends(group: int, within_s: float) -> None:
    """No process of the group outlives the build for long."""
    deadline = time.monotonic() + within_s
    while _group_lives(group):
        assert time.monotonic() < deadline, "a worker outlived the build"
        time.sleep(0.05)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _die(_: int) -> None:
    os._exit(1)


def test_a_killed_worker_is_explained() -> None:
    with pytest.raises(DataError, match=r"one of 2 worker processes was killed.*Try --workers 1"):
        with WorkerPool(2) as pool:
            list(pool.map(_die, [1, 2, 3]))

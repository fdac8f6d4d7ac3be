"""The same images however the work was cut up: batches, order, interruptions, processes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from generate.output import ImageFolder
from generate.run import generate
from generate.sampling import Sampling
from tests.forked import in_two_processes
from tests.generate.worlds import write_image

REPOSITORY = Path(__file__).parents[2]


def images(out: Path) -> dict[str, Any]:
    """The pixels of every file that the manifest lists."""
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    return {line["file"]: np.asarray(Image.open(out / line["file"])).astype(int) for line in lines}


def assert_same(one: Path, other: Path) -> None:
    """The same files; float sums of other batches may differ in the last bit, hence one level."""
    first, second = images(one), images(other)
    assert first.keys() == second.keys()
    assert max(np.abs(first[file] - second[file]).max() for file in first) <= 1


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """Five images."""
    entries = [{"pre": write_image(tmp_path / f"{i}.png", seed=i).name, "prompt": f"flood {i}"} for i in range(5)]
    (tmp_path / "batch.jsonl").write_text("\n".join(json.dumps(entry) for entry in entries))
    return tmp_path / "batch.jsonl"


def test_batches_of_one_and_four(tmp_path: Path, run_folder: Path, batch: Path) -> None:
    """An image depends on its place in the file and the seed alone."""
    for size in (1, 4):
        generate(
            checkpoint=run_folder, pre=batch, out=tmp_path / f"out{size}", sampling=Sampling(steps=2, batch_size=size)
        )
    assert_same(tmp_path / "out1", tmp_path / "out4")
    assert len(images(tmp_path / "out1")) == 5


def test_interrupted_and_run_again(
    tmp_path: Path, run_folder: Path, batch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was finished stays as it is, byte for byte and untouched; the rest is made."""
    arguments: dict[str, Any] = {
        "checkpoint": run_folder, "pre": batch, "sampling": Sampling(steps=2, batch_size=2),
    }  # fmt: skip
    generate(out=tmp_path / "straight", **arguments)
    add, count = ImageFolder.add, 0

    def interrupted(self: ImageFolder, *args: Any) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        add(self, *args)

    monkeypatch.setattr(ImageFolder, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(out=tmp_path / "broken", **arguments)
    monkeypatch.setattr(ImageFolder, "add", add)
    finished = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "broken").glob("*.png")}
    assert len(finished) == 3
    generate(out=tmp_path / "broken", **arguments)
    assert "3 of 5 images exist already" in capsys.readouterr().out
    assert {name: (tmp_path / "broken" / name).stat().st_mtime_ns for name in finished} == finished
    assert_same(tmp_path / "straight", tmp_path / "broken")
    assert {path.name for path in (tmp_path / "broken").iterdir()} == {*images(tmp_path / "straight"), "manifest.jsonl"}


def test_a_damaged_or_killed_write_is_made_again(tmp_path: Path, run_folder: Path, batch: Path) -> None:
    """A file that is not as its manifest says, a line that breaks off, a file left half-written."""
    out = tmp_path / "out"
    one_by_one = Sampling(steps=1, batch_size=1)  # so that sums are the same to the last bit
    arguments: dict[str, Any] = {"checkpoint": run_folder, "pre": batch, "out": out, "sampling": one_by_one}
    generate(**arguments)
    whole = (out / "1.png").read_bytes()
    (out / "1.png").write_bytes(whole[:100])
    manifest = (out / "manifest.jsonl").read_text()
    (out / "manifest.jsonl").write_text(manifest[:-30])
    (out / ".3.png.partial").write_bytes(b"half")
    (out / "4.png").unlink()
    generate(**arguments)
    assert (out / "manifest.jsonl").read_text() == manifest
    assert (out / "1.png").read_bytes() == whole
    assert not list(out.glob(".*"))


def test_a_finished_run_loads_no_network(
    tmp_path: Path, run_folder: Path, batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running the command once more costs nothing."""
    arguments: dict[str, Any] = {"checkpoint": run_folder, "pre": batch, "sampling": Sampling(steps=1)}
    generate(out=tmp_path / "out", **arguments)
    monkeypatch.setattr("generate.run.load_generator", lambda *_: pytest.fail("loaded"))
    generate(out=tmp_path / "out", **arguments)


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path: Path, run_folder: Path, batch: Path) -> None:
    """Each takes every second image; a scene they make together, equal to the bit. The manifest is one."""
    write_image(tmp_path / "scene.png", side=72)  # 16 windows
    with batch.open("a") as file:
        file.write('\n{"pre": "scene.png", "prompt": "x"}')
    options = ["--checkpoint", run_folder, "--pre", batch, "--out", tmp_path / "two", "--steps", "2"]
    in_two_processes("launch.cli", "generate", *map(str, [*options, "--batch-size", 3]))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as there
    generate(checkpoint=run_folder, pre=batch, out=tmp_path / "one", sampling=Sampling(steps=2, batch_size=3))
    torch.set_num_threads(threads)
    assert_same(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "one/scene.png").read_bytes() == (tmp_path / "two/scene.png").read_bytes()
    assert (tmp_path / "one/manifest.jsonl").read_text().count("\n") == 6
    one, two = ((tmp_path / out / "manifest.jsonl").read_text().splitlines() for out in ("one", "two"))
    assert [json.loads(line)["file"] for line in one] == [json.loads(line)["file"] for line in two]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        [*images(tmp_path / "one"), "manifest.jsonl"]
    )

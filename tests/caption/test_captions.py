"""Captions by a random LLaVA: the same bytes whatever the batch, the processes, the memory, and after every kill."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from caption.errors import CaptionError
from caption.model import ImageModel
from caption.options import Writer
from caption.run import caption
from data.build import build
from tests.data.tiny_release import write_release
from tests.forked import in_two_processes
from tests.worlds import REPOSITORY

TOKENS = 8
PATCHES = 20  # of the tiny release


def run(dataset: Path, llava: Path, out: Path, batch_size: int = 4, **more: Any) -> dict[str, bytes]:
    """The two files."""
    writer = Writer(model=str(llava), max_new_tokens=more.pop("tokens", TOKENS), batch_size=batch_size)
    caption(dataset=dataset, out=out, target="pre,post,change", writer=writer, **more)
    return files(out)


def files(out: Path) -> dict[str, bytes]:
    return {path.suffixes[0]: path.read_bytes() for path in (out, out.with_name(f"{out.stem}.quarantined.jsonl"))}


@pytest.fixture(scope="module")
def whole(dataset: Path, llava: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Made in one go, in batches of four."""
    return run(dataset, llava, tmp_path_factory.mktemp("whole") / "captions.jsonl")


def lines(content: bytes) -> list[dict[str, str]]:
    return [json.loads(line) for line in content.decode().splitlines()]


def test_every_caption_is_there_once_in_the_order_of_the_dataset(whole: dict[str, bytes]) -> None:
    found = lines(whole[".jsonl"])
    named = {(line["patch_id"], line["style"], line["target"]) for line in found}
    assert len(found) == len(named) == 3 * PATCHES
    assert {(style, target) for _, style, target in named} == {
        ("sentence-facts", "pre"),
        ("sentence-facts", "post"),
        ("change-sentence-facts", "post"),
    }
    assert all(line["mirrored"] for line in found)  # so that the style trains on mirrored views
    made = [line for line in [*found, *lines(whole[".quarantined"])] if line["model"] != "labels"]
    assert len({line["key"] for line in made}) == len(made) == 3 * PATCHES
    assert {line["prompt"].partition("@")[0] for line in made} == {
        f"{target}-sentence-facts" for target in ("pre", "post", "change")
    }
    assert len({line["text"] for line in made}) > PATCHES  # the model looks at its images


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batch_changes_nothing(
    dataset: Path, llava: Path, tmp_path: Path, whole: dict[str, bytes], batch_size: int
) -> None:
    assert run(dataset, llava, tmp_path / "captions.jsonl", batch_size) == whole


def test_out_of_memory_halves_the_batch(
    dataset: Path,
    llava: Path,
    tmp_path: Path,
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes, real = [], ImageModel.__call__

    def small(model: ImageModel, batch: Sequence[Any]) -> list[Any]:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return real(model, batch)

    monkeypatch.setattr(ImageModel, "__call__", small)
    assert run(dataset, llava, tmp_path / "captions.jsonl", 16) == whole
    assert sizes[:3] == [16, 8, 4] and set(sizes[3:]) == {2}
    assert "out of memory: 8 captions at once" in capsys.readouterr().out

    monkeypatch.setattr(ImageModel, "__call__", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none left")))
    with pytest.raises(CaptionError, match=r"out of memory with one caption at a time \(none left\)"):
        run(dataset, llava, tmp_path / "other.jsonl")


def test_a_rerun_makes_nothing_and_a_change_makes_what_it_changes(
    dataset: Path, llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = [], ImageModel.__call__
    monkeypatch.setattr(ImageModel, "__call__", lambda model, batch: made.append(len(batch)) or real(model, batch))  # type: ignore[func-returns-value]
    out = tmp_path / "captions.jsonl"
    first = run(dataset, llava, out, limit=2)
    assert sum(made) == 6
    assert run(dataset, llava, out, limit=2) == first and sum(made) == 6
    run(dataset, llava, out, limit=2, tokens=3)
    assert sum(made) == 12
    folder = tmp_path / "prompts"
    folder.mkdir()
    for target in ("pre", "post", "change"):
        (folder / f"{target}-sentence-facts.txt").write_text("Describe")
    run(dataset, llava, out, limit=2, prompts=folder)
    assert sum(made) == 18
    assert run(dataset, llava, out, limit=2) == first and sum(made) == 18


KILLED = """
import os, random, signal, sys
from pathlib import Path
import caption.write  # before the forks, so that each starts at once; no network runs here
from caption import store
from caption.options import Writer
from caption.run import caption

dataset, model, out = map(Path, sys.argv[1:4])
rng = random.Random(int(sys.argv[4]))
real = os.fsync
kills = 0
while True:
    moment = rng.randint(1, 2) if kills < 10 else 10**9
    torn = rng.random() < 0.5
    if not (pid := os.fork()):
        def fsync(file, left=[moment]):
            left[0] -= 1
            if not left[0]:
                if torn:
                    os.ftruncate(file, os.fstat(file).st_size - rng.randint(1, 30))
                os.kill(os.getpid(), signal.SIGKILL)
            real(file)
        store.os.fsync = fsync
        caption(dataset=dataset, out=out, target="pre,post,change",
                writer=Writer(model=str(model), max_new_tokens=8, batch_size=4))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        sys.exit(0 if kills == 10 and not os.WEXITSTATUS(status) else f"ended after {kills} kills")
    kills += 1
"""


@pytest.mark.slow
def test_ten_kills_lose_nothing_and_make_nothing_twice(
    dataset: Path, llava: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    """At random moments, half of them in the middle of a line."""
    out = tmp_path / "captions.jsonl"
    command = [sys.executable, "-c", KILLED, dataset, llava, out, "1"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert files(out) == whole
    keys = [line["key"] for line in lines((out.with_name("captions.jsonl.made") / "process-000.jsonl").read_bytes())]
    assert len(keys) == len(set(keys)) == 3 * PATCHES


@pytest.mark.slow
def test_two_processes_make_what_one_makes(dataset: Path, llava: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "captions.jsonl"
    argv = ["--dataset", dataset, "--out", out, "--target", "pre,post,change", "--model", llava, "--batch-size", "4"]
    in_two_processes("launch.cli", "caption", *map(str, argv), "--max-new-tokens", str(TOKENS))
    assert files(out) == whole
    made = sorted(out.with_name("captions.jsonl.made").glob("process-*.jsonl"))
    assert [len(lines(path.read_bytes())) for path in made] == [32, 28]


def test_the_captions_join_a_build(dataset: Path, llava: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    (tmp_path / "vlm.jsonl").write_bytes(whole[".jsonl"])
    release = write_release(tmp_path / "release")
    build(source=release, out=tmp_path / "d", size=32, workers=1, captions=tmp_path / "vlm.jsonl")
    outcome = json.loads((tmp_path / "d" / "dataset.json").read_text())["captions_file"]
    assert outcome["joined"] == outcome["lines"] == 3 * PATCHES
    assert outcome["unmatched"] == outcome["damage_before"] == outcome["contradictions"] == []


def test_what_cannot_be_loaded_is_named(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(CaptionError, match=r"model: no image-text-to-text model that transformers can load"):
        caption(dataset=dataset, out=tmp_path / "out.jsonl", writer=Writer(model=str(tmp_path / "model")))
    with pytest.raises(CaptionError, match="give --model"):
        caption(dataset=dataset, out=tmp_path / "out.jsonl")

"""The folder of images: what of others stays, what of an earlier run is gone on with, names, locks, shared work."""

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from data.dataset.processes import Processes
from data.errors import DataError
from data.storage import locked
from generate import processes
from generate.errors import GenerateError
from generate.output import ImageFolder, check_names
from generate.processes import in_turn
from generate.run import generate
from generate.satellite import satellite
from generate.synthesize import synthesize
from tests.generate.worlds import write_image

NAMES = st.sampled_from(
    ["a.png", "b.png", "c.tif", "notes.txt", "sub", "..", "sub/mine", "/etc", ".b.png", ".notes.partial", ".a.partial",
     ".d.partial", "manifest-0000.jsonl", "manifest-mine.jsonl", "", "b.png\x00"]
)  # fmt: skip
LISTED = st.fixed_dictionaries(
    {"file": NAMES | st.none() | st.integers(), "seed": st.integers() | st.text(max_size=2)},
    optional={"sha256": st.text(max_size=3), "steps": st.integers(0, 2)},
)


def make(path: Path) -> None:
    path.write_text("made")


def world(folder: Path) -> dict[str, bytes]:
    """All files below a folder but the manifest, which is ours to write."""
    ours = ("out/manifest.jsonl", "out/manifest-0000.jsonl")
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in files.items() if name not in ours}


@given(there=st.sets(NAMES.filter(lambda name: name not in ("", "..", "/etc") and "\0" not in name)),
       lines=st.lists(LISTED, max_size=4), overwrite=st.booleans())  # fmt: skip
def test_nothing_of_others_is_touched(
    tmp_path_factory: pytest.TempPathFactory, there: set[str], lines: list[Any], overwrite: bool
) -> None:
    """Whatever lies in the folder and whatever a manifest lists: it stays, and the new image is made or refused."""
    home = tmp_path_factory.mktemp("home")
    (home / "thesis.txt").write_text("years of work")
    (home / "out").mkdir()
    for name in sorted(there):
        path = home / "out" / (f"{name}/file" if name in ("sub", ".d.partial") else name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    if lines:
        (home / "out" / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = world(home)
    with suppress(GenerateError), ImageFolder(home / "out", {"new.png": {"seed": 1}}, overwrite) as images:
        images.add("new.png", make)
    after = world(home)
    assert after.pop("out/new.png", b"made") == b"made"
    assert after == before


def test_only_leftovers_of_this_run_go(tmp_path: Path) -> None:
    """What a killed run left of the images that are asked for now; those of other names are nobody's to delete."""
    for name in (".a.png.partial", ".a.png.pre.partial", ".a.png.raster.partial", ".b.png.partial"):
        (tmp_path / name).write_text("half")
    with ImageFolder(tmp_path, {"a.png": {"seed": 0}}, overwrite=False):
        assert sorted(path.name for path in tmp_path.glob(".*")) == [".b.png.partial"]
    (tmp_path / ".notes.partial").write_text("mine")
    with pytest.raises(GenerateError, match=r"contains other files \(\.notes\.partial\)"):
        ImageFolder(tmp_path, {"a.png": {"seed": 0}}, overwrite=True)


@given(st.lists(st.tuples(st.sampled_from(["a", "a_s1", "a_s1_s1", "b"]), st.integers(1, 3)), min_size=1, max_size=4))
def test_images_that_would_share_a_file_are_refused(items: list[tuple[str, int]]) -> None:
    """Exactly when two names are equal, as a set says."""
    files = [f"{name}{f'_s{k}' if k else ''}.png" for name, samples in items for k in range(samples)]
    if len(set(files)) == len(files):
        check_names(files)
    else:
        with pytest.raises(GenerateError, match="two images would be written to"):
            check_names(files)


@pytest.mark.parametrize("name", [".a.png", "a/b.png", "a\\b.png", "a\n.png", "a\ud800.png", "x" * 250 + ".png", "a"])
def test_impossible_names(name: str) -> None:
    """Before anything is made."""
    with pytest.raises(GenerateError, match="is no valid name for an image"):
        check_names([name])


def test_a_second_command_is_refused(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """By every command of this room; what the first holds stays as it is."""
    pre = write_image(tmp_path / "a.png")
    (tmp_path / "items.json").write_text(json.dumps([{"prompt": "x", "output": "a.png"}]))
    out = tmp_path / "out"
    with locked(out):
        with pytest.raises(DataError, match="another command is writing to it"):
            generate(checkpoint=run_folder, pre=pre, prompt="x", out=out)
        with pytest.raises(DataError, match="another command is writing to it"):
            synthesize(checkpoint=run_folder, dataset=dataset, out=out)
        with pytest.raises(DataError, match="another command is writing to it"):
            satellite(requests=tmp_path / "items.json", base="tiny", out=out)
    assert not out.exists()


@given(sizes=st.lists(st.integers(1, 3), max_size=7), number=st.integers(1, 4))
def test_shared_work_is_that_of_one(sizes: list[int], number: int) -> None:
    """Threads in the place of processes: each gets all results in order, and none computes a piece of another's."""
    work = [[10 * index + part for part in range(size)] for index, size in enumerate(sizes)]
    meeting, given_in = threading.Barrier(number), [torch.empty(0)] * number
    got: list[list[tuple[list[int], Tensor]]] = [[] for _ in range(number)]
    mine = threading.local()

    def all_together(result: Tensor) -> Tensor:
        given_in[mine.index] = result
        meeting.wait()
        rows = max(len(one) for one in given_in)
        padded = [torch.cat([one, one.new_zeros(rows - len(one))]) for one in given_in]
        meeting.wait()
        return torch.cat(padded)

    def run(index: int) -> None:
        mine.index = index
        got[index] = list(in_turn(work, lambda piece: torch.tensor(piece) ** 2, Processes(index, number)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "pad_across_processes", lambda result: result)
        patch.setattr(processes, "gather", all_together)
        threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = [(piece, [part**2 for part in piece]) for piece in work]
    for found in got:
        assert [(piece, result.tolist()) for piece, result in found] == expected

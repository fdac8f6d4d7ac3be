"""Pairs of invented damage: what is drawn is what the mask says, and no label is looked at."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generate.errors import GenerateError
from generate.sampling import Sampling
from generate.synthesize import synthesize
from tests.generate.worlds import patch_row, png, write_dataset, write_micro_checkpoint

ONE_STEP = Sampling(steps=1, batch_size=2, seed=7)
HOUSES = [
    {"uid": "a", "damage": None, "wkt": "POLYGON ((8 8, 24 8, 24 24, 8 24, 8 8))", "counted": True},
    {"uid": "b", "damage": None, "wkt": "POLYGON ((40 40, 56 40, 56 56, 40 56, 40 40))", "counted": True},
]


@pytest.fixture(scope="module")
def mask_run(tmp_path_factory: pytest.TempPathFactory, micro_base: Path) -> Path:
    return write_micro_checkpoint(tmp_path_factory.mktemp("runs") / "mask", micro_base, condition="pixels+mask")


def rows(**replaced: Any) -> list[dict[str, Any]]:
    """Two places with footprints, one without; no damage is known of any."""
    unknown = {"damage_mask": None, "labels": "pre"} | replaced
    return [
        patch_row(0, buildings=HOUSES, **unknown),
        patch_row(1, **unknown),
        patch_row(2, buildings=HOUSES, **unknown),
    ]


def read(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def test_files_and_masks(tmp_path: Path, mask_run: Path) -> None:
    """Damage stands on the footprints, one class a building; the card counts what has none."""
    out, dataset = tmp_path / "out", write_dataset(tmp_path / "d", rows(), "train")
    synthesize(checkpoint=mask_run, dataset=dataset, out=out, sampling=ONE_STEP)
    names = [f"{patch_row(index)['patch_id']}.png" for index in (0, 2)]
    assert sorted(path.name for path in out.iterdir()) == ["masks", "post", "pre", "synthetic.json"]
    for folder, more in (("pre", []), ("masks", []), ("post", ["manifest.jsonl"])):
        assert sorted(path.name for path in (out / folder).iterdir()) == sorted([*names, *more])
    for name, index in zip(names, (0, 2), strict=True):
        mask = read(out / "masks" / name)
        places = [np.s_[4:12, 4:12], np.s_[20:28, 20:28]]  # at 32 px
        assert [len(np.unique(mask[place])) for place in places] == [1, 1]
        assert all(1 <= mask[place][0, 0] <= 4 for place in places)
        assert np.count_nonzero(mask) == 2 * 64
        expected = np.asarray(Image.fromarray(pre_of(index)).resize((32, 32), Image.Resampling.BOX))
        assert np.array_equal(read(out / "pre" / name), expected)
    card = json.loads((out / "synthetic.json").read_text())
    assert (card["pairs"], card["without_footprints"], card["resolution"], card["patch_px"]) == (2, 1, 32, 64)


def pre_of(index: int) -> Any:
    import io

    with Image.open(io.BytesIO(patch_row(index)["pre"]["bytes"])) as image:
        return np.asarray(image)


def test_labels_and_post_images_are_not_looked_at(tmp_path: Path, mask_run: Path) -> None:
    """The same from a dataset whose damage is known and whose post images are others."""
    black = png(np.zeros((64, 64, 3), np.uint8))
    other = rows(post=black, damage_mask=png(np.full((64, 64), 4, np.uint8)), labels="both")
    for name, content in (("unknown", rows()), ("known", other)):
        dataset = write_dataset(tmp_path / f"d-{name}", content, "train")
        synthesize(checkpoint=mask_run, dataset=dataset, out=tmp_path / name, sampling=ONE_STEP)
    for path in (tmp_path / "unknown").rglob("*.png"):
        assert np.array_equal(read(path), read(tmp_path / "known" / path.relative_to(tmp_path / "unknown")))


def test_the_seed_decides_and_the_image_follows_the_mask(tmp_path: Path, mask_run: Path) -> None:
    """The same seed, the same files, one by one or together; another seed, other damage and other images."""
    dataset = write_dataset(tmp_path / "d", rows(), "train")
    for name, sampling in (
        ("first", ONE_STEP),
        ("again", Sampling(steps=1, batch_size=1, seed=7)),
        ("other", Sampling(steps=1, batch_size=2, seed=8)),
    ):
        synthesize(checkpoint=mask_run, dataset=dataset, out=tmp_path / name, sampling=sampling)
    masks = {name: np.stack([read(path) for path in sorted((tmp_path / name / "masks").iterdir())]) for name in
             ("first", "again", "other")}  # fmt: skip
    assert np.array_equal(masks["first"], masks["again"])
    assert not np.array_equal(masks["first"], masks["other"])
    for path in (tmp_path / "first" / "post").glob("*.png"):
        first, again = (read(tmp_path / name / "post" / path.name).astype(int) for name in ("first", "again"))
        assert np.abs(first - again).max() <= 1


def test_the_caption_says_what_the_mask_says(tmp_path: Path, mask_run: Path) -> None:
    """Of two buildings, in the words of the `short` captions."""
    dataset = write_dataset(tmp_path / "d", rows(), "train")
    synthesize(checkpoint=mask_run, dataset=dataset, out=tmp_path / "out", sampling=ONE_STEP)
    words = {1: "no damage", 2: "minor damage", 3: "major damage", 4: "destroyed"}
    for line in (tmp_path / "out/post/manifest.jsonl").read_text().splitlines():
        made = json.loads(line)
        classes = np.unique(read(tmp_path / "out/masks" / made["file"]))[1:]
        damaged = [words[value] for value in classes if value > 1] or [words[1]]
        assert all(word in made["prompt"] for word in damaged)
        assert "2 buildings" in made["prompt"] or "both buildings" in made["prompt"]


def test_finished_images_are_kept(tmp_path: Path, mask_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run again it makes nothing; without its card it is finished without making an image again."""
    dataset, out = write_dataset(tmp_path / "d", rows(), "train"), tmp_path / "out"
    synthesize(checkpoint=mask_run, dataset=dataset, out=out, sampling=ONE_STEP)
    (out / "synthetic.json").unlink()

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("generate.synthesize.load_generator", never)
    synthesize(checkpoint=mask_run, dataset=dataset, out=out, sampling=ONE_STEP)
    assert (out / "synthetic.json").is_file()


def test_mistakes_are_named(tmp_path: Path, mask_run: Path, run_folder: Path) -> None:
    """A checkpoint that knows no masks, no footprints at all, somebody's folder."""
    dataset = write_dataset(tmp_path / "d", rows(), "train")
    bare = write_dataset(tmp_path / "bare", [patch_row(0)], "train")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "me.png").write_text("mine")
    good: dict[str, Any] = {"checkpoint": mask_run, "dataset": dataset, "out": tmp_path / "out", "sampling": ONE_STEP}
    for message, options in (
        ("takes no damage mask", {"checkpoint": run_folder}),
        ("none of 1 patches has building footprints", {"dataset": bare}),
        (r"contains other files \(me\.png\)", {"out": tmp_path / "home"}),
    ):
        with pytest.raises(GenerateError, match=message):
            synthesize(**good | options)
    assert not (tmp_path / "out").exists()


def test_stopped_while_overwriting_it_counts_as_unfinished(
    tmp_path: Path, mask_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What says that all is there goes before the first image; a line of the manifest carries its label's hash."""
    dataset, out = write_dataset(tmp_path / "d", rows(), "train"), tmp_path / "out"
    arguments: dict[str, Any] = {"checkpoint": mask_run, "dataset": dataset, "out": out}
    synthesize(sampling=ONE_STEP, **arguments)
    for line in map(json.loads, (out / "post/manifest.jsonl").read_text().splitlines()):
        label = (out / "masks" / line["file"]).read_bytes()
        assert line["mask_sha256"] == hashlib.sha256(label).hexdigest()
    other = Sampling(steps=1, batch_size=1, seed=8)
    with pytest.raises(GenerateError, match="with other settings, not requested now"):
        synthesize(limit=1, sampling=other, overwrite=True, **arguments)
    with pytest.raises(GenerateError, match="Add --overwrite"):
        synthesize(sampling=other, **arguments)
    assert (out / "synthetic.json").is_file()  # refused, so untouched

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("generate.make._make_batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            synthesize(sampling=other, overwrite=True, **arguments)
    assert not (out / "synthetic.json").exists()
    synthesize(sampling=other, overwrite=True, **arguments)
    assert json.loads((out / "synthetic.json").read_text())["pairs"] == 2

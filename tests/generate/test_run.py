"""The command: what it writes, and what it says when it cannot."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.errors import DataError
from data.storage import sha256
from generate.checkpoint import open_base, open_checkpoint
from generate.errors import GenerateError
from generate.generator import generate_images, load_generator
from generate.images.items import batched, spread
from generate.run import generate
from generate.sampling import Sampling
from generate.stamp import read_stamp
from tests.generate.worlds import (
    RESOLUTION,
    patch_row,
    write_dataset,
    write_image,
    write_kind,
    write_micro_checkpoint,
)


def manifest(out: Path) -> list[dict[str, Any]]:
    """The lines of manifest.jsonl."""
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def emptied(dataset: Path) -> Path:
    """A dataset whose split has no rows, and so no shards."""
    content = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps(content | {"shards": []}))
    return dataset


def test_single_image(tmp_path: Path, run_folder: Path) -> None:
    """One PNG named after the pre image, as `generate_images` makes it with the seed itself."""
    pre = write_image(tmp_path / "here.png")
    generate(
        checkpoint=run_folder, pre=pre, out=tmp_path / "out", prompt="after a flood", sampling=Sampling(seed=4, steps=2)
    )
    trained = open_checkpoint(run_folder)
    with Image.open(pre) as image, Image.open(tmp_path / "out/here.png") as made:
        expected = generate_images(
            load_generator(trained, open_base(trained), Sampling()),
            [np.asarray(image)], ["after a flood"], [4], Sampling(steps=2),
        )  # fmt: skip
        assert np.array_equal(np.asarray(made), expected[0])
    (line,) = manifest(tmp_path / "out")
    assert (line["patch_id"], line["file"], line["seed"], line["prompt"]) == ("here", "here.png", 4, "after a flood")
    assert (line["steps"], line["guidance_scale"], line["step"], line["weights"]) == (2, 1.0, 10, "controlnet")
    stamp = read_stamp(tmp_path / "out/here.png")
    assert stamp == {name: value for name, value in line.items() if name not in ("file", "sha256")}
    with Image.open(tmp_path / "out/here.png") as made:
        assert made.info["SYNTHETIC"] == "yes"


def test_dataset(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """Captions of the training's style; the seed of a patch is its position in the split, limit or not."""
    generate(
        checkpoint=run_folder, pre=dataset, out=tmp_path / "all", sampling=Sampling(seed=100, steps=1, batch_size=3)
    )
    generate(checkpoint=run_folder, pre=dataset, out=tmp_path / "two", sampling=Sampling(seed=100, steps=1), limit=2)
    lines = manifest(tmp_path / "all")
    assert [line["seed"] for line in lines] == [100, 101, 102, 103]
    assert lines[2]["prompt"] == "a town after flood number 2"
    assert [line["seed"] for line in manifest(tmp_path / "two")] == [100, 103]
    with Image.open(tmp_path / "all" / lines[3]["file"]) as one, Image.open(tmp_path / "two" / lines[3]["file"]) as two:
        assert one.size == (RESOLUTION, RESOLUTION)
        assert np.abs(np.asarray(one).astype(int) - np.asarray(two)).max() <= 1


def test_samples_have_noise_of_their_own(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """Sample 1 starts a million seeds further; sample 0 is what it is without others."""
    arguments: dict[str, Any] = {"checkpoint": run_folder, "pre": dataset, "limit": 2}
    generate(out=tmp_path / "two", sampling=Sampling(steps=1, samples=2), **arguments)
    generate(out=tmp_path / "one", sampling=Sampling(steps=1), **arguments)
    lines = {line["file"]: line for line in manifest(tmp_path / "two")}
    (name,) = (line["patch_id"] for line in lines.values() if line["seed"] == 3)
    assert {line["seed"] for line in lines.values()} == {0, 3, 1_000_000, 1_000_003}
    assert (lines[f"{name}_s1.png"]["seed"], lines[f"{name}_s1.png"]["sample"]) == (1_000_003, 1)
    first, second, alone = (
        np.asarray(Image.open(tmp_path / file)).astype(int)
        for file in (f"two/{name}.png", f"two/{name}_s1.png", f"one/{name}.png")
    )
    assert np.abs(first - alone).max() <= 1
    assert np.abs(first - second).max() > 1


def test_overwrite_replaces_only_our_files(tmp_path: Path, run_folder: Path) -> None:
    """Other settings need the flag; what is not asked for stays; a foreign file stops every run."""
    out, pre = tmp_path / "out", write_image(tmp_path / "a.png")
    arguments: dict[str, Any] = {"checkpoint": run_folder, "prompt": "x", "out": out}
    generate(pre=pre, sampling=Sampling(steps=1), **arguments)
    with pytest.raises(GenerateError, match=r"a\.png was made with steps 1, not 2\. Add --overwrite"):
        generate(pre=pre, sampling=Sampling(steps=2), **arguments)
    one_step = (out / "a.png").read_bytes()
    generate(pre=write_image(tmp_path / "b.png", seed=1), overwrite=True, sampling=Sampling(steps=1), **arguments)
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png", "manifest.jsonl"]
    assert (out / "a.png").read_bytes() == one_step
    generate(pre=pre, overwrite=True, sampling=Sampling(steps=2), **arguments)
    assert [(line["file"], line["steps"]) for line in manifest(out)] == [("a.png", 2), ("b.png", 1)]
    (out / "notes.txt").write_text("mine")
    with pytest.raises(GenerateError, match=r"contains other files \(notes\.txt\)"):
        generate(pre=pre, overwrite=True, sampling=Sampling(steps=1), **arguments)


def test_watermark_is_seen_only_on_request(tmp_path: Path, run_folder: Path) -> None:
    """The same image, and the same image with letters on it."""
    pre = write_image(tmp_path / "a.png")
    arguments: dict[str, Any] = {"checkpoint": run_folder, "prompt": "x", "pre": pre, "sampling": Sampling(steps=1)}
    generate(out=tmp_path / "plain", **arguments)
    generate(out=tmp_path / "marked", watermark=True, **arguments)
    plain, marked = (np.asarray(Image.open(tmp_path / out / "a.png")).astype(int) for out in ("plain", "marked"))
    touched = (plain != marked).any(-1).mean()
    assert 0.02 < touched < 0.8


def test_input_errors_name_the_mend(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """Nothing is written when an input is wrong."""
    (tmp_path / "text.png").write_text("no image")
    square = write_image(tmp_path / "square.png")
    empty = emptied(write_dataset(tmp_path / "empty", [patch_row(0)]))
    bare = write_dataset(tmp_path / "bare", [patch_row(0, captions=[])])
    cases: list[tuple[type[ValueError], str, dict[str, Any]]] = [
        (GenerateError, r"absent\.png: no such file", {"pre": tmp_path / "absent.png", "prompt": "x"}),
        (GenerateError, r"text\.png: cannot be read as an image", {"pre": tmp_path / "text.png", "prompt": "x"}),
        (GenerateError, r"square\.png: a single image has no caption\..*--prompt 'a fmow satellite", {"pre": square}),
        (GenerateError, r"limit applies to patches", {"pre": square, "prompt": "x", "limit": 2}),
        (GenerateError, r"102 tokens, more than the 77 tokens .*Shorten", {"pre": square, "prompt": "flood " * 100}),
        (GenerateError, r"window is 48 px; .* the network's 32 px", {"pre": square, "prompt": "x", "window": 48}),
        (GenerateError, r"overlap is 1", {"pre": square, "prompt": "x", "overlap": 1.0}),
        (DataError, r"no split 'val'; it has test", {"pre": dataset, "split": "val"}),
        (DataError, r"split 'test' is empty", {"pre": empty}),
        (GenerateError, r"no caption of style 'long'.*it has short", {"pre": dataset, "caption_style": "long"}),
        (GenerateError, r"it has none", {"pre": bare}),
        (GenerateError, r"limit is 0", {"pre": dataset, "limit": 0}),
    ]
    for kind, message, arguments in cases:
        with pytest.raises(kind, match=message):
            generate(checkpoint=run_folder, out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_mask_for_a_single_image(tmp_path: Path, run_folder: Path, micro_base: Path, dataset: Path) -> None:
    """Its classes reach the ControlNet; where it is missing, superfluous or wrong it is named."""
    run = write_kind(tmp_path / "run", micro_base, "controlnet", "pixels+mask")
    pre, all_gone = write_image(tmp_path / "a.png"), np.full((RESOLUTION, RESOLUTION), 4, np.uint8)
    made = {}
    for name, classes in (("whole", all_gone * 0), ("gone", all_gone)):
        Image.fromarray(classes).save(tmp_path / f"{name}.png")
        arguments: dict[str, Any] = {"checkpoint": run, "pre": pre, "prompt": "x", "sampling": Sampling(steps=2)}
        generate(mask=tmp_path / f"{name}.png", out=tmp_path / name / "out", **arguments)
        made[name] = np.asarray(Image.open(tmp_path / name / "out/a.png"))
        line = json.loads((tmp_path / name / "out/manifest.jsonl").read_text())
        assert line["mask_sha256"] == sha256(tmp_path / f"{name}.png")
    assert not np.array_equal(made["whole"], made["gone"])
    Image.fromarray(all_gone + np.uint8(1)).save(tmp_path / "five.png")
    Image.fromarray(all_gone[:, :20]).save(tmp_path / "narrow.png")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "list.jsonl").write_text('{"pre": "a.png", "prompt": "x"}')
    for message, changed in (
        (r"five\.png: contains the value 5; a damage mask has 0", {"mask": tmp_path / "five.png"}),
        (r"narrow\.png: a mask of 20 x 32 px, but .*a\.png has 32 x 32", {"mask": tmp_path / "narrow.png"}),
        (r"a\.png: a mask with 3 bands of uint8", {"mask": pre}),
        (r"text\.png: cannot be read as an image", {"mask": tmp_path / "text.png"}),
        (r"--mask is for a single image", {"mask": tmp_path / "gone.png", "pre": tmp_path / "list.jsonl"}),
        (r"a dataset has its own masks", {"mask": tmp_path / "gone.png", "pre": dataset}),
        (r"trained on pixels\+mask.*--mask MASK.png", {}),
        (r"was trained without masks", {"mask": tmp_path / "gone.png", "checkpoint": run_folder}),
    ):
        with pytest.raises(GenerateError, match=message):
            generate(out=tmp_path / "out", **arguments | changed)


def test_spread_and_batched() -> None:
    """First and last are always there; batches keep the order."""
    assert spread(10, None) == list(range(10))
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(10, 1) == [0]
    assert spread(3, 8) == [0, 1, 2]
    assert list(batched([1, 2, 3], 2)) == [[1, 2], [3]]


def test_a_prompt_is_asked_for_in_the_style_of_the_checkpoint(tmp_path: Path, micro_base: Path) -> None:
    run = write_micro_checkpoint(tmp_path / "run", micro_base, prompt="a town's end, after a wildfire")
    square = write_image(tmp_path / "square.png")
    (tmp_path / "list.jsonl").write_text('{"pre": "square.png"}')
    for pre in (square, tmp_path / "list.jsonl"):
        with pytest.raises(GenerateError) as error:
            generate(checkpoint=run, pre=pre, out=tmp_path / "out")
        *_, words = str(error.value).partition("--prompt ")
        assert shlex.split(words) == ["a town's end, after a wildfire"]  # as a shell reads it


@pytest.mark.parametrize(("side", "noted"), [(2 * RESOLUTION, False), (RESOLUTION, True)])
def test_a_patch_that_was_reduced_already_is_noted(
    tmp_path: Path, micro_base: Path, capsys: pytest.CaptureFixture[str], side: int, noted: bool
) -> None:
    """It would be reduced again: half the scale of the training."""
    run = write_micro_checkpoint(tmp_path / "run", micro_base, patch_px=2 * RESOLUTION)
    pre = tmp_path / "patch.png"
    Image.new("RGB", (side, side), "gray").save(pre)
    generate(checkpoint=run, pre=pre, prompt="x", out=tmp_path / "out", sampling=Sampling(steps=1))
    assert (f"note: {pre} is {side} x {side} px" in capsys.readouterr().out) is noted
    with Image.open(tmp_path / "out/patch.png") as made:
        assert made.size == (side, side)

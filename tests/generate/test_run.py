"""The command: what it writes, and what it says when it cannot."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.errors import DataError
from generate.errors import GenerateError
from generate.items import batched, spread
from generate.pipeline import generate_images, load_generator, open_checkpoint
from generate.run import generate
from tests.generate.worlds import RESOLUTION, patch_row, write_dataset, write_image


def manifest(out: Path) -> list[dict[str, Any]]:
    """The lines of manifest.jsonl."""
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def test_single_image(tmp_path: Path, run_folder: Path) -> None:
    """One PNG named after the pre image, as `generate_images` makes it with the seed itself."""
    pre = write_image(tmp_path / "here.png")
    generate(checkpoint=run_folder, pre=pre, out=tmp_path / "out", prompt="after a flood", seed=4, steps=2)
    with Image.open(pre) as image, Image.open(tmp_path / "out/here.png") as made:
        expected = generate_images(
            load_generator(open_checkpoint(run_folder)),
            [np.asarray(image)], ["after a flood"], [4], steps=2, guidance_scale=1.0,
        )  # fmt: skip
        assert np.array_equal(np.asarray(made), expected[0])
    (line,) = manifest(tmp_path / "out")
    assert (line["patch_id"], line["file"], line["seed"], line["prompt"]) == ("here", "here.png", 4, "after a flood")
    assert (line["steps"], line["guidance_scale"], line["step"], line["weights"]) == (2, 1.0, 10, "controlnet")


def test_dataset(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """Captions of the training's style; the seed of a patch is its position in the split, limit or not."""
    generate(checkpoint=run_folder, pre=dataset, out=tmp_path / "all", seed=100, steps=1, batch_size=3)
    generate(checkpoint=run_folder, pre=dataset, out=tmp_path / "two", seed=100, steps=1, limit=2)
    lines = manifest(tmp_path / "all")
    assert [line["seed"] for line in lines] == [100, 101, 102, 103]
    assert lines[2]["prompt"] == "a town after flood number 2"
    assert [line["seed"] for line in manifest(tmp_path / "two")] == [100, 103]
    with Image.open(tmp_path / "all" / lines[3]["file"]) as one, Image.open(tmp_path / "two" / lines[3]["file"]) as two:
        assert one.size == (RESOLUTION, RESOLUTION)
        assert np.abs(np.asarray(one).astype(int) - np.asarray(two)).max() <= 1


def test_larger_image_is_shown_smaller(tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A square of another size is resized, and the user is told."""
    pre = write_image(tmp_path / "large.png", side=2 * RESOLUTION)
    generate(checkpoint=run_folder, pre=pre, out=tmp_path / "out", prompt="", steps=1)
    assert "64 x 64 px, shown to the network at 32 x 32 px" in capsys.readouterr().out


def test_overwrite_replaces_only_our_files(tmp_path: Path, run_folder: Path) -> None:
    """A second run needs the flag; a foreign file stops both."""
    out = tmp_path / "out"
    arguments: dict[str, Any] = {"checkpoint": run_folder, "prompt": "x", "steps": 1}
    generate(pre=write_image(tmp_path / "a.png"), out=out, **arguments)
    with pytest.raises(GenerateError, match="--overwrite"):
        generate(pre=write_image(tmp_path / "b.png"), out=out, **arguments)
    generate(pre=tmp_path / "b.png", out=out, overwrite=True, **arguments)
    assert sorted(path.name for path in out.iterdir()) == ["b.png", "manifest.jsonl"]
    (out / "notes.txt").write_text("mine")
    with pytest.raises(GenerateError, match=r"notes\.txt, which is not ours"):
        generate(pre=tmp_path / "b.png", out=out, overwrite=True, **arguments)


def test_input_errors_name_the_mend(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """Nothing is written when an input is wrong."""
    wide = tmp_path / "wide.png"
    Image.new("RGB", (64, 32)).save(wide)
    deep = tmp_path / "deep.png"
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(deep)
    (tmp_path / "text.png").write_text("no image")
    square = write_image(tmp_path / "square.png")
    bare = write_dataset(tmp_path / "bare", [patch_row(0, captions=[])])
    cases: list[tuple[type[ValueError], str, dict[str, Any]]] = [
        (GenerateError, r"absent\.png: no such file", {"pre": tmp_path / "absent.png", "prompt": "x"}),
        (GenerateError, r"text\.png: cannot be read as an image", {"pre": tmp_path / "text.png", "prompt": "x"}),
        (GenerateError, r"64 x 32 px.*32 x 32 px: cut a square", {"pre": wide, "prompt": "x"}),
        (GenerateError, r"mode I;16.*8-bit", {"pre": deep, "prompt": "x"}),
        (GenerateError, r"--prompt", {"pre": square}),
        (DataError, r"no split 'val'; it has test", {"pre": dataset, "split": "val"}),
        (GenerateError, r"no caption of style 'long'.*it has short", {"pre": dataset, "caption_style": "long"}),
        (GenerateError, r"it has none", {"pre": bare}),
        (GenerateError, r"batch_size is 0", {"pre": square, "prompt": "x", "batch_size": 0}),
        (GenerateError, r"limit is 0", {"pre": dataset, "limit": 0}),
        (GenerateError, r"steps is 0", {"pre": dataset, "steps": 0}),
    ]
    for kind, message, arguments in cases:
        with pytest.raises(kind, match=message):
            generate(checkpoint=run_folder, out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_spread_and_batched() -> None:
    """First and last are always there; batches keep the order."""
    assert spread(10, None) == list(range(10))
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(10, 1) == [0]
    assert spread(3, 8) == [0, 1, 2]
    assert list(batched([1, 2, 3], 2)) == [[1, 2], [3]]

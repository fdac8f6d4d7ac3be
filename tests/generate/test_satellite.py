"""Images from a JSON file of texts and metadata."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from generate.errors import GenerateError
from generate.satellite import satellite
from generate.satellite_items import SatelliteItem, read_items
from launch.cli import run
from models import MetadataError, load_base
from models.diffusionsat.pipeline import SatPipeline
from models.diffusionsat.unet import SatUNet
from tests.models.released import random_weights
from tests.worlds import write_micro_base

PLACE = {"lon": -95.5, "lat": 30.25, "gsd": 0.5, "year": 2017, "month": 9, "day": 1}
FIRST = {"prompt": "a harbour", "output": "harbour.png", "steps": 2, "guidance": 1, "metadata": PLACE, "seed": 3}


@pytest.fixture(scope="module")
def sat_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A micro base whose UNet takes metadata."""
    folder = write_micro_base(tmp_path_factory.mktemp("bases") / "sat")
    config = {key: value for key, value in load_base(folder).config("unet").items() if not key.startswith("_")}
    random_weights(SatUNet.from_config(config)).save_pretrained(folder / "unet")
    return folder


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image)


def listed(folder: Path, entries: Any) -> Path:
    path = folder / "items.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


def test_each_image_has_its_own_settings(tmp_path: Path, sat_base: Path) -> None:
    """Equal to the pipeline called by hand; metadata, seed and size matter."""
    entries = [
        FIRST,
        FIRST | {"output": "winter.png", "metadata": PLACE | {"month": 1}},
        FIRST | {"output": "wide.png", "size": [48, 16], "guidance": 2.5},
    ]
    out = tmp_path / "out"
    satellite(requests=listed(tmp_path, entries), base=str(sat_base), out=out)
    harbour, winter, wide = (pixels(out / str(entry["output"])) for entry in entries)
    assert harbour.shape == (32, 32, 3) and wide.shape == (16, 48, 3)
    assert not np.array_equal(harbour, winter)
    base = load_base(sat_base)
    pipeline = SatPipeline(
        base.load_vae(), base.load_text_encoder(), base.load_tokenizer(), base.load_unet(), base.load_sampler()
    )
    pipeline.set_progress_bar_config(disable=True)
    by_hand = pipeline("a harbour", metadata=PLACE, num_inference_steps=2, guidance_scale=1.0,
                       generator=torch.Generator().manual_seed(3)).images[0]  # fmt: skip
    assert np.array_equal(harbour, np.asarray(by_hand))
    made = json.loads((out / "made.json").read_text())
    assert made[2] == FIRST | {"output": "wide.png", "size": [48, 16], "guidance": 2.5, "base": str(sat_base)}


def test_nothing_is_overwritten_unasked(tmp_path: Path, sat_base: Path) -> None:
    items, out = listed(tmp_path, [FIRST]), tmp_path / "out"
    out.mkdir()
    (out / "harbour.png").write_text("mine")
    with pytest.raises(GenerateError, match=r"already contains harbour.png. Add --overwrite"):
        satellite(requests=items, base=str(sat_base), out=out)
    assert (out / "harbour.png").read_text() == "mine"
    satellite(requests=items, base=str(sat_base), out=out, half_precision=True, overwrite=True)
    assert pixels(out / "harbour.png").shape == (32, 32, 3)


def test_a_second_run_adds_to_the_first(tmp_path: Path, sat_base: Path) -> None:
    out = tmp_path / "out"
    for name in ("a.png", "b.png"):
        satellite(requests=listed(tmp_path, [FIRST | {"output": name}]), base=str(sat_base), out=out)
    assert [entry["output"] for entry in json.loads((out / "made.json").read_text())] == ["a.png", "b.png"]
    (out / "made.json").write_text("mine")
    with pytest.raises(GenerateError, match="not written by pre2post satellite"):
        satellite(requests=listed(tmp_path, [FIRST]), base=str(sat_base), out=out)


def test_metadata_for_a_base_that_takes_none(tmp_path: Path, micro_base: Path) -> None:
    with pytest.raises(MetadataError, match="neither UNet nor ControlNet was made for it"):
        satellite(requests=listed(tmp_path, [FIRST]), base=str(micro_base), out=tmp_path / "out")


def test_what_an_entry_leaves_out(tmp_path: Path) -> None:
    (item,) = read_items(listed(tmp_path, [{"prompt": "a", "output": "a.png", "size": 64}]))
    assert item == SatelliteItem("a", "a.png", {}, steps=50, guidance=7.5, size=(64, 64), seed=0)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("[{", "items.json: not valid JSON"),
        ({"prompt": "a"}, "Expected a list of at least one object"),
        ([], "Expected a list of at least one object"),
        (["a"], "entry 0 is 'a'"),
        ([FIRST, {"output": "b.png"}], "entry 1 has no prompt"),
        ([FIRST | {"step": 3}], "has a field 'step'. Expected prompt, output"),
        ([FIRST | {"steps": 2.5}], "steps is 2.5. Expected int"),
        ([FIRST | {"steps": 0}], "steps is 0. Expected 1 to 999"),
        ([FIRST | {"seed": True}], "seed is True. Expected int"),
        ([FIRST | {"size": 100}], "size is 100. Expected a side in px"),
        ([FIRST | {"size": [64, 64, 3]}], "multiples of 8"),
        ([FIRST | {"output": "../a.png"}], "without folders"),
        ([FIRST | {"output": "a.jpg"}], "ending in .png"),
        ([FIRST, FIRST], "output harbour.png is used by several"),
        ([FIRST | {"metadata": {"lon": 264.5}}], "entry 0: metadata field lon is 264.5"),
        ([FIRST | {"metadata": {"lon": "west"}}], "entry 0: could not convert"),
    ],
)
def test_mistakes_are_named_before_anything_is_loaded(tmp_path: Path, entries: Any, message: str) -> None:
    with pytest.raises(GenerateError, match=message):
        satellite(requests=listed(tmp_path, entries), base="no such base", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(GenerateError, match=r"items.json: no such file"):
        read_items(tmp_path / "items.json")


def test_from_the_command_line(tmp_path: Path) -> None:
    """Option names survive the parser, and a mistake is one line."""
    items = listed(tmp_path, [])
    with pytest.raises(GenerateError, match="at least one"):
        run("satellite", ["--requests", str(items), "--base", "tiny", "--out", str(tmp_path), "--overwrite"])


@pytest.mark.parametrize("field", ["guidance", "seed", "size"])
def test_numbers_out_of_range(tmp_path: Path, field: str) -> None:
    """JSON of Python knows Infinity and NaN, and whole numbers of any length."""
    for value in ("Infinity", "-Infinity", "NaN", "1" + "0" * 400):
        if value.startswith("1") or field == "guidance":
            text = f'[{{"prompt": "x", "output": "a.png", "{field}": {value}}}]'
            with pytest.raises(GenerateError, match=rf"entry 0: {field} is .* Expected"):
                read_items(listed(tmp_path, text))

"""What ships with the project: `--checkpoint tiny` makes an image of a place that no training saw."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from generate.run import generate
from generate.sampling import Sampling
from models.base import TINY as BASE
from models.checkpoint import SHIPPED, named_checkpoint

SHEET = Path(__file__).parents[2] / "docs" / "demo.jpg"  # held-out places, pre images in the first row
SIDE, SQUARE = 160, slice(48, 80)


def test_sizes() -> None:
    """As promised: at most 30 MB and 12 MB."""
    for folder, limit in ((BASE, 30e6), *((folder, 12e6) for folder in SHIPPED.values())):
        assert sum(path.stat().st_size for path in folder.rglob("*")) <= limit


def test_it_keeps_the_place_and_follows_the_caption(tmp_path: Path) -> None:
    pre, made = write_place(tmp_path / "pre.png"), {}
    for prompt in ("no damage", "severe damage by a volcanic eruption"):
        out = tmp_path / prompt.split()[0]
        generate(checkpoint=Path("tiny"), pre=pre, prompt=prompt, out=out, sampling=Sampling(steps=6))
        made[prompt] = np.asarray(Image.open(out / "pre.png"))
    before, (calm, severe) = np.asarray(Image.open(pre)), made.values()
    assert peak_signal_noise_ratio(before, calm) > 20 > peak_signal_noise_ratio(before, before[:, ::-1])
    assert peak_signal_noise_ratio(before, severe) < peak_signal_noise_ratio(before, calm)


def test_damage_is_where_the_mask_has_it(tmp_path: Path) -> None:
    """Destroyed or not, of one square: there the images differ most."""
    pre, made = write_place(tmp_path / "pre.png"), []
    for damage in (1, 4):
        classes = np.zeros((128, 128), np.uint8)
        classes[SQUARE, SQUARE] = damage
        Image.fromarray(classes).save(tmp_path / "mask.png")
        out = tmp_path / str(damage)
        generate(checkpoint=Path("tiny-mask"), pre=pre, mask=tmp_path / "mask.png", prompt="after a windstorm", out=out,
                 sampling=Sampling(steps=4))  # fmt: skip
        made.append(np.asarray(Image.open(out / "pre.png")).astype(float))
    change, elsewhere = np.abs(made[1] - made[0]), np.ones((128, 128), bool)
    elsewhere[SQUARE, SQUARE] = False
    assert change[~elsewhere].mean() > 2 * change[elsewhere].mean()


def write_place(path: Path) -> Path:
    """The pre image of the first held-out place."""
    with Image.open(SHEET) as sheet:
        sheet.crop((0, 0, SIDE, SIDE)).resize((128, 128), Image.Resampling.LANCZOS).save(path)
    return path


def test_a_folder_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert named_checkpoint(Path("tiny")) == SHIPPED["tiny"]
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert named_checkpoint(Path("tiny")) == Path("tiny")

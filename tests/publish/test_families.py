"""Cards of checkpoints on other families of bases: their code gives the image of `pre2post generate`."""

import json
from pathlib import Path

import numpy as np
import pytest
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

from generate.checkpoint import open_base, open_checkpoint, solved
from generate.generator import generate_images, load_generator
from generate.run import generate
from generate.sampling import PUBLISHED, Sampling
from models import load_base
from publish.run import PROMPT, publish
from tests.families import MICRO
from tests.generate.worlds import write_image, write_kind
from tests.publish.conftest import STEPS
from tests.publish.test_publish import recording, shown_by_the_card
from tests.publish.worlds import SIMULATED, trained_on

CASES = [
    ("sdxl", "controlnet+lora", "pixels", "ddim"),
    ("sdxl", "lora", "pixels", "ddim"),
    ("stable_diffusion_3", "controlnet+lora", "latents", "flow-euler"),
    ("stable_diffusion_3.5", "controlnet", "latents", "flow-euler"),
    ("stable_diffusion_3.5", "lora", "pixels", "flow-euler"),
]


@pytest.fixture(autouse=True)
def undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards of Stable Diffusion 3 replace this for the rest of a process."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", DiagonalGaussianDistribution.sample)


@pytest.mark.parametrize(("kind", "trained", "condition", "scheduler"), CASES)
def test_the_cards_code_gives_the_image_of_generate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, trained: str, condition: str, scheduler: str
) -> None:
    """By the usual solver of the family, which nobody had to name."""
    base = MICRO[kind](tmp_path / "base")
    run, pre = write_kind(tmp_path / "run", base, trained, condition), write_image(tmp_path / "pre.png")
    assert load_base(base).samplers()[0] == solved(PUBLISHED, open_checkpoint(run)).scheduler == scheduler
    publish(checkpoint=run, out=tmp_path / "o", base_id=str(base), dataset=trained_on(tmp_path / "d", SIMULATED))
    generate(checkpoint=run, pre=pre, window=32, prompt=PROMPT, out=tmp_path / "made", sampling=Sampling(steps=STEPS))
    (made,) = map(json.loads, (tmp_path / "made/manifest.jsonl").read_text().splitlines())
    assert made["scheduler"] == scheduler
    ours = np.asarray(Image.open(tmp_path / "made/pre.png")).astype(int)
    shown = shown_by_the_card(tmp_path / "o", monkeypatch)
    assert shown.std() > 1 and np.abs(shown - ours).max() <= 1


def test_the_card_tells_the_size_of_the_image_before_it_was_reduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = MICRO["sdxl"](tmp_path / "base")
    run = recording(write_kind(tmp_path / "run", base, "controlnet"), 20, patch_px=64)
    publish(checkpoint=run, out=tmp_path / "o", base_id=str(base), dataset=trained_on(tmp_path / "d", SIMULATED))
    with Image.open(write_image(tmp_path / "pre.png", side=64)) as image:
        pre = np.asarray(image.resize((32, 32), Image.Resampling.BOX))
    trained = open_checkpoint(run)
    networks = load_generator(trained, open_base(trained), PUBLISHED)
    place = (64, 64, 0, 0, 32, 32)
    ours = generate_images(networks, [pre], [PROMPT], [0], Sampling(steps=STEPS), places=[place])[0]
    shown = shown_by_the_card(tmp_path / "o", monkeypatch)
    assert np.abs(shown - ours).max() <= 1

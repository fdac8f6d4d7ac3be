"""What the two stages draw and minimise."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.captions.layout import COMPASS
from data.dataset.open import open_dataset
from models.tiny_networks import tiny_tokenizer, tiny_vae
from tests.train.tiny.conftest import Arguments
from train.tiny.autoencoder import AutoencoderStage, informative, only_channels, standardise
from train.tiny.config import parse_config
from train.tiny.denoiser import DenoiserStage
from train.tiny.discriminator import PatchDiscriminator, hinge_loss
from train.tiny.images import open_images
from train.tiny.latents import Latents

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")


def test_standardised_latents_have_mean_0_and_variance_1_and_images_stay() -> None:
    torch.manual_seed(0)
    vae = tiny_vae([8, 8], 4).requires_grad_(False).eval()
    images = torch.rand(6, 3, 16, 16) * 2 - 1
    before = vae.encode(images).latent_dist
    decoded = vae.decode(before.mean).sample
    standardise(vae, before.mean)
    after = vae.encode(images).latent_dist
    torch.testing.assert_close(after.mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(after.mean.std((0, 2, 3)), torch.ones(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(vae.decode(after.mean).sample, decoded, atol=1e-4, rtol=1e-4)
    scale = before.mean.std((0, 2, 3)).view(1, 4, 1, 1)
    torch.testing.assert_close(after.std, before.std / scale, atol=1e-5, rtol=1e-4)


def test_channels_that_carry_nothing_are_removed() -> None:
    """Information as of a Gaussian channel: 0.5 log2(1 + SNR) bits; the rest is encoded and decoded as before."""
    means = torch.randn(64, 4, 4, 4) * torch.tensor([1.0, 0.1, 2.0, 1.0]).view(1, 4, 1, 1)
    stds = torch.ones(64, 4, 4, 4) * torch.tensor([0.5, 1.0, 0.1, 0.65]).view(1, 4, 1, 1)
    kept = informative(means, stds)  # ratios 4, 0.01, 400 and 2.4; three make a bit
    assert kept.tolist() == [True, False, True, False]
    assert informative(means / 100, stds).all()  # too little training to tell
    torch.manual_seed(0)
    vae = tiny_vae([8, 8], 4).requires_grad_(False).eval()
    vae.post_quant_conv.bias[:] = vae.post_quant_conv.weight[:, kept, 0, 0] @ torch.tensor([0.3, -0.7])
    smaller, images = only_channels(vae, kept).eval(), torch.rand(2, 3, 16, 16) * 2 - 1
    assert smaller.config.latent_channels == 2
    before, after = (each.encode(images).latent_dist for each in (vae, smaller))
    torch.testing.assert_close(after.mean, before.mean[:, kept])
    torch.testing.assert_close(after.std, before.std[:, kept])
    alone = before.mean * kept.view(1, 4, 1, 1)
    torch.testing.assert_close(smaller.decode(after.mean).sample, vae.decode(alone).sample, atol=1e-5, rtol=1e-4)


def test_a_step_is_a_pure_function_of_its_number(arguments: Arguments) -> None:
    """Two stages draw the same, another step or seed draws other crops; each crop is a piece of some image."""
    config = parse_config(arguments("run"))
    images = open_images(config.data, "train")
    one, other = (AutoencoderStage(config, images, images) for _ in range(2))
    seeded = AutoencoderStage(parse_config(arguments("run", "--data.seed=1")), images, images)
    other.draw(0)
    assert all(torch.equal(a, b) for a, b in zip(one.draw(7), other.draw(7), strict=True))
    assert not torch.equal(one.draw(7)[1], one.draw(8)[1]) and not torch.equal(one.draw(7)[1], seeded.draw(7)[1])
    crop = ((one.draw(7)[0][0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    turned = [np.rot90(side, turns) for side in (crop, crop[:, ::-1]) for turns in range(4)]
    windows = [
        np.lib.stride_tricks.sliding_window_view(images.pixels(number), (16, 16, 3)) for number in range(len(images))
    ]
    assert any((window == each).all((-3, -2, -1)).any() for window in windows for each in turned)


def test_only_the_autoencoder_follows_its_losses_and_only_the_discriminator_the_hinge(arguments: Arguments) -> None:
    """Two separate backward passes, told from one another by an adversarial loss that outweighs everything."""
    config = parse_config(arguments("run", "--autoencoder.precision=fp32", "--autoencoder.adversarial_weight=7"))
    images = open_images(config.data, "train")
    stage = AutoencoderStage(config, images, images)
    assert "discriminator" not in stage.backward(1)  # from step 2 on
    assert all(weight.grad is None for weight in stage.discriminator.parameters())
    stage.networks.zero_grad()
    stage.backward(2)
    pixels, noise = stage.draw(2)
    posterior = stage.vae.encode(pixels).latent_dist
    decoded = stage.vae.decode(posterior.mean + posterior.std * noise).sample.detach()
    loss = hinge_loss(stage.discriminator(pixels)[0], stage.discriminator(decoded)[0])
    wanted = torch.autograd.grad(loss, list(stage.discriminator.parameters()))
    for weight, gradient in zip(stage.discriminator.parameters(), wanted, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, gradient, atol=1e-5, rtol=1e-3)


def test_the_discriminator_judges_patches_of_8_px() -> None:
    verdict, features = PatchDiscriminator(8)(torch.zeros(2, 3, 32, 16))
    assert verdict.shape == (2, 1, 4, 2)
    assert [each.shape[1:] for each in features] == [(8, 16, 8), (16, 8, 4), (32, 4, 2)]


def test_mirrored_views_have_mirrored_latents_and_captions(tmp_path: Path, arguments: Arguments) -> None:
    """Latents are those of the mirrored image; of `chunks` single lines are drawn; every style is drawn."""
    styles = "{diffusionsat: 1, short: 1, placed: 1, long: 1, chunks: 1}"
    config = parse_config(arguments("run", "--denoiser.precision=fp32", f"--data.caption_styles={styles}"))
    images = open_images(config.data, "train")
    torch.manual_seed(0)
    vae = tiny_vae([8, 8], 4).requires_grad_(False).eval()
    entries = [entry for row in images.rows["captions"] for entry in row]
    tokenizer = tiny_tokenizer([entry["text"] for entry in entries], 2048)
    found = Latents(config, vae, "hash", tokenizer, images)
    said = 0
    for number, view in enumerate(found.views[:: max(1, len(found.views) // 6)]):
        number = found.views.index(view)
        image = images.rows[view.patch][view.target].convert("RGB")
        pixels = np.array(image)[:, ::-1] if view.mirrored else np.array(image)
        assert (found.real(number) == pixels).all()
        wanted = vae.encode(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 127.5 - 1).latent_dist.mean[0]
        np.testing.assert_allclose(found.latents(number), wanted.numpy(), atol=2e-3)
        of_view = [e for e in images.rows[view.patch]["captions"] if e["target"] == view.target]
        texts = [entry["mirrored" if view.mirrored else "text"] for entry in of_view]
        lines = {line for text in texts for line in text.split("\n")}
        expected = {tuple(tokenizer(x, truncation=True, padding="max_length", max_length=77).input_ids) for x in lines}
        drawn = {tuple(found.tokens(number, np.random.default_rng(seed)).tolist()) for seed in range(60)}
        assert drawn <= expected
        said += len(drawn)
    assert said > 12


def test_words_of_direction_are_single_tokens(tiny_dataset: Path) -> None:
    """In a vocabulary learned from captions as they are built, at the size of the shipped config."""
    rows = open_dataset(tiny_dataset, "train")["captions"]
    tokenizer = tiny_tokenizer([e[view] for row in rows for e in row for view in ("text", "mirrored")], 2048)
    spoken = {word for row in rows for e in row for word in e["text"].split()} & set(COMPASS)
    assert spoken
    for word in spoken:
        assert len(tokenizer(word, add_special_tokens=False).input_ids) == word.count("-") * 2 + 1


def test_threads_that_share_a_batch_leave_its_gradients(arguments: Arguments) -> None:
    """Against one backward pass of the mean loss over the whole batch, which three threads cannot split evenly."""
    config = parse_config(arguments("run", "--denoiser.batch=7", "--denoiser.precision=fp32", "--run.threads=3"))
    images = open_images(config.data, "train")
    tokenizer = tiny_tokenizer(["no damage"], config.networks.vocabulary)
    vae = tiny_vae([8, 8], 4).eval()
    latents = Latents(config, vae, "0" * 64, tokenizer, images)
    stage = DenoiserStage(config, vae, tokenizer, latents, latents)
    loss = stage.backward(2)["loss"]
    shared = {name: weight.grad for name, weight in stage.networks.named_parameters()}
    for weight in stage.networks.parameters():
        assert weight.grad is not None and weight.grad.stride() == weight.stride()  # the fused optimizer's wish
    stage.networks.zero_grad()
    drawn = zip(*(stage.draw(ordinal) for ordinal in range(14, 21)), strict=True)
    whole = stage.errors(*(torch.from_numpy(np.stack(each)) for each in drawn)).mean()
    whole.backward()
    torch.testing.assert_close(loss, whole.detach())
    torch.testing.assert_close(shared, {name: weight.grad for name, weight in stage.networks.named_parameters()})

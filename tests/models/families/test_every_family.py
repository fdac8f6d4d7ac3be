"""What holds for every family: its folder is recognised, step 0 is the base, captions are encoded as diffusers does."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from models import Base, BaseError, load_base
from models.conditioners.controlnet_lora import freeze_copied
from models.denoiser import Denoiser
from models.families import FAMILIES
from models.families.family import NewControlNet
from models.lora import add_lora
from models.trained import load_trained, save_trained
from tests.families import MICRO, write_sd3, write_sdxl
from tests.worlds import unmapped

WITHOUT_T5 = {"text_encoder_3": None, "tokenizer_3": None}
TEXTS = ["a town after a flood", ""]


def asked(base: Base) -> dict[str, Any]:
    """Inputs of a denoiser, two rows; the condition is what a ControlNet of the family reads."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, base.config("vae")["latent_channels"], 4, 4)
    told = base.encode(base.load_text_encoder(), base.tokenize(TEXTS))
    told |= base.family.placed(torch.tensor([[64, 64, 0, 32, 32, 32], [64, 48, 16, 0, 32, 32]], dtype=torch.float32))
    return {
        "noisy": torch.randn(shape, generator=generator),
        "timesteps": base.load_noise_schedule().told(torch.tensor([3, 900])),
        "condition": torch.randn(shape, generator=generator)
        if reads_latents(base)
        else torch.rand(2, 3, 32, 32, generator=generator),
        **told,
    }


def reads_latents(base: Base) -> bool:
    return "latents" in base.family.only.get("model.condition", ((), ""))[0]


def built(base: Base, trained: str) -> Denoiser:
    network, controlnet = base.load_unet(), None
    if "controlnet" in trained:
        controlnet = base.family.new_controlnet(
            network, NewControlNet(seed=0, vae_scale_factor=8, latents=reads_latents(base))
        ).train()
    if trained == "controlnet-lora":
        freeze_copied(controlnet, network, rank=3, alpha=6, targets=["to_q", "to_out.0"], seed=0)
    if "lora" in trained.split("+"):
        add_lora(network, rank=3, alpha=6, targets=["to_q", "to_out.0"], seed=0)
    return Denoiser(base.family, network, controlnet)


def perturb(denoiser: Denoiser) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in denoiser.trained().values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))


def test_every_family_has_a_micro_base() -> None:
    assert {family.key for family in FAMILIES} == {name.partition(".")[0] for name in MICRO}


@pytest.mark.parametrize("trained", ["controlnet", "controlnet-lora", "lora", "controlnet+lora"])
def test_step_zero_is_the_base_bit_for_bit(family_base: Path, trained: str) -> None:
    base = load_base(family_base)
    inputs, denoiser = asked(base), built(base, trained)
    with torch.no_grad():
        plain = Denoiser(base.family, base.load_unet())(**inputs)
        assert torch.equal(denoiser(**inputs), plain)
        perturb(denoiser)
        assert not torch.allclose(denoiser(**inputs), plain, atol=1e-4)
        with denoiser.without_control():
            assert torch.equal(denoiser(**inputs), plain) == ("lora" not in trained.split("+"))
        if "controlnet" in trained:
            other = denoiser(**inputs | {"condition": inputs["condition"].flip(0)})
            assert not torch.allclose(other, denoiser(**inputs), atol=1e-4)
    assert all(name.startswith("controlnet.") or "lora_" in name for name in denoiser.trained())
    before = base.load_unet().state_dict()
    after = {
        name.replace(".base_layer", ""): x for name, x in denoiser.unet.state_dict().items() if "lora_" not in name
    }
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("trained", ["controlnet-lora", "controlnet+lora"])
def test_weights_come_back_from_their_folders(family_base: Path, tmp_path: Path, trained: str) -> None:
    """And the folder of the base's own network still loads: nothing of its config was changed."""
    base = load_base(family_base)
    denoiser = built(base, trained)
    perturb(denoiser)
    save_trained(tmp_path, denoiser, denoiser.trained())
    found, expected = load_trained(tmp_path), denoiser.trained()
    assert found.keys() >= expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    network = base.load_unet()
    base.family.new_controlnet(network, NewControlNet(seed=0, vae_scale_factor=8, latents=reads_latents(base)))
    network.save_pretrained(tmp_path / "network")
    assert (tmp_path / "lora/kohya.safetensors").is_file() == (base.family.kohya and trained == "controlnet+lora")
    written = json.loads((tmp_path / "network/config.json").read_text())
    assert {name: x for name, x in written.items() if name[0] != "_"}.items() <= base.config(
        base.family.network
    ).items()
    type(network).from_pretrained(tmp_path / "network")


def test_captions_are_what_the_stock_pipeline_encodes(family_base: Path) -> None:
    """The caption, and as what guidance starts from: none."""
    base = load_base(family_base)
    if base.family.key == "diffusionsat":
        pytest.skip("the stock pipeline does not know its UNet; its captions are Stable Diffusion's")
    absent = {} if base.family.key != "stable_diffusion_3" or len(base.text_encoders) > 2 else WITHOUT_T5
    pipeline = unmapped(DiffusionPipeline.from_pretrained(family_base, dtype=torch.float32, **absent))
    arguments: dict[str, Any] = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": True}
    if base.family.key == "stable_diffusion_3":
        arguments |= {"prompt_2": None, "prompt_3": None, "max_sequence_length": 77}
    expected: tuple[Tensor, ...] = pipeline.encode_prompt(prompt=TEXTS[0], **arguments)
    found = base.encode(base.load_text_encoder(), base.tokenize(TEXTS))
    torch.testing.assert_close(found["states"], torch.cat(expected[:2]), rtol=1e-5, atol=1e-6)
    if len(expected) == 4:
        torch.testing.assert_close(found["pooled"], torch.cat(expected[2:]), rtol=1e-5, atol=1e-6)


def edited(folder: Path, part: str, **changes: Any) -> Path:
    path = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("write", "part", "changes", "said"),
    [
        (write_sdxl, "unet", {"cross_attention_dim": 2048}, "cross_attention_dim is 2048, but .* 24 and 40"),
        (write_sdxl, "unet", {"projection_class_embeddings_input_dim": 60}, "a refiner is"),
        (write_sdxl, "unet", {"in_channels": 9}, "an inpainting base"),
        (write_sdxl, "scheduler", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "flow-matching"),
        (write_sdxl, "text_encoder", {"architectures": ["GPT2Model"]}, "CLIPTextModel and GPT2Model; known are"),
        (write_sd3, "transformer", {"_class_name": "FluxTransformer2DModel"}, "FluxTransformer2DModel"),
        (write_sd3, "transformer", {"in_channels": 17}, "in_channels is 17, but .* 16"),
        (write_sd3, "transformer", {"pooled_projection_dim": 8}, "pooled_projection_dim is 8, but .* 64"),
        (write_sd3, "transformer", {"joint_attention_dim": 32}, "joint_attention_dim 32 is below CLIP's 64"),
        (write_sd3, "transformer", {"num_layers": 1000}, "num_layers is above 100"),
        (write_sd3, "scheduler", {"use_dynamic_shifting": True}, "a fixed shift"),
        (write_sd3, "scheduler", {"_class_name": "DDIMScheduler"}, "DDIMScheduler"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_before_any_weight_is_read(
    tmp_path: Path, write: Any, part: str, changes: dict[str, Any], said: str
) -> None:
    folder = edited(write(tmp_path / "base"), part, **changes)
    for weights in folder.rglob("*.safetensors"):
        weights.write_bytes(b"")
    with pytest.raises(BaseError, match=rf"{folder}/{part}.*{said}"):
        load_base(folder)
    with pytest.raises(BaseError, match=r"Stable Diffusion XL|Copy|InstructPix2Pix"):
        load_base(folder, instruct=True)

"""The metadata UNet equals the original one, and is still a diffusers UNet in every other way."""

import inspect
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig

from models import controlnet_from_unet
from models.diffusionsat.metadata import MetadataError
from models.diffusionsat.unet import SatUNet
from tests.models.parity import HERE, TOLERANCE, case, difference, read_json, seeded

PARITY = case("satunet")
DEFAULT = PARITY.arguments("default")


def original() -> SatUNet:
    """The original's weights and config, as its library wrote them."""
    unet: SatUNet = SatUNet.from_pretrained(PARITY.folder, torch_dtype=torch.float32).eval()
    return unet


@pytest.mark.parametrize("call", list(PARITY.described["calls"]))
@torch.no_grad()
def test_the_original_outputs(call: str) -> None:
    prediction = original()(**PARITY.arguments(call)).sample
    assert difference(prediction, PARITY.outputs[f"{call}.sample"]) < TOLERANCE


def test_the_released_network_key_for_key() -> None:
    released = read_json("full_size_keys/satunet_512/keys.json")
    with torch.device("meta"):
        unet = SatUNet.from_config(SatUNet.load_config(HERE / "full_size_keys/satunet_512"))
    assert {name: list(tensor.shape) for name, tensor in unet.state_dict().items()} == released["keys"]
    assert unet.num_parameters() == released["parameters"] == 880_264_644


def test_every_config_argument_of_the_parent_is_there() -> None:
    """Nothing of a Stable Diffusion config is lost, and every default is the parent's."""
    ours, parents = (inspect.signature(kind.__init__).parameters for kind in (SatUNet, UNet2DConditionModel))
    assert {name: ours[name].default for name in parents} == {name: p.default for name, p in parents.items()}
    assert set(ours) - set(parents) == {"use_metadata", "num_metadata", "null_metadata"}


@torch.no_grad()
def test_dropped_metadata_is_the_number_zero() -> None:
    """NaN and 0 are the same to a network as released; nothing at all is seven NaN."""
    unet, unknown = original(), torch.full((2, 7), torch.nan)
    expected = PARITY.outputs["zero_metadata.sample"]
    assert difference(unet(**DEFAULT | {"metadata": unknown}).sample, expected) < TOLERANCE
    assert difference(unet(**DEFAULT | {"metadata": None}).sample, expected) < TOLERANCE


@torch.no_grad()
def test_saved_and_loaded(tmp_path: Path) -> None:
    original().save_pretrained(tmp_path)
    again, loading = SatUNet.from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert torch.allclose(again(**DEFAULT).sample, original()(**DEFAULT).sample, atol=1e-6)


def test_without_metadata_it_is_the_plain_unet() -> None:
    torch.manual_seed(0)
    config = original().config
    unet = SatUNet.from_config(config, use_metadata=False).eval()
    assert not any("metadata" in name for name in unet.state_dict())
    plain = UNet2DConditionModel.from_config({key: config[key] for key in config if "metadata" not in key}).eval()
    plain.load_state_dict(unet.state_dict())
    arguments = {name: value for name, value in DEFAULT.items() if name != "metadata"}
    with torch.no_grad():
        assert torch.equal(unet(**arguments).sample, plain(**arguments).sample)
    with pytest.raises(MetadataError, match="made without metadata"):
        unet(**DEFAULT)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        unet = original().train()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        unet(**DEFAULT).sample.square().mean().backward()
        gradients.append({name: weight.grad for name, weight in unet.named_parameters()})
    straight, recomputed = gradients
    assert straight["metadata_embedding.3.linear_1.weight"].abs().sum() > 0
    assert all(torch.allclose(straight[name], recomputed[name], atol=1e-6) for name in straight)


@torch.no_grad()
def test_attention_processors() -> None:
    unet = original()
    unet.set_attn_processor(AttnProcessor())
    assert difference(unet(**DEFAULT).sample, PARITY.outputs["default.sample"]) < TOLERANCE


@torch.no_grad()
def test_lora(tmp_path: Path) -> None:
    """Trained with peft's adapter, saved, loaded into a fresh copy, switched off again."""
    unet = original()
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v", "linear_1"], init_lora_weights=False))
    changed = unet(**DEFAULT).sample
    unet.save_lora_adapter(tmp_path)
    fresh = original()
    fresh.load_lora_adapter(tmp_path, prefix=None, weight_name="pytorch_lora_weights.safetensors")
    assert torch.allclose(fresh(**DEFAULT).sample, changed, atol=1e-6)
    assert difference(changed, PARITY.outputs["default.sample"]) > 0.01
    fresh.disable_adapters()
    assert difference(fresh(**DEFAULT).sample, PARITY.outputs["default.sample"]) < TOLERANCE


@torch.no_grad()
def test_half_precision_network_float_metadata() -> None:
    arguments = {name: value.bfloat16() if value.is_floating_point() else value for name, value in DEFAULT.items()}
    prediction = original().bfloat16()(**arguments | {"metadata": DEFAULT["metadata"]}).sample
    assert prediction.dtype == torch.bfloat16
    assert difference(prediction.float(), PARITY.outputs["default.sample"]) < 0.05


def test_a_plain_controlnet_trains_beside_it() -> None:
    """Without metadata, in diffusers' own classes, as the trainer does it: step 0 is the UNet alone."""
    unet, arguments = original(), {name: value for name, value in DEFAULT.items() if name != "metadata"}
    controlnet = controlnet_from_unet(unet, vae_scale_factor=8, seed=0)
    assert type(controlnet) is ControlNetModel
    down, mid = controlnet(**arguments, controlnet_cond=torch.rand(2, 3, 64, 48), return_dict=False)
    controlled = unet(**arguments, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample
    assert torch.equal(controlled, unet(**arguments).sample)
    controlled.mean().backward()
    assert controlnet.controlnet_mid_block.weight.grad.any()


def test_learned_null_is_part_of_config_and_weights(tmp_path: Path) -> None:
    unet = SatUNet.from_config(original().config, null_metadata="learned")
    assert unet.metadata_embedding is not None and unet.metadata_embedding.null is not None
    with torch.no_grad():
        unet.metadata_embedding.null.copy_(seeded(7, 128))
    unet.save_pretrained(tmp_path)
    again = SatUNet.from_pretrained(tmp_path)
    assert torch.equal(again.state_dict()["metadata_embedding.null"], seeded(7, 128))

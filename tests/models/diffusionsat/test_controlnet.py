"""The 2D metadata ControlNet: equal to the original, and made from UNets with and without metadata."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor, nn

from models import controlnet_from_unet, load_base, load_controlnet
from models.diffusionsat.controlnet import SatControlNet, modern_names
from models.diffusionsat.controlnet_3d import SatControlNet3D
from models.diffusionsat.metadata import MetadataError
from models.diffusionsat.multi_controlnet import MultiSatControlNet, sibling_folders
from models.diffusionsat.unet import SatUNet
from tests.models.parity import HERE, TOLERANCE, case, difference, read_json, seeded

SMALL = case("controlnet2d_condscale2")
CALLS_2D = ["default", "cond_metadata_3d", "no_cond_metadata", "scaled", "guess_mode"]


def original_unet() -> SatUNet:
    unet: SatUNet = SatUNet.from_pretrained(HERE / "satunet", torch_dtype=torch.float32).eval()
    return unet


def filled(network: nn.Module, seed: int = 0) -> Any:
    """The network with every weight random, so that zero convolutions hide nothing."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.2 * torch.randn(weight.shape))
    return network.eval()


def worst(found: tuple[list[Tensor], Tensor], outputs: dict[str, Tensor], call: str) -> float:
    """The largest relative difference of all residuals."""
    down, mid = found
    assert sum(name.startswith(f"{call}.") for name in outputs) == len(down) + 1
    pairs = [(residual, outputs[f"{call}.down.{slot}"]) for slot, residual in enumerate(down)]
    return max(difference(a, b) for a, b in [*pairs, (mid, outputs[f"{call}.mid"])])


@pytest.mark.parametrize("call", CALLS_2D)
@torch.no_grad()
def test_the_original_outputs(call: str) -> None:
    parity = case("controlnet2d")
    network = load_controlnet(parity.folder)
    assert isinstance(network, SatControlNet)
    found = network(**parity.arguments(call), return_dict=False)
    assert worst(found, parity.outputs, call) < TOLERANCE


@torch.no_grad()
def test_ten_channels_at_half_size() -> None:
    """As the released fMoW network: conditioning_scale 2 in its config is a size ratio, not a strength."""
    network = load_controlnet(SMALL.folder)
    assert (network.config.conditioning_channels, network.config.conditioning_downsampling) == (10, 4)
    assert worst(network(**SMALL.arguments("default"), return_dict=False), SMALL.outputs, "default") < TOLERANCE


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_the_size_of_the_condition(scale: int) -> None:
    """DiffusionSat's rule: total downsampling 8, 4, 2, 1; the keys do not depend on it."""
    config = SatControlNet.load_config(SMALL.folder) | {"conditioning_scale": scale}
    network = SatControlNet.from_config(config)
    assert network.controlnet_cond_embedding(torch.zeros(1, 10, 48, 32)).shape[-2:] == (6 * scale, 4 * scale)
    network.load_state_dict(load_controlnet(SMALL.folder).state_dict())


def test_the_released_network_key_for_key() -> None:
    released = read_json("full_size_keys/controlnet_fmow_condres256/keys.json")
    with torch.device("meta"):
        network = SatControlNet.from_config(
            SatControlNet.load_config(HERE / "full_size_keys/controlnet_fmow_condres256")
        )
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == released["keys"]
    assert network.num_parameters() == released["parameters"] == 378_583_168


@pytest.mark.parametrize(("name", "kind"), [("ControlNetModel", SatControlNet), ("ControlNetModel3D", SatControlNet3D)])
def test_from_unet_copies_what_the_original_copies(name: str, kind: type[SatControlNet]) -> None:
    recorded, unet = read_json("from_unet/keys.json")[name], original_unet()
    settings: dict[str, Any] = {"use_temporal_transformer": True} if kind is SatControlNet3D else {}
    network = kind.from_unet(unet, null_metadata="zero", **settings)
    weights, of_unet = network.state_dict(), unet.state_dict()
    assert set(weights) == set(recorded["keys"])
    for key, origin in recorded["keys"].items():
        found = "copied" if key in of_unet and torch.equal(weights[key], of_unet[key]) else "fresh"
        assert ("zero" if not weights[key].any() and origin == "zero" else found) == origin, key
    config = modern_names(recorded["config"])
    ours = {key: list(network.config[key]) if isinstance(network.config[key], tuple) else network.config[key]
            for key in config}  # fmt: skip
    assert ours == config


@pytest.mark.parametrize("kind", [SatControlNet, SatControlNet3D])
@torch.no_grad()
def test_step_zero_leaves_the_prediction_bit_identical(kind: type[SatControlNet]) -> None:
    unet = original_unet()
    settings: dict[str, Any] = {"use_temporal_transformer": True} if kind is SatControlNet3D else {}
    network = controlnet_from_unet(unet, vae_scale_factor=8, seed=0, kind=kind, **settings).eval()
    arguments = case("satunet").arguments("default")
    condition = torch.rand(2, 3, *([3] if settings else []), 64, 48)
    down, mid = network(**arguments, controlnet_cond=condition, return_dict=False)
    controlled = unet(**arguments, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample
    assert torch.equal(controlled, unet(**arguments).sample)


@torch.no_grad()
def test_a_new_learned_null_changes_nothing_at_first() -> None:
    """The UNet knows only the null 0; the ControlNet's own null starts as what 0 looks like to it."""
    unet, partly = original_unet(), torch.tensor([[500.0, torch.nan, 0, 0, torch.nan, 500, 100]])
    learned: Any
    learned, zero = (SatControlNet.from_unet(unet, null_metadata=null) for null in ("learned", "zero"))
    assert learned.config.null_metadata == "learned" and learned.metadata_embedding.null.any()
    nets: list[Any] = [learned, zero, unet]
    embedded = [net.metadata_embedding(partly, torch.float32) for net in nets]
    assert torch.allclose(embedded[0], embedded[1], atol=1e-5) and torch.equal(embedded[1], embedded[2])


@torch.no_grad()
def test_metadata_on_the_controlnet_only(micro_base: Path) -> None:
    """A plain Stable Diffusion base: the ControlNet brings embeddings of its own."""
    unet = load_base(micro_base).load_unet()
    assert type(unet) is UNet2DConditionModel
    network = controlnet_from_unet(unet, vae_scale_factor=8, seed=0, kind=SatControlNet)
    assert torch.equal(network.state_dict()["conv_in.weight"], unet.state_dict()["conv_in.weight"])
    filled(network)
    inputs = {"sample": seeded(1, 4, 4, 4), "timestep": 3, "encoder_hidden_states": seeded(1, 77, 64),
              "controlnet_cond": torch.rand(1, 3, 32, 32), "return_dict": False}  # fmt: skip
    summer, winter = (network(**inputs, metadata=torch.full((1, 7), month))[1] for month in (500.0, 1000.0))
    assert difference(summer, winter) > 0.01


@torch.no_grad()
def test_target_and_condition_share_their_embeddings() -> None:
    """Their sum is all the network sees, so that exchanging the two changes nothing but the last bit."""
    network, arguments = load_controlnet(SMALL.folder), SMALL.arguments("default")
    other = arguments["cond_metadata"][..., 0]
    exchanged = arguments | {"metadata": other, "cond_metadata": arguments["metadata"]}
    assert worst(network(**exchanged, return_dict=False), SMALL.outputs, "default") < TOLERANCE


@torch.no_grad()
def test_several_conditioning_images() -> None:
    """Three images on nine channels; the metadata of the three are summed, in any order."""
    config = dict(SatControlNet.load_config(SMALL.folder)) | {"conditioning_in_channels": 9}
    network = filled(SatControlNet.from_config(config))
    arguments = SMALL.arguments("default") | {"controlnet_cond": torch.rand(2, 9, 32, 24), "return_dict": False}
    three = 1000 * seeded(2, 7, 3).abs()
    mid, reversed_mid, fewer = (
        network(**arguments | {"cond_metadata": m})[1] for m in (three, three.flip(2), three[..., :2])
    )
    assert torch.allclose(mid, reversed_mid, atol=1e-5)
    assert difference(fewer, mid) > 1e-3


def test_saved_and_loaded_with_todays_names(tmp_path: Path) -> None:
    network = load_controlnet(SMALL.folder)
    network.save_pretrained(tmp_path)
    again, loading = SatControlNet.from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert again.config.conditioning_downsampling == 4 and "conditioning_scale" not in again.config
    assert type(load_controlnet(tmp_path)) is SatControlNet


def test_gradient_checkpointing_changes_no_gradient() -> None:
    network, gradients = load_controlnet(SMALL.folder), []
    for checkpointing in (False, True):
        network.train().requires_grad_(True)
        network.zero_grad()
        if checkpointing:
            network.enable_gradient_checkpointing()
        down, mid = network(**SMALL.arguments("default"), return_dict=False)
        sum(residual.square().mean() for residual in [*down, mid]).backward()
        gradients.append([weight.grad.clone() for weight in network.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


@torch.no_grad()
def test_lora() -> None:
    network, arguments = load_controlnet(SMALL.folder), SMALL.arguments("default")
    network.add_adapter(LoraConfig(r=2, target_modules=["to_q", "linear_2"], init_lora_weights=False))
    assert worst(network(**arguments, return_dict=False), SMALL.outputs, "default") > 0.01
    network.disable_adapters()
    assert worst(network(**arguments, return_dict=False), SMALL.outputs, "default") < TOLERANCE


def test_made_without_metadata() -> None:
    config = SatControlNet.load_config(SMALL.folder) | {"use_metadata": False}
    network = SatControlNet.from_config(config)
    plain = ControlNetModel.from_config({k: v for k, v in network.config.items() if k in dict(network.config)
                                         and "metadata" not in k and k != "conditioning_downsampling"})  # fmt: skip
    assert set(network.state_dict()) == set(plain.state_dict())
    with pytest.raises(MetadataError, match="made without metadata"):
        network(**SMALL.arguments("default"))


@torch.no_grad()
def test_the_sum_of_two(tmp_path: Path) -> None:
    """Residuals are the sum of what each gives alone; saved beside each other and found again."""
    first = load_controlnet(SMALL.folder)
    second = filled(SatControlNet.from_config(first.config), seed=1)
    arguments = SMALL.arguments("default")
    condition, of_condition = arguments.pop("controlnet_cond"), arguments.pop("cond_metadata")
    alone = [
        net(**arguments, controlnet_cond=condition, cond_metadata=m, conditioning_scale=s, return_dict=False)
        for net, m, s in ((first, of_condition, 0.5), (second, None, 1.5))
    ]
    MultiSatControlNet([first, second]).save_pretrained(str(tmp_path / "controlnet"))
    multi = MultiSatControlNet.from_pretrained(tmp_path / "controlnet")
    down, mid = multi(
        **arguments,
        controlnet_cond=[condition, condition],
        conditioning_scale=[0.5, 1.5],
        cond_metadata=[of_condition, None],
    )
    for residual, one, other in zip([*down, mid], *([*each[0], each[1]] for each in alone), strict=True):
        # The networks are not at the same addresses in memory, and round otherwise: by some units in the last place.
        atol = 8 * torch.finfo(torch.float32).eps * float(residual.abs().max())
        torch.testing.assert_close(residual, one + other, rtol=0, atol=atol)


@pytest.mark.parametrize("names", [["", "_1", "_2", "_3"], ["", "_1", "_1_2", "_1_2_3"]])
def test_folders_of_several_networks(tmp_path: Path, names: list[str]) -> None:
    """Today's names, and those of DiffusionSat's library, whose suffix grew."""
    expected = [tmp_path / f"controlnet{name}" for name in names]
    for folder in expected:
        folder.mkdir()
    assert sibling_folders(tmp_path / "controlnet") == expected

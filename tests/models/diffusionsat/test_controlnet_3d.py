"""The 3D metadata ControlNet: equal to the original forwards and backwards, any number of images, mixing weights."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import load_controlnet
from models.diffusionsat.controlnet import SatControlNet
from models.diffusionsat.controlnet_3d import SatControlNet3D
from models.diffusionsat.metadata import MetadataError
from tests.models.parity import HERE, TOLERANCE, Case, case, difference, read_json, seeded

CALLS = {"default": "backward", "clamped": "backward_clamped", "no_cond_metadata": "", "one_frame": ""}


def small(temporal: bool = True, seed: int = 0) -> Any:
    """Two levels, every weight random, mixing weights about a half."""
    torch.manual_seed(seed)
    network = SatControlNet3D(
        block_out_channels=(32, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=(2, 2),
        norm_num_groups=8,
        conditioning_embedding_out_channels=(4, 8, 8, 8),
        use_temporal_transformer=temporal,
    )
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.copy_(0.5 + 0.2 * torch.rand(()) if "mixing" in name else 0.2 * torch.randn(weight.shape))
    return network.eval()


def inputs(frames: int) -> dict[str, Any]:
    """For `small`: two sequences of images of 32 x 16 px."""
    return {
        "sample": seeded(2, 4, 4, 2, seed=1),
        "timestep": torch.tensor([10, 900]),
        "encoder_hidden_states": seeded(2, 5, 16, seed=2),
        "controlnet_cond": seeded(2, 3, frames, 32, 16, seed=3).sigmoid(),
        "metadata": 500 + 300 * seeded(2, 7, seed=4).sigmoid(),
        "cond_metadata": 500 + 300 * seeded(2, 7, frames, seed=5).sigmoid(),
        "return_dict": False,
    }


def loaded(parity: Case, call: str) -> Any:
    network = load_controlnet(parity.folder)
    assert isinstance(network, SatControlNet3D)
    with torch.no_grad():
        for name, value in parity.described["calls"][call].get("parameter_overrides", {}).items():
            network.get_parameter(name).fill_(value)
    return network


@pytest.mark.parametrize("call", CALLS)
def test_the_original_outputs_and_gradients(call: str) -> None:
    parity = case("controlnet3d_temporal")
    network = loaded(parity, call).requires_grad_(True)
    down, mid = network(**parity.arguments(call), return_dict=False)
    for slot, residual in enumerate(down):
        assert difference(residual.detach(), parity.outputs[f"{call}.down.{slot}"]) < TOLERANCE
    assert difference(mid.detach(), parity.outputs[f"{call}.mid"]) < TOLERANCE
    if not CALLS[call]:
        return
    loss = torch.stack([residual.square().mean() for residual in [*down, mid]]).sum()
    loss.backward()
    assert difference(loss.detach(), parity.outputs[f"{CALLS[call]}.loss"]) < TOLERANCE
    prefix = f"{CALLS[call]}.grad."
    gradients = {name.removeprefix(prefix): g for name, g in parity.outputs.items() if name.startswith(prefix)}
    assert len(gradients) == 6
    for name, expected in gradients.items():
        found = network.get_parameter(name).grad
        assert difference(torch.zeros_like(expected) if found is None else found, expected) < TOLERANCE, name


def test_the_released_network_key_for_key() -> None:
    released = read_json("full_size_keys/controlnet3d_texas/keys.json")
    with torch.device("meta"):
        network = SatControlNet3D.from_config(SatControlNet3D.load_config(HERE / "full_size_keys/controlnet3d_texas"))
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == released["keys"]
    assert sum(weight.numel() for weight in network.parameters()) == released["parameters"] == 433_183_100


def test_its_config_is_that_of_the_2d_network_and_one_more() -> None:
    ours, flat = (inspect.signature(kind.__init__).parameters for kind in (SatControlNet3D, SatControlNet))
    assert {name: ours[name].default for name in flat} == {name: p.default for name, p in flat.items()}
    assert set(ours) - set(flat) == {"use_temporal_transformer"}


@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 5])
@torch.no_grad()
def test_any_number_of_images(frames: int, temporal: bool) -> None:
    down, mid = small(temporal)(**inputs(frames))
    assert [tuple(residual.shape) for residual in down] == [(2, 32, 4, 2)] * 2 + [(2, 32, 2, 1)] * 2
    assert mid.shape == (2, 32, 2, 1) and mid.isfinite().all()


@torch.no_grad()
def test_images_may_stand_one_behind_the_other() -> None:
    """On the channel axis: red, green, blue of the first image, then of the second."""
    network, arguments = small(), inputs(3)
    stacked = torch.cat(arguments["controlnet_cond"].unbind(2), 1)
    assert stacked.shape == (2, 9, 32, 16)
    assert torch.equal(network(**arguments | {"controlnet_cond": stacked})[1], network(**arguments)[1])


@torch.no_grad()
def test_one_image_is_the_2d_network() -> None:
    """With T = 1 the outer slices of every 3D kernel meet only padding; without mixing it is the 2D ControlNet."""
    deep = small(temporal=False)
    flat = SatControlNet.from_config(deep.config).eval()
    weights = {}
    for name, weight in deep.state_dict().items():
        weights[name] = weight if weight.ndim < 5 else weight[:, :, weight.shape[2] // 2]
    flat.load_state_dict(weights)
    arguments = inputs(1)
    expected = flat(**arguments | {"controlnet_cond": arguments["controlnet_cond"][:, :, 0]})
    found = deep(**arguments)
    assert torch.allclose(found[1], expected[1], atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found[0], expected[0], strict=True))


@torch.no_grad()
def test_a_batch_is_its_rows() -> None:
    """Sequences do not leak into each other, in 3D convolutions, temporal attention or their sums."""
    network, both = small(), inputs(3)
    together = network(**both)[1]
    for row in range(2):
        single = {k: v[row : row + 1] if isinstance(v, Tensor) else v for k, v in both.items()}
        assert torch.allclose(network(**single)[1], together[row : row + 1], atol=1e-5)


@torch.no_grad()
def test_images_share_or_have_their_own_metadata() -> None:
    network, arguments = small(), inputs(3)
    shared = arguments["cond_metadata"][..., 0]
    once = network(**arguments | {"cond_metadata": shared})[1]
    thrice = network(**arguments | {"cond_metadata": shared[..., None].expand(-1, -1, 3)})[1]
    assert torch.equal(once, thrice)
    assert difference(network(**arguments)[1], once) > 1e-3
    with pytest.raises(MetadataError, match="has 2 columns for 3 condition images"):
        network(**arguments | {"cond_metadata": arguments["cond_metadata"][..., :2]})


@torch.no_grad()
def test_mixing_weights_blend_and_clamp() -> None:
    """At 0 the temporal block does nothing; beyond 1 is 1."""
    network, arguments = small(), inputs(3)
    without = SatControlNet3D.from_config(network.config, use_temporal_transformer=False).eval()
    without.load_state_dict(network.state_dict(), strict=False)

    def mixed(weight: float) -> Tensor:
        for mixing in network.mixing_attns:
            mixing.fill_(weight)
        first: Tensor = network(**arguments)[0][0]
        return first

    none, half, full = mixed(0), mixed(0.5), mixed(1)
    assert torch.equal(none, without(**arguments)[0][0])
    assert torch.allclose(half, (none + full) / 2, atol=1e-4)
    assert torch.equal(mixed(1.5), full) and torch.equal(mixed(-0.25), none)
    assert difference(full, none) > 0.01


def test_a_mixing_weight_out_of_range_can_come_back() -> None:
    network = small()
    with torch.no_grad():
        network.mixing_attns[0].fill_(1.5)
    network(**inputs(2))[0][0].square().mean().backward()
    assert network.mixing_attns[0].grad.abs() > 0


def test_slots_without_a_temporal_block() -> None:
    network = small()
    assert [isinstance(block, nn.Identity) for block in network.temporal_blocks] == [False, True, False, True]
    assert [weight.requires_grad for weight in network.mixing_attns] == [True, False, True, False]


def test_gradient_checkpointing_covers_the_temporal_blocks() -> None:
    """The original's does not."""
    gradients: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        network = small().train()
        calls: list[int] = []
        network.temporal_blocks[0].register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        if checkpointing:
            network.enable_gradient_checkpointing()
        down, mid = network(**inputs(2))
        torch.stack([residual.square().mean() for residual in [*down, mid]]).sum().backward()
        assert len(calls) == 1 + checkpointing  # run once more on the way back
        gradients.append({n: w.grad for n, w in network.named_parameters() if w.grad is not None})
    straight, recomputed = gradients
    assert straight.keys() == recomputed.keys()
    assert all(torch.allclose(straight[name], recomputed[name], atol=1e-4, rtol=1e-4) for name in straight)


@torch.no_grad()
def test_saved_and_loaded(tmp_path: Path) -> None:
    """Numbers without a dimension survive too."""
    network = small()
    network.save_pretrained(tmp_path)
    again = load_controlnet(tmp_path)
    assert type(again) is SatControlNet3D
    assert torch.allclose(again(**inputs(3))[1], network(**inputs(3))[1], atol=1e-5)


@torch.no_grad()
def test_guess_mode_and_strength() -> None:
    network, arguments = small(), inputs(2)
    plain, guessed = network(**arguments), network(**arguments, guess_mode=True, conditioning_scale=0.5)
    scales = [0.5 * 10 ** (-1 + slot / 4) for slot in range(5)]
    for slot, scale in enumerate(scales[:4]):
        assert torch.allclose(guessed[0][slot], plain[0][slot] * scale, rtol=1e-5)
    assert torch.allclose(guessed[1], plain[1] * 0.5)


def test_no_spatial_pooling() -> None:
    with pytest.raises(MetadataError, match="global_pool_conditions is true"):
        SatControlNet3D(global_pool_conditions=True, block_out_channels=(32,), down_block_types=("DownBlock2D",))

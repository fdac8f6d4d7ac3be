"""Networks with arguments of their own take all of their parent's, and diffusers knows them as config keys."""

from typing import Any

import pytest
from diffusers import ControlNetModel, UNet2DConditionModel

from models.diffusionsat.controlnet import SatControlNet
from models.diffusionsat.controlnet_3d import SatControlNet3D
from models.diffusionsat.unet import SatUNet

METADATA = {"use_metadata": True, "num_metadata": 7, "null_metadata": "zero"}
OF_CONTROLNETS = METADATA | {"conditioning_downsampling": 8}
BLOCKS: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "cross_attention_dim": 32,
}
UNET_BLOCKS = BLOCKS | {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
FAMILY = pytest.mark.parametrize(
    ("network", "parent", "own", "blocks"),
    [
        (SatUNet, UNet2DConditionModel, METADATA, UNET_BLOCKS),
        (SatControlNet, ControlNetModel, OF_CONTROLNETS, BLOCKS),
        (SatControlNet3D, ControlNetModel, OF_CONTROLNETS | {"use_temporal_transformer": False}, BLOCKS),
    ],
)


@FAMILY
def test_a_config_is_the_parents_and_ours(network: Any, parent: Any, own: dict[str, Any], blocks: Any) -> None:
    config = network(**blocks, norm_num_groups=8).config
    theirs = parent(**blocks, norm_num_groups=8).config
    assert {name: value for name, value in config.items() if name[0] != "_"} == own | {
        name: value for name, value in theirs.items() if name[0] != "_"
    }
    given = {*blocks, "norm_num_groups"}
    assert set(config["_use_default_values"]) == (set(config) | {*own}) - given - {"_use_default_values"}


@FAMILY
def test_an_argument_that_nobody_knows_is_refused(network: Any, parent: Any, own: Any, blocks: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="norm_groups"):
        network(**blocks, norm_groups=8)


@FAMILY
def test_a_key_that_nobody_knows_is_left_out(network: Any, parent: Any, own: Any, blocks: dict[str, Any]) -> None:
    config, unused = network.extract_init_dict(blocks | own | {"norm_groups": 8, "arguments": 9})[:2]
    assert config == blocks | own
    assert unused == {"norm_groups": 8, "arguments": 9}

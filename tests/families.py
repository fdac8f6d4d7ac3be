"""A micro base of every family, random, with the settings of the real configs and their widths shrunk."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from models.diffusionsat.unet import SatUNet
from models.tiny_networks import tiny_tokenizer
from tests.worlds import micro_vae, write_micro_base

CAPTIONS = ["a satellite image of a town after a flood"]


def clip(kind: type[Any], tokenizer: CLIPTokenizer, width: int, projection: int) -> Any:
    """A text encoder of two layers."""
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=77, projection_dim=projection,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def write_sdxl(folder: Path, *, levels: int = 2) -> Path:
    """As stabilityai/sdxl-turbo and stable-diffusion-xl-base-1.0: noise is predicted, zeros stand for no caption.

    Theirs has three levels.
    """
    torch.manual_seed(1)
    tokenizer = tiny_tokenizer(CAPTIONS)
    unet = UNet2DConditionModel(
        sample_size=4,
        block_out_channels=(16, 32, 32)[:levels],
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")[:levels],
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")[-levels:],
        transformer_layers_per_block=(1, 2, 2)[:levels],
        cross_attention_dim=24 + 40,
        attention_head_dim=(1, 2, 2)[:levels],
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 20,
    )
    StableDiffusionXLPipeline(
        vae=micro_vae(scaling_factor=0.13025),
        text_encoder=clip(CLIPTextModel, tokenizer, 24, 24),
        text_encoder_2=clip(CLIPTextModelWithProjection, tokenizer, 40, 20),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def write_sd3(folder: Path, *, t5: bool = False, newer: bool = False) -> Path:
    """As stable-diffusion-3-medium; `newer`: with the further attention of 3.5."""
    torch.manual_seed(2)
    tokenizer = tiny_tokenizer(CAPTIONS)
    transformer = SD3Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=4,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=80,
        caption_projection_dim=32,
        pooled_projection_dim=24 + 40,
        pos_embed_max_size=8,
        **({"dual_attention_layers": (0, 1), "qk_norm": "rms_norm"} if newer else {}),
    )
    third, pieces = None, None
    if t5:
        pieces = t5_tokenizer()
        third = T5EncoderModel(
            T5Config(vocab_size=len(pieces) + 28, d_model=80, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
                     feed_forward_proj="gated-gelu")
        )  # fmt: skip
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=micro_vae(latent_channels=16, scaling_factor=1.5305, shift_factor=0.0609,
                use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(CLIPTextModelWithProjection, tokenizer, 24, 24),
        tokenizer=tokenizer,
        text_encoder_2=clip(CLIPTextModelWithProjection, tokenizer, 40, 40),
        tokenizer_2=tokenizer,
        text_encoder_3=third,
        tokenizer_3=pieces,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def t5_tokenizer() -> T5TokenizerFast:
    """Of single letters."""
    letters = [("▁", -2.0), *((letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz")]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters]
    return T5TokenizerFast(vocab=vocab, extra_ids=0)


def write_sat(folder: Path) -> Path:
    """As the released DiffusionSat."""
    write_micro_base(folder)
    plain = {name: x for name, x in UNet2DConditionModel.load_config(folder / "unet").items() if name[0] != "_"}
    shutil.rmtree(folder / "unet")
    torch.manual_seed(3)
    SatUNet.from_config(plain | {"use_metadata": True, "num_metadata": 7}).save_pretrained(folder / "unet")
    return folder


# Bases whose levels are those of diffusers' T2I-Adapters, and which adapter fits
ADAPTED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "full": (write_micro_base, "t2i-adapter"),
    "light": (lambda folder: write_micro_base(folder, channels=(16, 32, 32)), "t2i-adapter-light"),
    "xl": (lambda folder: write_sdxl(folder, levels=3), "t2i-adapter"),
}


def write_text2earth(folder: Path) -> Path:
    """As lcybuaa/Text2Earth: a level of the ground resolution is embedded like the timestep."""
    write_micro_base(folder)
    plain = {name: x for name, x in UNet2DConditionModel.load_config(folder / "unet").items() if name[0] != "_"}
    shutil.rmtree(folder / "unet")
    torch.manual_seed(4)
    UNet2DConditionModel.from_config(plain | {"class_embed_type": "timestep"}).save_pretrained(folder / "unet")
    return folder


MICRO: dict[str, Callable[[Path], Path]] = {
    "stable_diffusion": write_micro_base,
    "diffusionsat": write_sat,
    "text2earth": write_text2earth,
    "sdxl": write_sdxl,
    "stable_diffusion_3": write_sd3,
    "stable_diffusion_3.5": lambda folder: write_sd3(folder, t5=True, newer=True),
}

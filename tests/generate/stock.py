"""The oracle of generation: diffusers' own pipelines over the folders of a checkpoint and its base."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
)
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from generate.checkpoint import Checkpoint
from models import load_base
from models.denoiser import widen_conv_in
from tests.worlds import unmapped


def stock_images(
    checkpoint: Checkpoint,
    pre: Sequence[NDArray[np.uint8]],
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance_scale: float = 1.0,
    control_scale: float = 1.0,
    **arguments: Any,
) -> NDArray[np.uint8]:
    """What diffusers makes of pre images."""
    pipeline = stock_pipeline(checkpoint)
    image = torch.from_numpy(np.stack(pre)).permute(0, 3, 1, 2).float() / 255
    if isinstance(pipeline, StableDiffusionControlNetPipeline):
        arguments |= {"image": image, "controlnet_conditioning_scale": control_scale}
    elif isinstance(pipeline, StableDiffusionInstructPix2PixPipeline):
        with torch.no_grad():
            pipeline.unet.conv_in.weight[:, 4:] *= control_scale
        arguments |= {"image": image, "image_guidance_scale": 1.0}
    else:
        arguments |= {"height": image.shape[-2], "width": image.shape[-1]}
    if "lora" in checkpoint.trained:
        arguments["cross_attention_kwargs"] = {"scale": control_scale}
    images = pipeline(
        list(prompts),
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="np",
        **arguments,
    ).images
    return np.asarray((images * 255).round().astype(np.uint8))


def stock_pipeline(checkpoint: Checkpoint) -> Any:
    """Of the kind that fits what was trained."""
    folder = checkpoint.weights
    if "controlnet" in checkpoint.trained:
        network = ControlNetModel.from_pretrained(folder / "controlnet")
        pipeline = StableDiffusionControlNetPipeline.from_pretrained(
            checkpoint.base, controlnet=network, safety_checker=None
        )
        if checkpoint.condition == "latents":
            network.controlnet_cond_embedding = Encoding(network.controlnet_cond_embedding, pipeline.vae)
    elif "concat" in checkpoint.trained:
        base = load_base(checkpoint.base)
        pipeline = StableDiffusionInstructPix2PixPipeline(
            vae=base.load_vae(), text_encoder=base.load_text_encoder(), tokenizer=base.load_tokenizer(),
            unet=base.load_unet(), scheduler=base.load_sampler(), safety_checker=None, feature_extractor=None,
            requires_safety_checker=False,
        )  # fmt: skip
        widen_conv_in(pipeline.unet, load_file(folder / "conv_in/diffusion_pytorch_model.safetensors")["weight"])
    else:
        pipeline = StableDiffusionPipeline.from_pretrained(checkpoint.base, safety_checker=None)
    if "lora" in checkpoint.trained:
        pipeline.load_lora_weights(folder / "lora", weight_name="pytorch_lora_weights.safetensors")
    pipeline.set_progress_bar_config(disable=True)
    return unmapped(pipeline)


class Encoding(nn.Module):
    """A conditioning embedding on latents that takes pixels, as the pipeline gives them."""

    def __init__(self, embedding: nn.Module, vae: Any) -> None:
        super().__init__()
        self.embedding = embedding
        self.vae = [vae]  # not a part of the network

    def forward(self, pixels: Tensor) -> Any:
        (vae,) = self.vae
        return self.embedding(vae.encode(pixels * 2 - 1).latent_dist.mode() * vae.config.scaling_factor)

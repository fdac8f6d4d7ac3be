"""The oracle of generation: diffusers' own pipelines over the folders of a checkpoint and its base."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    SD3ControlNetModel,
    StableDiffusion3ControlNetPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionAdapterPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
    T2IAdapter,
)
from numpy.typing import NDArray
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn

from generate.checkpoint import Checkpoint
from models import Base, load_base
from models.denoiser import widen_conv_in
from tests.worlds import unmapped

# By the family of the base: the pipeline alone, that with a ControlNet, and the ControlNet
PIPELINES: dict[str, tuple[Any, Any, Any]] = {
    "stable_diffusion": (StableDiffusionPipeline, StableDiffusionControlNetPipeline, ControlNetModel),
    "sdxl": (StableDiffusionXLPipeline, StableDiffusionXLControlNetPipeline, ControlNetModel),
    "stable_diffusion_3": (StableDiffusion3Pipeline, StableDiffusion3ControlNetPipeline, SD3ControlNetModel),
}


def stock_images(
    checkpoint: Checkpoint,
    pre: Sequence[NDArray[np.uint8]],
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance_scale: float = 1.0,
    control_scale: float = 1.0,
    scheduler: str | None = None,
    **arguments: Any,
) -> NDArray[np.uint8]:
    """What diffusers makes of pre images."""
    pipeline = stock_pipeline(checkpoint)
    if scheduler:
        pipeline.scheduler = load_base(checkpoint.base).load_sampler(scheduler)
    image = torch.from_numpy(np.stack(pre)).permute(0, 3, 1, 2).float() / 255
    newer = load_base(checkpoint.base).family.key == "stable_diffusion_3"
    if "controlnet" in checkpoint.trained:
        # That pipeline takes a tensor as the VAE does.
        shown = {"control_image": image * 2 - 1} if newer else {"image": image}
        arguments |= {**shown, "controlnet_conditioning_scale": control_scale}
    elif checkpoint.trained.startswith("t2i-adapter"):
        # A tensor tells that pipeline no size.
        size = {"height": image.shape[-2], "width": image.shape[-1]}
        arguments |= {"image": image, "adapter_conditioning_scale": control_scale, **size}
    elif isinstance(pipeline, StableDiffusionInstructPix2PixPipeline):
        with torch.no_grad():
            pipeline.unet.conv_in.weight[:, 4:] *= control_scale
        arguments |= {"image": image, "image_guidance_scale": 1.0}
    else:
        arguments |= {"height": image.shape[-2], "width": image.shape[-1]}
    if "lora" in checkpoint.trained.split("+"):
        arguments["joint_attention_kwargs" if newer else "cross_attention_kwargs"] = {"scale": control_scale}
    if newer:
        arguments["max_sequence_length"] = 77
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
    folder, base = checkpoint.weights, load_base(checkpoint.base)
    plain, controlled, kind = PIPELINES[base.family.key]
    unchecked = {"safety_checker": None} if plain is StableDiffusionPipeline else {}
    if plain is StableDiffusion3Pipeline and len(base.text_encoders) < 3:
        unchecked = {"text_encoder_3": None, "tokenizer_3": None}
    if "controlnet" in checkpoint.trained:
        network = (
            _merged(folder, base, kind)
            if "controlnet-" in checkpoint.trained
            else kind.from_pretrained(folder / "controlnet")
        )
        pipeline = controlled.from_pretrained(checkpoint.base, controlnet=network, dtype=torch.float32, **unchecked)
        if checkpoint.condition == "latents" and kind is ControlNetModel:
            network.controlnet_cond_embedding = Encoding(network.controlnet_cond_embedding, pipeline.vae)
    elif checkpoint.trained.startswith("t2i-adapter"):
        adapted = StableDiffusionAdapterPipeline if unchecked else StableDiffusionXLAdapterPipeline
        adapter = T2IAdapter.from_pretrained(folder / "t2i_adapter")
        pipeline = adapted.from_pretrained(checkpoint.base, adapter=adapter, dtype=torch.float32, **unchecked)
    elif "concat" in checkpoint.trained:
        pipeline = StableDiffusionInstructPix2PixPipeline(
            vae=base.load_vae(), text_encoder=base.load_text_encoder(), tokenizer=base.load_tokenizer(),
            unet=base.load_unet(), scheduler=base.load_sampler(), safety_checker=None, feature_extractor=None,
            requires_safety_checker=False,
        )  # fmt: skip
        widen_conv_in(pipeline.unet, load_file(folder / "conv_in/diffusion_pytorch_model.safetensors")["weight"])
    else:
        pipeline = plain.from_pretrained(checkpoint.base, dtype=torch.float32, **unchecked)
    if "lora" in checkpoint.trained.split("+"):
        pipeline.load_lora_weights(folder / "lora", weight_name="pytorch_lora_weights.safetensors")
    pipeline.scheduler = base.load_sampler()
    pipeline.set_progress_bar_config(disable=True)
    return unmapped(pipeline)


def _merged(folder: Path, base: Base, kind: Any) -> Any:
    """A ControlNet that diffusers copies from the base, with the adapter that peft merges into it."""
    folder /= "controlnet_lora"
    config = kind.load_config(folder)
    if kind is SD3ControlNetModel:
        network = kind.from_transformer(
            base.load_unet(), num_layers=config["num_layers"], num_extra_conditioning_channels=0
        )
        network.register_to_config(force_zeros_for_pooled_projection=False)
    else:
        widths = {"conditioning_embedding_out_channels": config["conditioning_embedding_out_channels"]}
        network = kind.from_unet(base.load_unet(), **widths)
    return PeftModel.from_pretrained(network, folder).merge_and_unload()


class Encoding(nn.Module):
    """A conditioning embedding on latents that takes pixels, as the pipeline gives them."""

    def __init__(self, embedding: nn.Module, vae: Any) -> None:
        super().__init__()
        self.embedding = embedding
        self.vae = [vae]  # not a part of the network

    def forward(self, pixels: Tensor) -> Any:
        (vae,) = self.vae
        return self.embedding(vae.encode(pixels * 2 - 1).latent_dist.mode() * vae.config.scaling_factor)

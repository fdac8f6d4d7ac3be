"""Satellite images from text and metadata: DiffusionSat's pipeline on today's diffusers, ControlNets included.

pipeline = SatPipeline.from_pretrained("diffusionsat-512")
pipeline("a satellite image of a harbour", metadata={"gsd": 0.5, "year": 2017, "month": 9, "day": 1}).images[0]
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DiffusionPipeline, ImagePipelineOutput, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from models.diffusionsat.card import write_card
from models.diffusionsat.conditions import ConditionError
from models.diffusionsat.control import Control, conditions_of, downsampling, networks_of, per_network
from models.diffusionsat.embedding import takes_metadata
from models.diffusionsat.metadata import MetadataError, normalised_batch
from models.diffusionsat.multi_controlnet import MultiSatControlNet
from models.sampling import Predict, guide, sample

# Module paths of the classes in earlier versions, as named in model_index.json.
FORMER_MODULES = {
    "models.sat_unet": "models.diffusionsat.unet",
    "models.sat_controlnet": "models.diffusionsat.controlnet",
    "models.sat_controlnet_3d": "models.diffusionsat.controlnet_3d",
    "models.sat_multi_controlnet": "models.diffusionsat.multi_controlnet",
}


class SatPipeline(DiffusionPipeline):  # type: ignore[misc]
    """A pipeline with metadata in natural units, kept in float32 whatever the networks' precision.

    Any scheduler of diffusers can be used: `pipeline.scheduler = UniPCMultistepScheduler.from_config(...)`.
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"
    _optional_components = ["controlnet"]  # noqa: RUF012 (diffusers' own)

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Any,  # noqa: ANN401 (diffusers has no common class)
        controlnet: ControlNetModel | MultiSatControlNet | list[ControlNetModel] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(controlnet, list):
            controlnet = MultiSatControlNet(controlnet)
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            controlnet=controlnet,
        )
        self.vae_scale_factor = 1 << (len(vae.config.block_out_channels) - 1)
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.vae_scale_factor)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        *,
        metadata: Any = None,  # noqa: ANN401 (see normalised_batch)
        image: Any = None,  # noqa: ANN401 (see condition_tensor)
        cond_metadata: Any = None,  # noqa: ANN401
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str = "",
        keep_metadata: bool = False,
        controlnet_conditioning_scale: float | list[float] = 1.0,
        guess_mode: bool = False,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        output_type: str = "pil",
        on_step: Callable[[int, Tensor], None] = lambda done, latents: None,
    ) -> ImagePipelineOutput:
        """Generate images.

        Args:
            prompt: one, or a list. P below is their number.
            metadata: of the target images, in natural units: {"lon", "lat", "gsd", "cloud_cover", "year", "month",
                "day"}, for all prompts, or a list with one entry each, or a tensor (P, 7). Omitted fields are unknown.
                `gsd` is in metres per pixel of the generated image.
            image: conditioning of the ControlNet: PIL images or a tensor in [0, 1], see `condition_tensor`; a list of
                those with several ControlNets.
            cond_metadata: of the conditioning images, the same forms; a list of lists or (P, 7, K) for K per prompt; a
                list of those with several ControlNets.
            height: px; by default the size the condition implies, else the UNet's own.
            width: px.
            num_inference_steps: denoising steps.
            guidance_scale: classifier-free guidance; none up to 1, where no unconditional half is computed.
            negative_prompt: what guidance steers away from.
            keep_metadata: True guides by the text alone; False (as DiffusionSat) also by the metadata, which are
                then unknown in the unconditional half.
            controlnet_conditioning_scale: strength, one per ControlNet.
            guess_mode: the ControlNet acts on the conditional half only, more weakly towards the outer layers.
            num_images_per_prompt: the images of a prompt follow each other in the result.
            generator: one, or one for each image.
            latents: (images, C, h, w) initial noise of standard deviation 1.
            prompt_embeds: (P, tokens, D) instead of the prompt.
            negative_prompt_embeds: (P, tokens, D) instead of the negative prompt.
            output_type: "pil", "np", "pt" or "latent".
            on_step: called with the number of finished steps and the latents after each.

        Raises:
            MetadataError: metadata out of range, of wrong length, or for networks without metadata.
            ConditionError: conditioning images of wrong size or number, or without a ControlNet.
        """
        guided = guidance_scale > 1
        states, prompts = self._text(prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, guided)
        width, height = self._cells(image, height, width)
        batch = _Batch(prompts, num_images_per_prompt, guided, self._execution_device)
        target, of_conditions = self._metadata(metadata, cond_metadata, batch, keep_metadata)
        shown = conditions_of(networks_of(self.controlnet), image, prompts, (width, height))
        conditions = [batch.spread(condition) for condition in shown]
        control = self._control(conditions, controlnet_conditioning_scale, target, of_conditions, guess_mode, guided)
        predict = self._predictor(control, batch.spread(states, halves=False).to(self.unet.dtype), guidance_scale)
        shape = (prompts * num_images_per_prompt, self.unet.config.in_channels, height, width)
        self.scheduler.set_timesteps(num_inference_steps, device=batch.device)
        start = self._start(latents, shape, generator) * self.scheduler.init_noise_sigma
        timesteps = self.progress_bar(self.scheduler.timesteps)
        latents = sample(predict, self.scheduler, start, timesteps, on_step, generator)
        return ImagePipelineOutput(images=self._decode(latents, output_type))

    @classmethod
    def load_config(cls, *args: Any, **settings: Any) -> Any:  # noqa: ANN401 (diffusers' own)
        """The contents of model_index.json, which diffusers reads when it loads a folder."""
        config = super().load_config(*args, **settings)
        for part in config.values() if isinstance(config, dict) else ():
            if isinstance(part, list) and part[0] in FORMER_MODULES:
                part[0] = FORMER_MODULES[part[0]]
        return config

    def save_pretrained(self, save_directory: str | Path, **settings: Any) -> None:  # noqa: ANN401 (diffusers' own)
        """Save every part and a model card; `SatPipeline.from_pretrained` loads it again."""
        super().save_pretrained(save_directory, **settings)
        write_card(Path(save_directory), self.unet, self.vae_scale_factor, self.scheduler, self.controlnet)

    def _text(
        self,
        prompt: str | list[str] | None,
        negative_prompt: str,
        prompt_embeds: Tensor | None,
        negative_prompt_embeds: Tensor | None,
        guided: bool,
    ) -> tuple[Tensor, int]:
        """Text states (P or 2 P, tokens, D), the unconditional half first, and the number of prompts P."""
        if (prompt is None) == (prompt_embeds is None):
            raise ConditionError("pass either prompt or prompt_embeds.")
        if prompt_embeds is None:
            prompt_embeds = self._encode([prompt] if isinstance(prompt, str) else list(prompt or []))
        if not guided:
            return prompt_embeds, len(prompt_embeds)
        if negative_prompt_embeds is None:
            negative_prompt_embeds = self._encode([negative_prompt] * len(prompt_embeds))
        return torch.cat([negative_prompt_embeds, prompt_embeds]), len(prompt_embeds)

    def _encode(self, prompts: list[str]) -> Tensor:
        """(P, tokens, D) last hidden states; a prompt that is too long is truncated."""
        tokens = self.tokenizer(
            prompts,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        states: Tensor = self.text_encoder(tokens.input_ids.to(self._execution_device))[0]
        return states

    def _cells(self, image: Any, height: int | None, width: int | None) -> tuple[int, int]:  # noqa: ANN401
        """Width and height of the latents: as requested, as a conditioning tensor implies, or the UNet's own."""
        networks, cell = networks_of(self.controlnet), self.vae_scale_factor
        first = next(iter(per_network(image, networks)), None)
        own = [self.unet.config.sample_size * cell] * 2
        if isinstance(first, Tensor):
            own = [side * cell // downsampling(networks[0]) for side in first.shape[-2:]]
        height, width = height or own[0], width or own[1]
        if height % cell or width % cell:
            raise ConditionError(f"{width} x {height} px: both must be multiples of {cell}.")
        return width // cell, height // cell

    def _metadata(
        self,
        metadata: Any,  # noqa: ANN401
        cond_metadata: Any,  # noqa: ANN401
        batch: "_Batch",
        keep: bool,
    ) -> tuple[Tensor | None, list[Tensor | None]]:
        """Metadata of the target and of each condition, one row per image and half, normalised."""
        networks = networks_of(self.controlnet)
        takers = [network for network in (self.unet, *networks) if takes_metadata(network)]
        if (metadata is not None and not takers) or (cond_metadata is not None and takers in ([], [self.unet])):
            raise MetadataError("metadata was passed, but neither UNet nor ControlNet was made for it. Pass none.")

        def rows(values: Any) -> Tensor | None:  # noqa: ANN401
            if values is None:
                return None
            return batch.spread_metadata(normalised_batch(values, batch.prompts), keep)

        return rows(metadata), [rows(values) for values in per_network(cond_metadata, networks)]

    def _control(
        self,
        conditions: list[Tensor],
        strengths: float | list[float],
        metadata: Tensor | None,
        cond_metadata: list[Tensor | None],
        guess_mode: bool,
        guided: bool,
    ) -> Control:
        """The ControlNets, if any, and their conditions."""
        networks = networks_of(self.controlnet)
        return Control(
            networks=networks,
            conditions=conditions,
            strengths=strengths if isinstance(strengths, list) else [strengths] * len(networks),
            metadata=metadata,
            cond_metadata=cond_metadata,
            guess_mode=guess_mode,
            conditional_only=guess_mode and guided,
        )

    def _predictor(self, control: Control, states: Tensor, guidance_scale: float) -> Predict:
        """The UNet with its ControlNets, with guidance if enabled."""
        given = {"metadata": control.metadata} if takes_metadata(self.unet) else {}
        guided = guidance_scale > 1

        def predict(noisy: Tensor, timestep: Tensor) -> Tensor:
            noisy = torch.cat([noisy] * (1 + guided))
            residuals = control(noisy, timestep, states)
            predicted: Tensor = self.unet(noisy, timestep, states, **given, **residuals, return_dict=False)[0]
            return guide(predicted, guidance_scale) if guided else predicted

        return predict

    def _start(
        self,
        latents: Tensor | None,
        shape: tuple[int, int, int, int],
        generator: torch.Generator | list[torch.Generator] | None,
    ) -> Tensor:
        """Initial noise of standard deviation 1."""
        if latents is None:
            if isinstance(generator, list) and len(generator) != shape[0]:
                raise ConditionError(f"{len(generator)} generators for {shape[0]} images. Pass one for each, or one.")
            latents = randn_tensor(shape, generator, self._execution_device, self.unet.dtype)
        if tuple(latents.shape) != shape:
            raise ConditionError(f"latents have shape {tuple(latents.shape)}. Expected {shape}.")
        return latents.to(self._execution_device, self.unet.dtype)

    def _decode(self, latents: Tensor, output_type: str) -> Any:  # noqa: ANN401 (by output_type)
        images: Any = latents
        if output_type != "latent":
            pixels = self.vae.decode(latents.to(self.vae.dtype) / self.vae.config.scaling_factor, return_dict=False)[0]
            images = self.image_processor.postprocess(pixels, output_type=output_type)
        self.maybe_free_model_hooks()
        return images


@dataclass(frozen=True)
class _Batch:
    """The rows of a call: prompts, images of each, and two halves under guidance."""

    prompts: int
    repeat: int
    guided: bool
    device: torch.device

    def spread(self, values: Tensor, halves: bool = True) -> Tensor:
        """(P, ...) -> one row per image, in both halves if `halves`."""
        values = values.to(self.device).repeat_interleave(self.repeat, 0)
        return torch.cat([values, values]) if halves and self.guided else values

    def spread_metadata(self, values: Tensor, keep: bool) -> Tensor:
        """The same for metadata; unknown in the unconditional half, which comes first, unless `keep`."""
        rows = self.spread(values, halves=False)
        if not self.guided:
            return rows
        return torch.cat([rows if keep else torch.full_like(rows, torch.nan), rows])

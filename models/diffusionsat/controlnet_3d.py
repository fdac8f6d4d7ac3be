"""DiffusionSat's 3D ControlNet: conditioned on a sequence of images of one place, each with its metadata."""

import inspect
from typing import Any

import torch
from diffusers import ModelMixin as ModelMixin  # as in unet.py
from diffusers.configuration_utils import register_to_config
from diffusers.models.controlnets.controlnet import (
    ControlNetConditioningEmbedding,
    ControlNetOutput,
    zero_module,
)
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import Tensor, nn
from torch.nn import functional as F

from models.diffusionsat.arguments import added_to
from models.diffusionsat.controlnet import SatControlNet
from models.diffusionsat.metadata import MetadataError

PARENT_ARGUMENTS = tuple(inspect.signature(SatControlNet.__init__).parameters)[1:]
# Of the first temporal layer; the released models use them whatever the width.
FIRST_HEADS, FIRST_HEAD_SIZE, FIRST_GROUPS = 8, 64, 32


class SatControlNet3D(SatControlNet):
    """The 2D encoder processes every image separately; 3D convolutions and temporal attention mix them.

    The residuals of the T images are summed, so their magnitude grows with T, which may be any number from 1. There is
    no temporal position encoding: order enters through the metadata and the 3D convolutions only.
    """

    controlnet_cond_embedding: nn.Module
    controlnet_down_blocks: nn.ModuleList

    @register_to_config  # type: ignore[untyped-decorator]
    @added_to(SatControlNet)
    def __init__(
        self,
        *,
        use_temporal_transformer: bool = False,
        **arguments: Any,  # noqa: ANN401 (the parent's)
    ) -> None:
        # register_to_config has put every argument into the config already; the parent rejects unknown ones.
        super().__init__(**{name: self.config[name] for name in PARENT_ARGUMENTS} | arguments)
        if self.config.global_pool_conditions:
            raise MetadataError("global_pool_conditions is true; a 3D ControlNet has no such pooling. Set it to false.")
        self.gradient_checkpointing = False
        self.controlnet_cond_embedding = _SequenceEmbedding(self.controlnet_cond_embedding)
        widths = [block.get_parameter("weight").shape[0] for block in self.controlnet_down_blocks]
        self.controlnet_down_blocks = nn.ModuleList(zero_module(_FrameConvolution(width, width, 1)) for width in widths)
        deepest = self.config.block_out_channels[-1]
        self.controlnet_mid_block = zero_module(_FrameConvolution(deepest, deepest, 1))
        if use_temporal_transformer:
            blocks = self._temporal_blocks(widths)
            self.temporal_blocks = nn.ModuleList(blocks)
            # One for each residual, as in the released weights; those without a temporal block are unused.
            self.mixing_attns = nn.ParameterList(
                nn.Parameter(torch.zeros(()), requires_grad=not isinstance(block, nn.Identity)) for block in blocks
            )

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor,
        controlnet_cond: Tensor,
        conditioning_scale: float = 1.0,
        class_labels: Tensor | None = None,
        timestep_cond: Tensor | None = None,
        attention_mask: Tensor | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guess_mode: bool = False,
        return_dict: bool = True,
        *,
        metadata: Tensor | None = None,
        cond_metadata: Tensor | None = None,
    ) -> ControlNetOutput | tuple[list[Tensor], Tensor]:
        """The residuals for the UNet's skip connections; arguments and result as in SatControlNet, except these two.

        Args:
            sample: (N, C, h, w) noisy latents.
            timestep: (N,), or one for all.
            encoder_hidden_states: (N, tokens, cross_attention_dim).
            controlnet_cond: (N, conditioning_channels, T, H, W) in [0, 1]: T images of one place; or
                (N, T * conditioning_channels, H, W), concatenated, as passed by pipelines made for single images.
            conditioning_scale: strength of the residuals.
            class_labels: see ControlNetModel, also for the following.
            timestep_cond: not used by ControlNets.
            attention_mask: ditto.
            added_cond_kwargs: ditto.
            cross_attention_kwargs: ditto.
            guess_mode: ditto.
            return_dict: ditto.
            metadata: (N, 7) of the target.
            cond_metadata: (N, 7, T), one column for each image; or (N, 7) for all of them.
        """
        if controlnet_cond.ndim == 4:
            controlnet_cond = controlnet_cond.unflatten(1, (-1, self.config.conditioning_channels)).transpose(1, 2)
        frames = controlnet_cond.shape[2]

        def each_frame(value: Any) -> Any:  # noqa: ANN401 (any per-batch value)
            return value.repeat_interleave(frames, 0) if isinstance(value, Tensor) and value.ndim else value

        down, mid = super().forward(
            each_frame(sample),
            each_frame(timestep),
            each_frame(encoder_hidden_states),
            controlnet_cond,
            class_labels=each_frame(class_labels),
            timestep_cond=timestep_cond,
            attention_mask=each_frame(attention_mask),
            added_cond_kwargs={name: each_frame(value) for name, value in (added_cond_kwargs or {}).items()},
            cross_attention_kwargs=cross_attention_kwargs,
            return_dict=False,
            metadata=each_frame(metadata),
            cond_metadata=_of_frames(cond_metadata, frames),
        )
        down = [self._merge(slot, residual, frames) for slot, residual in enumerate(down)]
        mid = mid.unflatten(0, (-1, frames)).sum(1)
        scales = torch.full((len(down) + 1,), float(conditioning_scale), device=mid.device)
        if guess_mode:
            scales = scales * torch.logspace(-1, 0, len(scales), device=mid.device)
        down = [residual * scale.to(residual.dtype) for residual, scale in zip(down, scales, strict=False)]
        mid = mid * scales[-1].to(mid.dtype)
        if not return_dict:
            return down, mid
        return ControlNetOutput(down_block_res_samples=down, mid_block_res_sample=mid)

    def _merge(self, slot: int, residual: Tensor, frames: int) -> Tensor:
        """The residual of one slot: (N * T, C, h, w), mixed over time, summed to (N, C, h, w)."""
        if self.config.use_temporal_transformer and not isinstance(self.temporal_blocks[slot], nn.Identity):
            weight = self.mixing_attns[slot]
            # The clamp has slope 1 everywhere: a weight that left 0..1 can return.
            weight = weight + (weight.clamp(0, 1) - weight).detach()
            mixed = self._attend(self.temporal_blocks[slot], residual, frames)
            residual = weight * mixed + (1 - weight) * residual
        summed: Tensor = residual.unflatten(0, (-1, frames)).sum(1)
        return summed

    def _attend(self, block: TransformerTemporalModel, residual: Tensor, frames: int) -> Tensor:
        """(N * T, C, h, w) -> the same, each location attending to itself across images."""
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            mixed: Tensor = self._gradient_checkpointing_func(block, residual, None, None, None, frames).sample
        else:
            mixed = block(residual, num_frames=frames).sample
        return mixed

    def _temporal_blocks(self, widths: list[int]) -> list[nn.Module]:
        """Temporal attention on the first residual and on the last of every level but the deepest."""
        config = self.config
        levels, per_level = len(config.block_out_channels), config.layers_per_block + 1
        sizes = config.attention_head_dim
        sizes = [sizes] * levels if isinstance(sizes, int) else sizes
        blocks: list[nn.Module] = [nn.Identity() for _ in widths]
        blocks[0] = TransformerTemporalModel(
            FIRST_HEADS, FIRST_HEAD_SIZE, in_channels=widths[0], norm_num_groups=FIRST_GROUPS
        )
        for level in range(levels - 1):
            width = config.block_out_channels[level]
            # Number and size of heads are swapped relative to the 2D blocks, as in the released weights.
            blocks[(level + 1) * per_level] = TransformerTemporalModel(
                width // sizes[level], sizes[level], in_channels=width, norm_num_groups=config.norm_num_groups
            )
        return blocks


class _SequenceEmbedding(nn.Module):
    """The conditioning embedding over space and time; the ends and the first layer of each pair mix adjacent images."""

    def __init__(self, flat: ControlNetConditioningEmbedding) -> None:
        super().__init__()
        self.conv_in = _in_time(flat.conv_in)
        self.blocks = nn.ModuleList(_in_time(layer, time=1 + 2 * (i % 2 == 0)) for i, layer in enumerate(flat.blocks))
        self.conv_out = _in_time(flat.conv_out)
        zero_module(self.conv_out)

    def forward(self, sequence: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N * T, channels, h, w), the images of one sequence consecutive."""
        embedded = F.silu(self.conv_in(sequence))
        for layer in self.blocks:
            embedded = F.silu(layer(embedded))
        images: Tensor = self.conv_out(embedded).transpose(1, 2).flatten(0, 1)
        return images


class _FrameConvolution(nn.Conv3d):
    """A 1 x 1 x 1 convolution on consecutive images: (N * T, C, h, w)."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images[:, :, None])[:, :, 0]


def _in_time(flat: nn.Conv2d, time: int = 3) -> nn.Conv3d:
    """The 3D convolution with a 2D one's channels and strides, spanning `time` images."""
    return nn.Conv3d(
        flat.in_channels,
        flat.out_channels,
        (time, 3, 3),
        stride=(1, flat.stride[0], flat.stride[1]),
        padding=(time // 2, 1, 1),
    )


def _of_frames(metadata: Tensor | None, frames: int) -> Tensor | None:
    """(N, 7, T) or (N, 7) -> (N * T, 7)."""
    if metadata is None or metadata.ndim == 2:
        return None if metadata is None else metadata.repeat_interleave(frames, 0)
    if metadata.shape[2] != frames:
        raise MetadataError(f"metadata has {metadata.shape[2]} columns for {frames} condition images. Pass one each.")
    return metadata.transpose(1, 2).flatten(0, 1)

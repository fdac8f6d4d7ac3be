"""The frozen base with what is trained alongside or within it, as one module that predicts what the base predicts."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from diffusers import T2IAdapter, UNet2DConditionModel
from torch import Tensor, nn

from models.conditioners.t2i_adapter import added_by
from models.families.family import Family, Network

Shown = Tensor | Sequence[Tensor]  # a condition, or the features of a T2I-Adapter
PRE_CONV = "unet.conv_in.pre.weight"  # name of the weights that `concatenate_pre` adds


class Denoiser(nn.Module):
    """A base's frozen denoising network, with a trained ControlNet or T2I-Adapter, LoRA, or added input channels."""

    def __init__(
        self,
        family: Family,
        unet: Network,
        controlnet: Network = None,
        *,
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        """Put the networks together.

        Args:
            family: of the base; knows how to call its networks.
            unet: the denoising network, of some families a transformer.
            controlnet: beside it; or a T2I-Adapter.
            compute_dtype: what trained float32 weights are autocast to.
        """
        super().__init__()
        self.family, self.compute_dtype = family, compute_dtype
        self.unet: Any = unet
        self.controlnet: Any = controlnet
        self._alone = False

    def forward(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        states: Tensor,
        condition: Shown | None,
        *,
        scale: float = 1.0,
        **told: Tensor | None,
    ) -> Tensor:
        """Predict what the base does: noise, velocity, clean latents.

        Args:
            noisy: (B, C, h, w) float32.
            timesteps: (B,), or one for all, as the network is told them.
            states: (B, T, D) float32, of the text encoder.
            condition: the ControlNet's input, (B, K, H, W) in [0, 1], for a sequence K = 3 T, or (B, C, h, w)
                latents; or the latents that are concatenated. None for a LoRA or a network alone. Or what
                `prepared` made of it.
            scale: factor on the trained contribution; at 0 the prediction is the base's own.
            told: what else the networks are told, None = unknown; families and networks take what they know:
                metadata (B, 7) float32 of the image to generate, see models/diffusionsat/metadata.py; cond_metadata
                (B, 7) of the conditioning image, of a sequence (B, 7, T); what `Family.encode` and `placed` return.

        Returns:
            (B, C, h, w) float32.
        """
        dtype, added = self.compute_dtype, dict[str, Any]()
        given = {name: value for name, value in told.items() if value is not None}
        if self.controlnet is not None and not self._alone and scale:
            with self._autocast(noisy):
                if isinstance(self.controlnet, T2IAdapter):
                    features = condition if isinstance(condition, Sequence) else self.controlnet(condition)
                    control = added_by(features, scale)
                else:
                    assert condition is None or isinstance(condition, Tensor)
                    control = self.family.control(self.controlnet, noisy, timesteps, states, condition, scale, given)
            added = {name: _cast(residuals, dtype) for name, residuals in control.items()}
        if isinstance(getattr(self.unet, "conv_in", None), ConcatenatedConv):
            pre = condition * scale if isinstance(condition, Tensor) and not self._alone else torch.zeros_like(noisy)
            noisy = torch.cat([noisy, pre], 1)
        if scale != 1 and has_lora(self.unet):
            added["lora_scale"] = scale
        # A network without LoRA is in the compute type already; autocast would only raise its norms to float32.
        with self._autocast(noisy, enabled=has_lora(self.unet)):
            predicted = self.family.predict(self.unet, noisy.to(dtype), timesteps, states.to(dtype), given, added)
        prediction: Tensor = predicted.float()
        return prediction

    def prepared(self, condition: Tensor) -> Shown:
        """A condition for many timesteps: of a T2I-Adapter its features, which are alike at all of them."""
        if not isinstance(self.controlnet, T2IAdapter):
            return condition
        with self._autocast(condition):
            features: list[Tensor] = self.controlnet(condition)
        return features

    @contextmanager
    def without_control(self) -> Iterator[None]:
        """Within the block the prediction does not depend on the condition; a LoRA still applies."""
        self._alone = True
        try:
            yield
        finally:
            self._alone = False

    def trained(self) -> dict[str, nn.Parameter]:
        """Name -> weight of everything that is trained."""
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}

    def _autocast(self, tensor: Tensor, enabled: bool = True) -> AbstractContextManager[Any]:
        if not enabled or self.compute_dtype == torch.float32:
            return nullcontext()
        return torch.autocast(tensor.device.type, self.compute_dtype)


class ConcatenatedConv(nn.Module):
    """The UNet's first convolution for [noisy, pre] latents: the frozen one plus a zero-initialised one on the pre."""

    def __init__(self, base: nn.Conv2d) -> None:
        super().__init__()
        self.base = base
        self.pre = nn.Conv2d(base.in_channels, base.out_channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.pre.weight)

    def forward(self, both: Tensor) -> Tensor:
        """(B, 2 C, h, w) -> (B, width, h, w)."""
        noisy, pre = both.chunk(2, 1)
        added: Tensor = self.base(noisy) + self.pre(pre.to(self.pre.weight.dtype)).to(noisy.dtype)
        return added


def concatenate_pre(unet: UNet2DConditionModel, trained: Tensor | None = None) -> None:
    """Let the UNet read pre latents in addition to the noisy ones (InstructPix2Pix, section 3.2).

    Args:
        unet: of the base; without trained weights its prediction does not change.
        trained: `PRE_CONV` weights, (width, C, 3, 3), then frozen.
    """
    wide = ConcatenatedConv(unet.conv_in).to(unet.device)
    if trained is not None:
        wide.pre.weight = nn.Parameter(trained.to(wide.base.weight), requires_grad=False)
    unet.conv_in = wide


def widen_conv_in(unet: UNet2DConditionModel, pre: Tensor) -> None:
    """Merge trained `PRE_CONV` weights into a plain first convolution, for diffusers' InstructPix2Pix pipeline.

    Args:
        unet: the base's; its `conv_in` is replaced by one of 2 C input channels.
        pre: (width, C, 3, 3).
    """
    base = unet.conv_in
    wide = nn.Conv2d(2 * base.in_channels, base.out_channels, 3, padding=1)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([base.weight, pre.to(base.weight)], 1))
        wide.load_state_dict({"weight": wide.weight, "bias": base.bias})
    unet.conv_in = wide.to(base.weight).requires_grad_(False)
    unet.register_to_config(in_channels=wide.in_channels)


def has_lora(network: nn.Module) -> bool:
    """Whether adapters were added to a network."""
    return bool(getattr(network, "peft_config", None))


def _cast(residuals: Tensor | list[Tensor], dtype: torch.dtype) -> Tensor | list[Tensor]:
    return residuals.to(dtype) if isinstance(residuals, Tensor) else [residual.to(dtype) for residual in residuals]

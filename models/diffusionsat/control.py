"""The inputs of the ControlNets of one call, and the residuals that they add to the UNet."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel, MultiControlNetModel
from torch import Tensor

from models.diffusionsat.conditions import ConditionError, condition_tensor
from models.diffusionsat.controlnet_3d import SatControlNet3D
from models.diffusionsat.multi_controlnet import summed_residuals


@dataclass(frozen=True)
class Control:
    """The ControlNets of a call, one list entry each; rows are images, the unconditional half first."""

    networks: list[ControlNetModel]
    conditions: list[Tensor]
    strengths: list[float]
    metadata: Tensor | None
    cond_metadata: list[Tensor | None]
    guess_mode: bool  # weaker towards the outer layers
    conditional_only: bool  # the unconditional half gets zeros

    def __call__(self, noisy: Tensor, timestep: Tensor, states: Tensor) -> dict[str, Any]:
        """The UNet's arguments with the residuals."""
        if not self.networks:
            return {}
        first = len(noisy) // 2 if self.conditional_only else 0  # all inputs of the networks are cut alike
        down, mid = summed_residuals(
            self.networks,
            noisy[first:],
            timestep,
            states[first:],
            [condition[first:] for condition in self.conditions],
            self.strengths,
            guess_mode=self.guess_mode,
            metadata=None if self.metadata is None else self.metadata[first:],
            cond_metadata=[None if rows is None else rows[first:] for rows in self.cond_metadata],
        )
        if self.conditional_only:
            down = [torch.cat([torch.zeros_like(residual), residual]) for residual in down]
            mid = torch.cat([torch.zeros_like(mid), mid])
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}


def networks_of(controlnet: Any) -> list[ControlNetModel]:  # noqa: ANN401
    """None, one or several as a list."""
    if controlnet is None:
        return []
    return list(controlnet.nets) if isinstance(controlnet, MultiControlNetModel) else [controlnet]


def per_network(values: Any, networks: list[ControlNetModel]) -> list[Any]:  # noqa: ANN401 (images, metadata, ...)
    """One entry for each network; only several networks take a list."""
    if values is None or len(networks) < 2:
        return [values] * len(networks)
    if not isinstance(values, list) or len(values) != len(networks):
        found = len(values) if isinstance(values, list) else "single"
        raise ConditionError(f"{found} entries for {len(networks)} ControlNets. Pass a list with one each.")
    return values


def downsampling(network: ControlNetModel) -> int:
    """Pixels of the condition per latent cell."""
    widths: int = len(network.config.conditioning_embedding_out_channels)
    configured: int = network.config.get("conditioning_downsampling", 1 << widths)
    return min(configured, 1 << (widths - 1))


def conditions_of(
    networks: list[ControlNetModel],
    image: Any,  # noqa: ANN401 (see condition_tensor)
    prompts: int,
    cells: tuple[int, int],
) -> list[Tensor]:
    """The condition of each network, (prompts, ...).

    Args:
        networks: one, several or none.
        image: the conditioning images.
        prompts: a single condition applies to all of them.
        cells: (width, height) of the latents.
    """
    if image is None and networks:
        raise ConditionError("the pipeline has a ControlNet but no conditioning image. Pass image=.")
    if image is not None and not networks:
        raise ConditionError("an image but no ControlNet to condition. Load the pipeline with controlnet=.")
    conditions = []
    for network, shown in zip(networks, per_network(image, networks), strict=True):
        condition = condition_tensor(
            shown,
            channels=network.config.conditioning_channels,
            size=(cells[0] * downsampling(network), cells[1] * downsampling(network)),
            sequence=isinstance(network, SatControlNet3D),
        )
        if len(condition) not in (1, prompts):
            raise ConditionError(f"{len(condition)} conditions for {prompts} prompts. Pass one for each, or one.")
        conditions.append(condition.expand(prompts, *condition.shape[1:]))
    return conditions

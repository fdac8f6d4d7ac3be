"""Several metadata ControlNets at once: their residuals are summed."""

from pathlib import Path
from typing import Any

from diffusers import MultiControlNetModel
from torch import Tensor

from models.controlnet import controlnet_class


class MultiSatControlNet(MultiControlNetModel):  # type: ignore[misc]
    """diffusers' MultiControlNetModel for networks that are told metadata: one list entry for each network."""

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor,
        controlnet_cond: list[Tensor],
        conditioning_scale: list[float],
        guess_mode: bool = False,
        return_dict: bool = True,
        *,
        metadata: Tensor | None = None,
        cond_metadata: "list[Tensor | None] | None" = None,
    ) -> tuple[list[Tensor], Tensor]:
        """The sum of what the networks add.

        Args:
            sample: (N, C, h, w) noisy latents.
            timestep: (N,), or one for all.
            encoder_hidden_states: (N, tokens, cross_attention_dim).
            controlnet_cond: the condition of each network.
            conditioning_scale: the strength of each network.
            guess_mode: see ControlNetModel.
            return_dict: always a tuple here, as in MultiControlNetModel.
            metadata: (N, 7) of the image to make, the same for all networks.
            cond_metadata: of the condition of each network.
        """
        of_conditions = cond_metadata or [None] * len(self.nets)
        down_sums: list[Tensor] = []
        mid_sum: Tensor | None = None
        for network, condition, scale, of_condition in zip(
            self.nets, controlnet_cond, conditioning_scale, of_conditions, strict=True
        ):
            down, mid = network(
                sample,
                timestep,
                encoder_hidden_states,
                condition,
                conditioning_scale=scale,
                guess_mode=guess_mode,
                return_dict=False,
                metadata=metadata,
                cond_metadata=of_condition,
            )
            down_sums = [a + b for a, b in zip(down_sums, down, strict=True)] if down_sums else list(down)
            mid_sum = mid if mid_sum is None else mid_sum + mid
        assert mid_sum is not None  # there is always a network
        return down_sums, mid_sum

    @classmethod
    def from_pretrained(cls, pretrained_model_path: str | Path, **settings: Any) -> "MultiSatControlNet":  # noqa: ANN401
        """Load `controlnet/`, `controlnet_1/`, ... beside each other; settings go to each network's from_pretrained."""
        folders = sibling_folders(Path(pretrained_model_path))
        return cls([controlnet_class(folder).from_pretrained(folder, **settings) for folder in folders])


def sibling_folders(first: Path) -> list[Path]:
    """`controlnet`, `controlnet_1`, `controlnet_2`, ...; or `controlnet_1_2`, as DiffusionSat's library misnames it."""
    folders, misnamed = [first], first.name
    while True:
        number = len(folders)
        misnamed = f"{misnamed}_{number}"
        found = [first.with_name(name) for name in (f"{first.name}_{number}", misnamed)]
        found = [folder for folder in found if folder.is_dir()]
        if not found:
            return folders
        folders.append(found[0])

"""Several metadata ControlNets: their residuals are summed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusers import ModelMixin as ModelMixin  # as in unet.py
from diffusers import MultiControlNetModel
from torch import Tensor, nn

from models.diffusionsat.embedding import takes_metadata
from models.diffusionsat.kind import controlnet_class


class MultiSatControlNet(MultiControlNetModel):  # type: ignore[misc]
    """diffusers' MultiControlNetModel for networks conditioned on metadata: one list entry for each network."""

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
        """The sum of the networks' residuals.

        Args:
            sample: (N, C, h, w) noisy latents.
            timestep: (N,), or one for all.
            encoder_hidden_states: (N, tokens, cross_attention_dim).
            controlnet_cond: the condition of each network.
            conditioning_scale: the strength of each network.
            guess_mode: see ControlNetModel.
            return_dict: always a tuple here, as in MultiControlNetModel.
            metadata: (N, 7) of the target, the same for all networks.
            cond_metadata: of the condition of each network.
        """
        return summed_residuals(
            list(self.nets),
            sample,
            timestep,
            encoder_hidden_states,
            controlnet_cond,
            conditioning_scale,
            guess_mode=guess_mode,
            metadata=metadata,
            cond_metadata=cond_metadata or [None] * len(self.nets),
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_path: str | Path, **settings: Any) -> "MultiSatControlNet":  # noqa: ANN401
        """Load `controlnet/`, `controlnet_1/`, ... side by side; settings go to each network's from_pretrained."""
        folders = sibling_folders(Path(pretrained_model_path))
        return cls([controlnet_class(folder).from_pretrained(folder, **settings) for folder in folders])


def summed_residuals(
    networks: Sequence[nn.Module],
    sample: Tensor,
    timestep: Tensor | float | int,
    encoder_hidden_states: Tensor,
    conditions: Sequence[Tensor],
    strengths: Sequence[float],
    *,
    guess_mode: bool,
    metadata: Tensor | None,
    cond_metadata: Sequence[Tensor | None],
) -> tuple[list[Tensor], Tensor]:
    """The summed residuals of several ControlNets, in the precision of `sample`, whatever theirs.

    Metadata goes to networks that take it; there is one condition, with metadata and strength, per network.
    """
    sums: list[Tensor] = []
    for network, condition, strength, of_condition in zip(networks, conditions, strengths, cond_metadata, strict=True):
        dtype = next(network.parameters()).dtype
        metadata_kwargs = {"metadata": metadata, "cond_metadata": of_condition} if takes_metadata(network) else {}
        down, mid = network(
            sample.to(dtype),
            timestep,
            encoder_hidden_states.to(dtype),
            condition.to(dtype),
            conditioning_scale=strength,
            guess_mode=guess_mode,
            return_dict=False,
            **metadata_kwargs,
        )
        residuals = [residual.to(sample.dtype) for residual in (*down, mid)]
        sums = [a + b for a, b in zip(sums, residuals, strict=True)] if sums else residuals
    return sums[:-1], sums[-1]


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

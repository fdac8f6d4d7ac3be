"""Solvers of the reverse process, by the names of their papers."""

from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from torch import Tensor


class FlowEuler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
    """Euler's method along a rectified flow, with what the solvers of diffusion have besides."""

    init_noise_sigma = 1.0

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noisy latents (B, C, h, w) at one of its timesteps."""
        noisy: Tensor = self.scale_noise(latents, timesteps, noise)
        return noisy

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """The network sees the latents as they are."""
        return sample


# Each with the settings that override a base's file.
SAMPLERS: dict[str, tuple[type[SchedulerMixin], dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {"clip_sample": False}),  # latents are no pixels in [-1, 1]
    "unipc": (UniPCMultistepScheduler, {}),
    "flow-euler": (FlowEuler, {}),
    "dpm++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
}
# Stable Diffusion's own values, for files of other solvers, which lack these fields.
DDIM_ABSENT = {"steps_offset": 1, "set_alpha_to_one": False}

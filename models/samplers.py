"""Solvers of the reverse process, by the names of their papers."""

from typing import Any

from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
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
    "ddpm": (DDPMScheduler, {"clip_sample": False}),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}),  # as Stable Diffusion's own files say: one prediction per step
    "euler": (EulerDiscreteScheduler, {}),
    "euler-a": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "dpm++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
    "dpm++-sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "dpm++-karras": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {"clip_sample": False, "original_inference_steps": 50}),
    "flow-euler": (FlowEuler, {}),
}


def stock_sampler(name: str) -> type[SchedulerMixin]:
    """The class of diffusers that does the same."""
    kind = SAMPLERS[name][0]
    return FlowMatchEulerDiscreteScheduler if kind is FlowEuler else kind


DIFFUSION = tuple(name for name in SAMPLERS if name != "flow-euler")  # all that solve denoising diffusion
NOT_OF_LATENTS = ("pndm", "euler-a", "heun")  # diffusers has no step of theirs for networks that predict clean latents
NOT_FROM_PURE_NOISE = ("pndm", "heun")  # nor a schedule that ends in it
# Stable Diffusion's own values, for files of other solvers, which lack these fields.
ABSENT = {"steps_offset": 1, "set_alpha_to_one": False}

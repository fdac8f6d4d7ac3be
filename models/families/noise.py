"""Noise processes that bases are trained with: how latents are noised, what the network predicts of it, at which steps.

A timestep is an index, 0 .. length - 1, the higher the noisier. What a network is told of it may be another number.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler, SchedulerMixin
from torch import Tensor


class Noise(ABC):
    """The forward process of a base."""

    scheduler: ClassVar[type[SchedulerMixin]]  # what a base's scheduler_config.json is opened as

    def __init__(self, schedule: Any) -> None:  # noqa: ANN401 (of the class `scheduler`)
        self.schedule, self.length = schedule, int(schedule.config.num_train_timesteps)

    @property
    @abstractmethod
    def predicts(self) -> str:
        """What the network predicts, in the words of a scheduler's config."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> int:
        """A timestep to train at."""

    @abstractmethod
    def add(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noisy latents (B, C, h, w) at timesteps (B,)."""

    @abstractmethod
    def told(self, timesteps: Tensor) -> Tensor:
        """What the network is told of timesteps (B,)."""

    @abstractmethod
    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network is to predict, (B, C, h, w)."""

    @abstractmethod
    def min_snr_weight(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Weight (B,) of an example, min-SNR-gamma (Hang et al. 2023, section 3.4)."""


class Diffusion(Noise):
    """Denoising diffusion (Ho et al. 2020), every timestep alike: the network predicts noise, velocity or latents."""

    scheduler = DDPMScheduler

    @property
    def predicts(self) -> str:
        """One of `models.base_config.PREDICTED`."""
        return str(self.schedule.config.prediction_type)

    def draw(self, rng: np.random.Generator) -> int:
        """Uniform."""
        return int(rng.integers(self.length))

    def add(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Equation 4 of the paper."""
        noisy: Tensor = self.schedule.add_noise(latents, noise, timesteps)
        return noisy

    def told(self, timesteps: Tensor) -> Tensor:
        """The timesteps themselves."""
        return timesteps

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noise, the velocity (Salimans and Ho 2022, appendix D) or the clean latents."""
        match self.predicts:
            case "epsilon":
                return noise
            case "v_prediction":
                velocity: Tensor = self.schedule.get_velocity(latents, noise, timesteps)
                return velocity
            case "sample":
                return latents
            case other:
                raise ValueError(
                    f"scheduler/scheduler_config.json: prediction_type is {other!r}; "
                    "expected epsilon, v_prediction or sample."
                )

    def min_snr_weight(self, timesteps: Tensor, gamma: float) -> Tensor:
        """The paper weighs the error of the clean latents by min(SNR, gamma), gamma 5.

        Equivalently for the other prediction types: the error of the noise is SNR times as large, that of the velocity
        SNR + 1 times. At SNR 0 the weight is 1 for the noise (the limit), 0 for the other two.
        """
        kept = self.schedule.alphas_cumprod.to(timesteps.device)[timesteps]
        snr: Tensor = kept / (1 - kept)
        match self.predicts:
            case "epsilon":
                return (gamma / snr).clamp(max=1.0)
            case "v_prediction":
                return snr.clamp(max=gamma) / (snr + 1)
            case _:
                return snr.clamp(max=gamma)

    def rescaled(self) -> "Diffusion":
        """The schedule that ends in pure noise (Lin et al. 2024, algorithm 1)."""
        return Diffusion(DDPMScheduler.from_config(self.schedule.config, rescale_betas_zero_snr=True))


class RectifiedFlow(Noise):
    """Straight lines from latents to noise (Liu et al. 2023), trained as by Esser et al. 2024."""

    scheduler = FlowMatchEulerDiscreteScheduler
    predicts = "flow_prediction"

    def __init__(self, schedule: FlowMatchEulerDiscreteScheduler) -> None:
        super().__init__(schedule)
        self.sigmas: Tensor = schedule.sigmas.flip(0).contiguous()  # of every timestep, as the base shifts them

    def draw(self, rng: np.random.Generator) -> int:
        """Logit-normal with mean 0 and standard deviation 1, the paper's best (section 3.1, table 1)."""
        return min(int(self.length / (1 + np.exp(-rng.standard_normal()))), self.length - 1)

    def add(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Equation 13 of the paper."""
        sigmas = self._sigmas(timesteps).view(-1, 1, 1, 1)
        return (1 - sigmas) * latents + sigmas * noise

    def told(self, timesteps: Tensor) -> Tensor:
        """Share of noise times the number of timesteps."""
        return self._sigmas(timesteps) * self.length

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The direction from latents to noise; all timesteps that are drawn weigh alike."""
        return noise - latents

    def min_snr_weight(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Of clean latents the error is sigma^2 times that of the direction; the SNR is ((1 - sigma) / sigma)^2."""
        sigmas = self._sigmas(timesteps)
        weights: Tensor = torch.minimum((1 - sigmas) ** 2, gamma * sigmas**2)
        return weights

    def _sigmas(self, timesteps: Tensor) -> Tensor:
        return self.sigmas.to(timesteps.device)[timesteps]

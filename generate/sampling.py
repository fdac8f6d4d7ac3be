"""How an image is sampled: the options that generation and evaluation share."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from generate.errors import GenerateError

SAMPLE_STRIDE = 1_000_000  # more than any split has patches, so that no two images of a run share their initial noise
# Sanity bounds: beyond them numbers overflow, or no memory suffices.
MOST_STEPS = 999  # fewer than the noise levels of training
MOST_GUIDANCE = 100
GUIDANCE_EXPECTED = f"0 to {MOST_GUIDANCE}; 1 = none, usually up to 9"
LARGEST_SEED = 2**62  # a torch.Generator takes 64 bits, for the seed and what is added to it
MOST_PX = 8192
Scheduler = Literal[
    "ddim",
    "ddpm",
    "pndm",
    "euler",
    "euler-a",
    "heun",
    "dpm++",
    "dpm++-sde",
    "dpm++-karras",
    "unipc",
    "lcm",
    "flow-euler",
]
SCHEDULERS: tuple[str, ...] = get_args(Scheduler)  # of models/samplers.py
MOST_LCM_STEPS = 50  # noise levels that latent consistency models are distilled at
SPEED_ONLY = ("batch_size",)  # does not affect the images
OF_THE_IMAGE = ("seed", "samples")  # recorded by each image's own seed


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """From noise, a pre image and a caption to an image. Defaults: as the published xBD models are evaluated.

    Raises:
        GenerateError: an invalid value; the message names it and what was expected.
    """

    scheduler: Scheduler | None = None
    """Solver; by default the usual one of the base's family: ddim, of flows flow-euler. unipc and dpm++ need a quarter
    of the steps for nearly the same image; heun predicts twice a step; ddpm, euler-a, dpm++-sde and lcm add noise in
    every step; flow-euler is for flows (Stable Diffusion 3). In few steps, with a ControlNet as without: SD-Turbo by
    --scheduler euler --steps 1 (to 4) --guidance-scale 0, SDXL-Turbo by --scheduler euler-a --steps 4
    --guidance-scale 0, latent consistency models by --scheduler lcm --steps 4 --guidance-scale 1."""
    steps: int = 100
    """Denoising steps."""
    guidance_scale: float = 1.0
    """Classifier-free guidance: the weight of the caption. 1 = none, twice as fast; higher values
    give stronger, more contrasted damage."""
    control_scale: float = 1.0
    """Scale of the trained weights (ControlNet, LoRA). 1 = as trained, 0 = the base alone."""
    control_start: float = 0.0
    """Share of the steps after which the ControlNet starts, 0..1."""
    control_end: float = 1.0
    """Share of the steps after which it stops, 0..1; the rest is sampled with the base alone."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 runs the networks in bfloat16, on CPUs with units for it; noise and solver stay float32."""
    samples: int = 1
    """Images per pre image, each from its own initial noise."""
    seed: int = 0
    """Sample s of item k starts from the noise of torch.Generator("cpu").manual_seed(seed + k + 1,000,000 s)."""
    size: int | None = None
    """Side of the network's input, px, a multiple of 8; by default as in training."""
    batch_size: int = 8
    """Images generated at once; affects speed and memory only."""

    def __post_init__(self) -> None:
        for wrong, name, expected in (
            (self.scheduler not in (None, *SCHEDULERS), "scheduler", ", ".join(SCHEDULERS)),
            (self.precision not in ("fp32", "bf16"), "precision", "fp32 or bf16"),
            (not 1 <= self.steps <= MOST_STEPS, "steps", f"1 to {MOST_STEPS}, usually 20 to 100"),
            (
                self.scheduler == "lcm" and self.steps > MOST_LCM_STEPS,
                "steps",
                f"1 to {MOST_LCM_STEPS} with the scheduler lcm, usually 4",
            ),
            (not 0 <= self.guidance_scale <= MOST_GUIDANCE, "guidance_scale", GUIDANCE_EXPECTED),
            (not 0 <= self.control_scale <= MOST_GUIDANCE, "control_scale", f"0 to {MOST_GUIDANCE}; 1 = as trained"),
            (not 0 <= self.control_start <= 1, "control_start", "a share of the steps, 0 to 1"),
            (not self.control_start <= self.control_end <= 1, "control_end", "a share from control_start to 1"),
            (not 1 <= self.samples <= SAMPLE_STRIDE, "samples", f"1 to {SAMPLE_STRIDE:,}"),
            (not 0 <= self.seed <= LARGEST_SEED, "seed", f"0 to {LARGEST_SEED:,}"),
            (not is_side(self.size), "size", f"a multiple of 8 px, at most {MOST_PX:,}"),
            (self.batch_size < 1, "batch_size", "1 or more"),
        ):
            if wrong:
                raise GenerateError(f"{name} is {getattr(self, name)}; expected {expected}.")

    def image_seed(self, key: int, sample: int) -> int:
        """Seed of the initial noise: depends only on the run's seed, the item's position and the sample."""
        return self.seed + key + SAMPLE_STRIDE * sample

    def controls(self, step: int) -> bool:
        """Whether the ControlNet is active in a step, counted from 0, by diffusers' rule."""
        return self.control_start <= step / self.steps and (step + 1) / self.steps <= self.control_end

    def described(self, resolution: int) -> dict[str, Any]:
        """What determines an image besides its inputs and its seed, for the manifest."""
        values = asdict(self) | {"size": self.size or resolution}
        return {name: value for name, value in values.items() if name not in (*SPEED_ONLY, *OF_THE_IMAGE)}


def is_side(size: int | None) -> bool:
    """Whether a network accepts images of this side, px; None = its own."""
    return size is None or (8 <= size <= MOST_PX and size % 8 == 0)


PUBLISHED = Sampling()

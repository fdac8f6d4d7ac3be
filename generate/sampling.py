"""How an image is sampled: the options that generating and measuring have in common."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from generate.errors import GenerateError

SAMPLE_STRIDE = 1_000_000  # more than any split has patches, so that no two images of a run share their start noise
# Bounds of what makes sense: beyond them numbers overflow, or no memory is enough.
MOST_STEPS = 999  # a sampler has fewer than the noise levels of the training
MOST_GUIDANCE = 100
GUIDANCE_EXPECTED = f"0 to {MOST_GUIDANCE}; 1 = none, usually up to 9"
LARGEST_SEED = 2**62  # a torch.Generator takes 64 bits, of the seed and what is added to it
MOST_PX = 8192
SPEED_ONLY = ("batch_size",)  # changes no image
OF_THE_IMAGE = ("seed", "samples")  # said by each image's own seed


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """From noise, a pre image and a caption to an image. Defaults: how the published xBD models are measured.

    Raises:
        GenerateError: a value that cannot be; the message names it and what was expected.
    """

    scheduler: Literal["ddim", "unipc", "dpm++"] = "ddim"
    """Solver. unipc and dpm++ need a quarter of the steps for much the same image."""
    steps: int = 100
    """Denoising steps."""
    guidance_scale: float = 1.0
    """Classifier-free guidance: how much the caption is stressed. 1 adds nothing and is twice as fast; higher values
    give stronger, more contrasted damage."""
    control_scale: float = 1.0
    """Factor on what was trained (ControlNet, LoRA). 1 as trained, 0 the base alone."""
    control_start: float = 0.0
    """Share of the steps after which the ControlNet sets in, 0..1."""
    control_end: float = 1.0
    """Share of the steps after which it stops, 0..1; the rest is drawn by the base alone."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 computes the networks in bfloat16; noise and solver stay float32."""
    samples: int = 1
    """Images per pre image, each from a start noise of its own."""
    seed: int = 0
    """Sample s of item k starts from the noise of torch.Generator("cpu").manual_seed(seed + k + 1,000,000 s)."""
    size: int | None = None
    """Side of what the network sees, px, a multiple of 8; by default the size of the training."""
    batch_size: int = 8
    """Images computed at once; changes speed and memory only."""

    def __post_init__(self) -> None:
        for wrong, name, expected in (
            (self.scheduler not in ("ddim", "unipc", "dpm++"), "scheduler", "ddim, unipc or dpm++"),
            (self.precision not in ("fp32", "bf16"), "precision", "fp32 or bf16"),
            (not 1 <= self.steps <= MOST_STEPS, "steps", f"1 to {MOST_STEPS}, usually 20 to 100"),
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
        """Seed of the start noise: a function of the run's seed, the item's place and the sample, of nothing else."""
        return self.seed + key + SAMPLE_STRIDE * sample

    def controls(self, step: int) -> bool:
        """Whether the ControlNet works in a step, counted from 0, by diffusers' rule."""
        return self.control_start <= step / self.steps and (step + 1) / self.steps <= self.control_end

    def described(self, resolution: int) -> dict[str, Any]:
        """What decides an image beside its inputs and its seed, for the manifest."""
        values = asdict(self) | {"size": self.size or resolution}
        return {name: value for name, value in values.items() if name not in (*SPEED_ONLY, *OF_THE_IMAGE)}


def is_side(size: int | None) -> bool:
    """Whether a network can see images of this side, px; None = its own."""
    return size is None or (8 <= size <= MOST_PX and size % 8 == 0)


PUBLISHED = Sampling()

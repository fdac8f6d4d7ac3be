"""How an image is sampled: the options that generating and measuring have in common."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from generate.errors import GenerateError

SAMPLE_STRIDE = 1_000_000  # more than any split has patches, so that no two images of a run share their start noise
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
            (self.steps < 1, "steps", "1 or more, usually 20 to 100"),
            (not self.guidance_scale >= 0, "guidance_scale", "0 or more; 1 = none, usually up to 9"),
            (not self.control_scale >= 0, "control_scale", "0 or more; 1 = as trained"),
            (not 0 <= self.control_start <= 1, "control_start", "a share of the steps, 0 to 1"),
            (not self.control_start <= self.control_end <= 1, "control_end", "a share from control_start to 1"),
            (self.samples < 1, "samples", "1 or more"),
            (self.seed < 0, "seed", "0 or more"),
            (self.size is not None and (self.size < 8 or self.size % 8 > 0), "size", "a multiple of 8 px"),
            (self.batch_size < 1, "batch_size", "1 or more"),
        ):
            if wrong:
                raise GenerateError(f"{name} is {getattr(self, name)}; expected {expected}.")

    def image_seed(self, key: int, sample: int) -> int:
        """Seed of the start noise: a function of the run's seed, the item's place and the sample, of nothing else."""
        return self.seed + key + SAMPLE_STRIDE * sample

    def described(self, resolution: int) -> dict[str, Any]:
        """What decides an image beside its inputs and its seed, for the manifest."""
        values = asdict(self) | {"size": self.size or resolution}
        return {name: value for name, value in values.items() if name not in (*SPEED_ONLY, *OF_THE_IMAGE)}


PUBLISHED = Sampling()

"""How to use a published folder: code for stock diffusers that gives the image of `pre2post generate`."""

from dataclasses import dataclass, replace

from data.examples.condition import CONDITIONS
from generate.checkpoint import PARTS, Checkpoint
from generate.sampling import Sampling
from models.base import Base
from models.families.family import Stock
from models.samplers import stock_sampler
from models.trained import CONTROLNET

PRE, POST = "pre.png", "post.png"
MODE = (  # of latents of the pre image, which are drawn otherwise
    "from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution",
    "DiagonalGaussianDistribution.sample = lambda latents, generator=None: latents.mode()  # as in training",
)


@dataclass(frozen=True)
class Use:
    """What the code names."""

    checkpoint: Checkpoint
    base: str  # where others find it
    weights: str  # the folder, or its id on the hub
    prompt: str
    sampling: Sampling  # by a solver, see `solved`
    stock: Stock | None  # see `stock_of`

    @property
    def scheduler(self) -> str:
        """Of `SAMPLERS`."""
        assert self.sampling.scheduler
        return self.sampling.scheduler


def stock_of(checkpoint: Checkpoint, base: Base) -> Stock | None:
    """The pipelines of diffusers that give the image; None if none does."""
    stock = base.family.stock
    if stock is None or checkpoint.base_bits or checkpoint.sequence > 1 or checkpoint.text_chunks > 1:
        return None
    if checkpoint.trained not in ("controlnet", "lora", "controlnet+lora"):
        return None
    if CONTROLNET in PARTS[checkpoint.trained]:
        kind = base.family.controlnet_class(checkpoint.weights / CONTROLNET)
        if kind is not stock.controlnet or checkpoint.condition != stock.condition:
            return None
    absent = [name for part, names in stock.absent.items() if part not in base.text_encoders for name in names]
    return replace(stock, loading={**stock.loading, **dict.fromkeys(absent, "None")})


def code(use: Use) -> str:
    """As a fenced block: Python, or a command of pre2post where diffusers alone does not do."""
    if use.stock is None:
        shown = CONDITIONS[use.checkpoint.condition]
        mask = " --mask mask.png" if shown.with_mask or shown.with_hole else ""
        options = f"--steps {use.sampling.steps} --guidance-scale {use.sampling.guidance_scale:g}"
        options += f" --scheduler {use.scheduler}"
        return (
            f"```\npre2post generate --checkpoint {use.weights} --base {use.base} --pre {PRE}{mask} "
            f"--prompt {use.prompt!r} {options} --out images\n```"
        )
    return f"```python\n{_python(use, use.stock)}\n```"


def _python(use: Use, stock: Stock) -> str:
    sampler, trained = stock_sampler(use.scheduler).__name__, use.checkpoint.trained
    control, kind = "controlnet" in trained, stock.controlnet.__name__
    pipeline = (stock.controlled if control else stock.alone).__name__
    names = sorted([sampler, pipeline, *[kind] * control])
    lines = ["import torch", f"from diffusers import {', '.join(names)}"]
    lines += MODE[:1] * (control and stock.condition == "latents")
    lines += ["from diffusers.utils import load_image"] * control
    lines += ["from PIL import Image"] * (control and _resized(use.checkpoint))
    lines += ["", f"base, weights = {use.base!r}, {use.weights!r}"]
    lines += [f'controlnet = {kind}.from_pretrained(weights, subfolder="controlnet")'] * control
    parts = {"controlnet": "controlnet"} if control else {}
    lines += [
        f"pipeline = {pipeline}.from_pretrained(",
        f"    base, {''.join(f'{name}={value}, ' for name, value in {**parts, **stock.loading}.items())}".rstrip(),
        f'    scheduler={sampler}.from_pretrained(weights, subfolder="scheduler"),',
        ")",
    ]
    name = 'weight_name="pytorch_lora_weights.safetensors"'
    lines += [f'pipeline.load_lora_weights(weights, subfolder="lora", {name})'] * ("lora" in trained)
    lines += MODE[1:] * (control and stock.condition == "latents")
    lines += _read(use.checkpoint) if control else []
    lines += ["image = pipeline(", f"    {use.prompt!r},", *_arguments(use, stock, control), ").images[0]"]
    return "\n".join([*lines, f'image.save("{POST}")'])


def _arguments(use: Use, stock: Stock, control: bool) -> list[str]:
    checkpoint, sampling = use.checkpoint, use.sampling
    given = {stock.image: "pre"} if control else {}
    given |= {"height": str(checkpoint.resolution), "width": str(checkpoint.resolution)}
    if stock.delivered and _resized(checkpoint):
        given[stock.delivered] = f"({checkpoint.patch_px}, {checkpoint.patch_px})"
    if control and sampling.control_scale != 1:
        given["controlnet_conditioning_scale"] = str(float(sampling.control_scale))
    if "lora" in checkpoint.trained and sampling.control_scale != 1:
        given[stock.lora_scale] = f'{{"scale": {float(sampling.control_scale)}}}'
    if control and (sampling.control_start, sampling.control_end) != (0, 1):
        given |= {"control_guidance_start": str(float(sampling.control_start))}
        given |= {"control_guidance_end": str(float(sampling.control_end))}
    given |= {"num_inference_steps": str(sampling.steps), "guidance_scale": str(float(sampling.guidance_scale))}
    given |= {**stock.calling, "generator": "torch.Generator().manual_seed(0)"}
    return [f"    {name}={value}," for name, value in given.items()]


def _resized(checkpoint: Checkpoint) -> bool:
    return checkpoint.patch_px not in (None, checkpoint.resolution)


def _read(checkpoint: Checkpoint) -> list[str]:
    """The pre image at the scale of the training."""
    side, patch = checkpoint.resolution, checkpoint.patch_px or checkpoint.resolution
    lines = [f'pre = load_image("{PRE}")  # {patch} x {patch} px at the ground size of the training patches']
    if patch != side:
        kind = "BOX" if patch > side and patch % side == 0 else "LANCZOS"
        lines += [f"pre = pre.resize(({side}, {side}), Image.Resampling.{kind})"]
    return lines

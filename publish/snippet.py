"""How to use a published folder: code for stock diffusers that gives the image of `pre2post generate`."""

from dataclasses import dataclass

from diffusers import ControlNetModel

from generate.checkpoint import PARTS, Checkpoint
from generate.sampling import Sampling
from models.base import Base
from models.diffusionsat.kind import controlnet_class
from models.samplers import SAMPLERS
from models.trained import CONTROLNET

PRE, POST = "pre.png", "post.png"


@dataclass(frozen=True)
class Use:
    """What the code names."""

    checkpoint: Checkpoint
    base: str  # where others find it
    weights: str  # the folder, or its id on the hub
    prompt: str
    sampling: Sampling
    stock: bool  # see `is_stock`


def is_stock(checkpoint: Checkpoint, base: Base) -> bool:
    """Whether lines of diffusers give the image: no latents, masks or metadata, one chunk, a family with a snippet."""
    stock = base.family.snippet
    if CONTROLNET in PARTS[checkpoint.trained]:
        stock &= controlnet_class(checkpoint.weights / CONTROLNET) is ControlNetModel
    usual = checkpoint.trained in ("controlnet", "lora", "controlnet+lora") and checkpoint.condition == "pixels"
    return stock and usual and checkpoint.sequence == 1 and checkpoint.text_chunks == 1


def code(use: Use) -> str:
    """As a fenced block: Python, or a command of pre2post where diffusers alone does not do."""
    if not use.stock:
        mask = " --mask mask.png" * (use.checkpoint.condition in ("pixels+mask", "hole"))
        options = f"--steps {use.sampling.steps} --guidance-scale {use.sampling.guidance_scale:g}"
        options += f" --scheduler {use.sampling.scheduler}"
        return (
            f"```\npre2post generate --checkpoint {use.weights} --base {use.base} --pre {PRE}{mask} "
            f"--prompt {use.prompt!r} {options} --out images\n```"
        )
    return f"```python\n{_python(use)}\n```"


def _python(use: Use) -> str:
    sampler, trained = SAMPLERS[use.sampling.scheduler][0].__name__, use.checkpoint.trained
    control, resized = "controlnet" in trained, use.checkpoint.patch_px not in (None, use.checkpoint.resolution)
    pipeline = "StableDiffusionControlNetPipeline" if control else "StableDiffusionPipeline"
    names = sorted([sampler, pipeline, *["ControlNetModel"] * control])
    lines = ["import torch", f"from diffusers import {', '.join(names)}"]
    lines += ["from diffusers.utils import load_image"] * control + ["from PIL import Image"] * (control and resized)
    lines += ["", f"base, weights = {use.base!r}, {use.weights!r}"]
    lines += ['controlnet = ControlNetModel.from_pretrained(weights, subfolder="controlnet")'] * control
    lines += [
        f"pipeline = {pipeline}.from_pretrained(",
        f"    base, {'controlnet=controlnet, ' * control}safety_checker=None,",
        f'    scheduler={sampler}.from_pretrained(weights, subfolder="scheduler"),',
        ")",
    ]
    name = 'weight_name="pytorch_lora_weights.safetensors"'
    lines += [f'pipeline.load_lora_weights(weights, subfolder="lora", {name})'] * ("lora" in trained)
    lines += _read(use.checkpoint) if control else []
    lines += ["image = pipeline(", f"    {use.prompt!r},", *_arguments(use, control), ").images[0]"]
    return "\n".join([*lines, f'image.save("{POST}")'])


def _arguments(use: Use, control: bool) -> list[str]:
    side, sampling = use.checkpoint.resolution, use.sampling
    given = {"image": "pre"} if control else {"height": str(side), "width": str(side)}
    if control and sampling.control_scale != 1:
        given["controlnet_conditioning_scale"] = str(float(sampling.control_scale))
    if "lora" in use.checkpoint.trained and sampling.control_scale != 1:
        given["cross_attention_kwargs"] = f'{{"scale": {float(sampling.control_scale)}}}'
    if control and (sampling.control_start, sampling.control_end) != (0, 1):
        given |= {"control_guidance_start": str(float(sampling.control_start))}
        given |= {"control_guidance_end": str(float(sampling.control_end))}
    given |= {"num_inference_steps": str(sampling.steps), "guidance_scale": str(float(sampling.guidance_scale))}
    given |= {"generator": "torch.Generator().manual_seed(0)"}
    return [f"    {name}={value}," for name, value in given.items()]


def _read(checkpoint: Checkpoint) -> list[str]:
    """The pre image at the scale of the training."""
    side, patch = checkpoint.resolution, checkpoint.patch_px or checkpoint.resolution
    lines = [f'pre = load_image("{PRE}")  # {patch} x {patch} px at the ground size of the training patches']
    if patch != side:
        kind = "BOX" if patch > side and patch % side == 0 else "LANCZOS"
        lines += [f"pre = pre.resize(({side}, {side}), Image.Resampling.{kind})"]
    return lines

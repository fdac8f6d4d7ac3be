"""One experiment: every setting that can differ between two runs, with its unit, its default and its meaning."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from data.storage import write_text


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What the network sees."""

    dataset: Path
    """Folder that `pre2post build` wrote."""
    split: str = "train"
    """Split of the dataset to train on."""
    leave_out: list[str] = field(default_factory=list)
    """Events that are not trained on, nor looked at in validation, with those known to share their ground."""
    resolution: int | None = None
    """Side that patches are shown at, px, a multiple of 8; null = as the dataset was built."""
    direction: Literal["future", "past", "both"] = "future"
    """future: pre -> post; past: post -> pre; both: every view in both directions, told apart by its caption."""
    caption_styles: dict[str, float] = field(default_factory=lambda: {"short": 1.0})
    """Styles of the captions (see `pre2post inspect`) and how often each is drawn, relative to the others."""
    caption_dropout: float = 0.1
    """Share of examples with an empty caption, 0..1; classifier-free guidance needs some."""
    text_chunks: int = 1
    """Longest caption in pieces of 77 tokens, encoded one by one; 1 as the base, 4 for the styles `long`, `chunks`."""
    mirror: bool = True
    """Also show every patch mirrored left to right."""
    sequence: int = 1
    """Images of before the event that a 3D ControlNet is shown: pre and the newest of the patch's history."""
    metadata_dropout: float = 0.1
    """Share of the metadata's numbers that become unknown, each by itself, 0..1; see model.metadata."""
    metadata_dropout_all: float = 0.1
    """Share of images of which all metadata become unknown at once, 0..1; guidance by metadata needs some."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What is trained, and on what."""

    base: str = "tiny"
    """Frozen Stable Diffusion 1.x/2.x: a diffusers folder, a hub id, or `tiny`."""
    trained: Literal["controlnet", "lora", "controlnet+lora", "lora+concat"] = "controlnet"
    """ControlNet beside the UNet; LoRA in it (alone it sees no pre image); both; LoRA with pre latents as input."""
    condition: Literal["pixels", "latents", "pixels+mask"] = "pixels"
    """What a ControlNet is shown: pre image; its VAE latents; pre image and target damage mask, one channel a class."""
    controlnet: Literal["2d", "3d", "3d+attention"] = "2d"
    """3d: DiffusionSat's for a sequence of images (data.sequence, from 1 on); with temporal attention or without."""
    metadata: Literal["base", "control", "none"] = "base"
    """Which networks are told metadata. base: on a DiffusionSat base the UNet (those of the image to make) and the
    ControlNet (also those of the one it is shown), on any other none; control: the ControlNet on any base."""
    null_metadata: Literal["learned", "zero"] = "learned"
    """What an unknown number is to a ControlNet: a trained vector of its own, or the number 0 as in DiffusionSat."""
    lora_rank: int = 16
    """Rank of the LoRA updates."""
    lora_alpha: int = 16
    """LoRA updates are scaled by alpha / rank."""
    lora_targets: list[str] = field(default_factory=lambda: ["to_q", "to_k", "to_v", "to_out.0"])
    """Layers with LoRA: ends of their names in the UNet."""
    attention: Literal["sdpa", "xformers"] = "sdpa"
    """sdpa: PyTorch's own; xformers: needs that extra."""
    gradient_checkpointing: bool = False
    """Recompute activations of the ControlNet: slower, less memory."""
    base_checkpointing: bool = False
    """Recompute activations of the frozen UNet, whose upper half passes gradients on: slower, less memory."""
    channels_last: bool = False
    """Keep images with their channels innermost: often quicker on GPUs with tensor cores."""
    compile: bool = False
    """Compile UNet and ControlNet by torch.compile: minutes at the start, quicker steps."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The loss. Noise and targets follow the base's own prediction type."""

    min_snr_gamma: float = 0.0
    """Weigh timesteps by min-SNR-gamma (Hang et al. 2023 use 5); 0 = all the same."""
    noise_offset: float = 0.0
    """Standard deviation of noise that is constant over each channel, e.g. 0.05: lets overall brightness be learned."""
    input_perturbation: float = 0.0
    """Extra noise on the network's input only, relative to the noise; 0.1 in Ning et al. 2023; 0 = none."""
    zero_terminal_snr: bool = False
    """Rescale the base's noise schedule to end in pure noise (Lin et al. 2024); not with a base that predicts noise."""
    damage_weights: dict[str, float] = field(default_factory=dict)
    """Class -> how often its error counts: background, no-damage, minor-damage, major-damage, destroyed. Unnamed
    classes count once, un-classified ground and no-data never; {} = all ground counts the same."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """A later stage of the curriculum: what it does not name stays as it was."""

    from_step: int
    """First optimizer step of the stage, from 0."""
    dataset: Path | None = None
    """Folder that `pre2post build` wrote."""
    resolution: int | None = None
    """Side that patches are shown at, px, a multiple of 8."""
    global_batch: int | None = None
    """Examples per optimizer step."""
    micro_batch: int | None = None
    """Examples per forward pass of one process."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The optimisation."""

    steps: int = 10_000
    """Optimizer steps in all."""
    global_batch: int = 32
    """Examples per optimizer step, over all processes and micro-batches."""
    micro_batch: int = 4
    """Examples per forward pass of one process; lower it when memory runs out, results stay the same."""
    curriculum: list[StageConfig] = field(default_factory=list)
    """Later stages, in order: e.g. 512 px patches first, 256 px ones from a step on."""
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """adamw8bit keeps the moments in 8 bits: a quarter of their memory; needs the extra `bitsandbytes`."""
    learning_rate: float = 1e-5
    """Peak, per optimizer step; not scaled by anything."""
    warmup_steps: int = 500
    """Linear ramp from 0, optimizer steps."""
    decay_steps: int = 0
    """Optimizer steps at the end over which the learning rate falls to 0 along a cosine; 0 = constant."""
    weight_decay: float = 0.01
    """AdamW."""
    max_grad_norm: float = 1.0
    """Gradient clipping."""
    ema_decay: float = 0.0
    """Decay of the averaged weights per step, 0..1; 0 = no average is kept."""
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    """bf16, fp16: the frozen base is kept in it and the trained weights, which stay float32, are autocast to it.
    fp16 is for GPUs without bfloat16; its losses are scaled."""
    seed: int = 0
    """Of the examples and the fresh weights."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """What is measured on held-out patches while training; nothing here changes the result."""

    every: int = 0
    """Optimizer steps between validations; the last step is always validated; 0 = none at all."""
    split: str = "validation"
    """Split of the dataset to measure on."""
    examples: int = 32
    """Patches, evenly spread over the split, whose loss is measured with and without control."""
    timesteps: int = 4
    """Bins of equal width over the noise schedule; the loss is measured in the middle of each."""
    images: int = 4
    """Of these patches, how many images are generated for."""
    sampling_steps: int = 20
    """Denoising steps of the DDIM sampler for an image."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where it runs and what it leaves behind; nothing here changes the result."""

    out: Path
    """Run folder: config.yaml, metrics.jsonl, checkpoints/, tracker files."""
    resume: str = "latest"
    """`latest` goes on from the newest valid checkpoint in `out`, if any; a checkpoint folder starts an empty `out`, in
    which newer ones then go on; or `never`."""
    go_back: bool = False
    """Begin again at the checkpoint that `resume` names, though `out` has newer ones; these are kept, set aside."""
    resume_allow: list[str] = field(default_factory=list)
    """Settings that may differ from the checkpoint's though they change the experiment, e.g. [train.learning_rate]."""
    log_every: int = 20
    """Optimizer steps between lines of metrics.jsonl."""
    save_every: int = 1_000
    """Optimizer steps between checkpoints; the last step is always saved."""
    keep_last: int = 2
    """Checkpoints kept; older ones are deleted after a newer one is whole; 0 = all."""
    keep_every: int = 0
    """Checkpoints whose step is a multiple of this are kept for good; 0 = none. The best by validation always stays."""
    cache: Path = Path("cache")
    """Folder for VAE latents and text states; shared by all runs, safe to delete."""
    cache_in: Literal["disk", "memory", "off"] = "disk"
    """disk: computed once and kept in `cache`; memory: anew at every start, by each process; off: in every step, with
    VAE and text encoder in memory."""
    workers: int = 4
    """Data worker processes per training process."""
    peer_timeout: int = 1800
    """Seconds without a word from another process until it counts as lost; longer than saving or encoding 64 images
    takes. A process whose connections are closed is noticed at once."""
    trackers: list[Literal["tensorboard", "wandb"]] = field(default_factory=lambda: ["tensorboard"])
    """Where metrics also go."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """An experiment."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    train: TrainConfig = TrainConfig()
    validation: ValidationConfig = ValidationConfig()
    run: RunConfig


def as_plain(config: object) -> dict[str, Any]:
    """The whole resolved config as YAML-ready values."""
    plain: dict[str, Any] = _plain(config)
    return plain


def save_config(config: object, path: Path) -> None:
    """Write it so that `--config` reads it again."""
    write_text(path, yaml.safe_dump(as_plain(config), sort_keys=False))


def changed_settings(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted names of the settings whose values differ, with both values."""
    names = sorted({(group, name) for plain in (old, new) for group in plain for name in plain[group]})
    pairs = {f"{group}.{name}": (old.get(group, {}).get(name), new.get(group, {}).get(name)) for group, name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _plain(value: Any) -> Any:  # noqa: ANN401 (any of the dataclasses above, or what is in their fields)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value

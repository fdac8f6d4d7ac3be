"""One experiment: every setting that can differ between runs, with its unit, default and meaning."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from data.storage import write_text


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The training examples."""

    dataset: Path
    """Folder written by `pre2post build`."""
    split: str = "train"
    """Split of the dataset to train on."""
    leave_out: list[str] = field(default_factory=list)
    """Events excluded from training and validation, together with those known to cover the same ground."""
    resolution: int | None = None
    """Side that patches are resized to, px, a multiple of 8; null = as the dataset was built."""
    direction: Literal["future", "past", "both"] = "future"
    """future: pre -> post; past: post -> pre; both: every view in both directions, distinguished by its caption."""
    caption_styles: dict[str, float] = field(default_factory=lambda: {"short": 1.0})
    """Styles of the captions (see `pre2post inspect`) and their relative sampling weights."""
    caption_dropout: float = 0.1
    """Share of examples with an empty caption, 0..1; needed for classifier-free guidance."""
    text_chunks: int = 1
    """Longest caption in 77-token chunks, encoded separately; 1 as the base, 4 for the styles `long`, `chunks`."""
    mirror: bool = True
    """Also use every patch mirrored left to right."""
    sequence: int = 1
    """Pre-event images for a 3D ControlNet: pre and the newest of the patch's history."""
    metadata_dropout: float = 0.1
    """Share of metadata values made unknown, each independently, 0..1; see model.metadata."""
    metadata_dropout_all: float = 0.1
    """Share of images with all metadata made unknown, 0..1; needed for guidance by metadata."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What is trained, and on what."""

    base: str = "tiny"
    """Frozen base of a family in docs/families.md: a diffusers folder, a hub id, or `tiny`."""
    trained: Literal[
        "controlnet", "controlnet-lora", "t2i-adapter", "t2i-adapter-light", "lora", "controlnet+lora", "lora+concat"
    ] = "controlnet"
    """ControlNet beside the UNet; one with LoRA in its frozen copy of the encoder; T2I-Adapter, full or light; LoRA in
    the UNet (alone it sees no pre image); ControlNet and LoRA in the UNet; LoRA with pre latents as input."""
    condition: Literal[
        "pixels", "latents", "pixels+mask", "latents+mask", "mask", "coarse2", "coarse4", "coarse8", "hole"
    ] = "pixels"
    """Input of a ControlNet: pre image; its VAE latents; either with the target damage mask, one channel per class; the
    mask alone. To restore the target image itself: coarse8 shows it at an eighth of the resolution, hole without a
    part of it."""
    start: Path | None = None
    """Checkpoint whose weights the run starts from instead of new ones, with fresh moments at step 0: a run folder, a
    published one, or `tiny`. Other settings of `model` must be those of its training."""
    controlnet: Literal["2d", "3d", "3d+attention"] = "2d"
    """3d: DiffusionSat's for a sequence of images (data.sequence, 1 or more), with or without temporal attention."""
    controlnet_blocks: int | None = None
    """Blocks of a transformer that are copied into its ControlNet, the fewer the less memory; null = half of them."""
    metadata: Literal["base", "control", "none"] = "base"
    """Networks conditioned on metadata. base: on a DiffusionSat base the UNet (those of the target image) and the
    ControlNet (also those of its input), on any other base none; control: the ControlNet on any base."""
    null_metadata: Literal["learned", "zero"] = "learned"
    """How a ControlNet encodes an unknown value: by a learned vector, or as 0 as in DiffusionSat."""
    lora_rank: int = 16
    """Rank of the LoRA updates."""
    lora_alpha: int = 16
    """LoRA updates are scaled by alpha / rank."""
    lora_targets: list[str] = field(default_factory=lambda: ["to_q", "to_k", "to_v", "to_out.0"])
    """Layers with LoRA, as suffixes of their names in UNet or ControlNet."""
    base_bits: Literal[8, 4] | None = None
    """Bits that a weight takes in linear layers of the frozen base, for ControlNets and T2I-Adapters; null = those of
    train.precision. Saves memory on bases of transformers (docs/recipes.md); needs the extra `bitsandbytes`."""
    attention: Literal["sdpa", "xformers"] = "sdpa"
    """sdpa: PyTorch's own; xformers: needs the extra of that name."""
    gradient_checkpointing: bool = False
    """Recompute activations of the ControlNet: slower, less memory."""
    base_checkpointing: bool = False
    """Recompute activations of the frozen UNet, whose decoder passes gradients on: slower, less memory."""
    channels_last: bool = False
    """Channels-last memory format: often faster on GPUs with tensor cores."""
    compile: bool = False
    """Compile UNet and ControlNet with torch.compile: takes minutes at the start, speeds up steps."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The loss. Noise and targets follow the base's own prediction type."""

    min_snr_gamma: float = 0.0
    """Min-SNR-gamma weighting of timesteps (Hang et al. 2023 use 5); 0 = uniform."""
    noise_offset: float = 0.0
    """Standard deviation of offset noise, constant over each channel, e.g. 0.05; helps learn overall brightness."""
    input_perturbation: float = 0.0
    """Extra noise on the network's input only, relative to the noise; 0.1 in Ning et al. 2023; 0 = none."""
    zero_terminal_snr: bool = False
    """Rescale the base's noise schedule to zero terminal SNR (Lin et al. 2024); not for a base that predicts noise."""
    damage_weights: dict[str, float] = field(default_factory=dict)
    """Loss weight per class: background, no-damage, minor-damage, major-damage, destroyed. Unlisted
    classes weigh 1, un-classified and nodata pixels 0; {} = uniform."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """A later stage of the curriculum: settings it omits stay as in the previous stage."""

    from_step: int
    """First optimizer step of the stage, from 0."""
    dataset: Path | None = None
    """Folder written by `pre2post build`."""
    resolution: int | None = None
    """Side that patches are resized to, px, a multiple of 8."""
    global_batch: int | None = None
    """Examples per optimizer step."""
    micro_batch: int | None = None
    """Examples per forward pass of one process."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The optimisation."""

    steps: int = 10_000
    """Total optimizer steps."""
    global_batch: int = 32
    """Examples per optimizer step, over all processes and micro-batches."""
    micro_batch: int = 4
    """Examples per forward pass of one process; lower it when memory runs out, the result is the same."""
    curriculum: list[StageConfig] = field(default_factory=list)
    """Later stages, in order: e.g. 512 px patches first, 256 px ones from a step on."""
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """adamw8bit stores the moments in 8 bits, a quarter of the memory; needs the extra `bitsandbytes`."""
    learning_rate: float = 1e-5
    """Peak learning rate per optimizer step; not scaled by batch or processes."""
    warmup_steps: int = 500
    """Linear warm-up from 0, optimizer steps."""
    decay_steps: int = 0
    """Final optimizer steps over which the learning rate decays to 0 along a cosine; 0 = constant."""
    weight_decay: float = 0.01
    """AdamW."""
    max_grad_norm: float = 1.0
    """Maximum gradient norm (clipping)."""
    ema_decay: float = 0.0
    """Decay of the exponential moving average (EMA) of the weights per step, 0..1; 0 = no EMA."""
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    """bf16, fp16: the type of the frozen base, to which the trained weights, kept in float32, are autocast.
    fp16 is for GPUs without bfloat16; it uses loss scaling."""
    seed: int = 0
    """Seed of the examples and the initial weights."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Validation on held-out patches during training; nothing here changes the result."""

    every: int = 0
    """Optimizer steps between validations; the last step is always validated; 0 = no validation."""
    split: str = "validation"
    """Split of the dataset to validate on."""
    examples: int = 32
    """Patches, evenly spread over the split, whose loss is measured with and without ControlNet."""
    timesteps: int = 4
    """Bins of equal width over the noise schedule; the loss is measured at the centre of each."""
    images: int = 4
    """Number of these patches for which images are generated."""
    sampling_steps: int = 20
    """DDIM sampling steps per image."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where the run executes and what it writes; nothing here changes the result."""

    out: Path
    """Run folder: config.yaml, metrics.jsonl, checkpoints/, tracker files."""
    resume: str = "latest"
    """`latest` resumes from the newest valid checkpoint in `out`, if any; a checkpoint folder starts an empty `out`,
    which then resumes from its own newer ones; or `never`."""
    go_back: bool = False
    """Restart from the checkpoint named by `resume` although `out` has newer ones; these are kept, set aside."""
    resume_allow: list[str] = field(default_factory=list)
    """Settings that may differ from the checkpoint's, though they change the experiment, e.g. [train.learning_rate]."""
    log_every: int = 20
    """Optimizer steps between lines of metrics.jsonl."""
    save_every: int = 1_000
    """Optimizer steps between checkpoints; the last step is always saved."""
    keep_last: int = 2
    """Checkpoints kept; older ones are deleted once a newer one is complete; 0 = all."""
    keep_every: int = 0
    """Checkpoints whose step is a multiple of this are always kept, 0 = none; so is the best by validation."""
    cache: Path = Path("cache")
    """Folder for VAE latents and text encoder states; shared by all runs, safe to delete."""
    cache_in: Literal["disk", "memory", "off"] = "disk"
    """disk: computed once and kept in `cache`; memory: recomputed at every start by each process; off: in every step,
    with VAE and text encoder in memory."""
    workers: int = 4
    """Data worker processes per training process."""
    peer_timeout: int = 1800
    """Seconds without response until another process counts as lost; longer than saving or encoding 64 images
    takes. A process whose connections are closed is noticed at once."""
    trackers: list[Literal["tensorboard", "wandb"]] = field(default_factory=lambda: ["tensorboard"])
    """Additional destinations of metrics."""


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
    """The complete resolved config as YAML-ready values."""
    plain: dict[str, Any] = _plain(config)
    return plain


def save_config(config: object, path: Path) -> None:
    """Write it in the format that `--config` reads."""
    write_text(path, yaml.safe_dump(as_plain(config), sort_keys=False))


def changed_settings(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted names of the settings whose values differ, with both values."""
    names = sorted({(group, name) for plain in (old, new) for group in plain for name in plain[group]})
    pairs = {f"{group}.{name}": (old.get(group, {}).get(name), new.get(group, {}).get(name)) for group, name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _plain(value: Any) -> Any:  # noqa: ANN401 (any of the dataclasses above, or a value of a field)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value

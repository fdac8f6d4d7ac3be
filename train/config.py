"""One experiment: every setting that can differ between two runs, with its unit, its default and its meaning."""

import dataclasses
import re
import sys
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it and the mend."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What the network sees."""

    dataset: Path
    """Folder that `pre2post build` wrote."""
    split: str = "train"
    """Split of the dataset to train on."""
    resolution: int | None = None
    """Side that patches are shown at, px, a multiple of 8; null = as the dataset was built."""
    caption_style: str = "short"
    """Style of the captions, see `pre2post inspect`."""
    caption_dropout: float = 0.1
    """Share of examples with an empty caption, 0..1; classifier-free guidance needs some."""
    mirror: bool = True
    """Also show every patch mirrored left to right."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What is trained, and on what."""

    base: str = "tiny"
    """Frozen Stable Diffusion 1.x/2.x: a diffusers folder, a hub id, or `tiny`."""
    gradient_checkpointing: bool = False
    """Recompute activations of the ControlNet: about a third slower, much less memory."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The optimisation."""

    steps: int = 10_000
    """Optimizer steps in all."""
    global_batch: int = 32
    """Examples per optimizer step, over all processes and micro-batches."""
    micro_batch: int = 4
    """Examples per forward pass of one process; lower it when memory runs out, results stay the same."""
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
    precision: Literal["fp32", "bf16"] = "bf16"
    """bf16 keeps the frozen base in bfloat16 and autocasts the trained weights, which stay float32."""
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
    """`latest` goes on from the newest valid checkpoint in `out`, if any; or a checkpoint folder; or `never`."""
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
    workers: int = 4
    """Data worker processes per training process."""
    trackers: list[Literal["tensorboard", "wandb"]] = field(default_factory=lambda: ["tensorboard"])
    """Where metrics also go."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """An experiment."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    validation: ValidationConfig = ValidationConfig()
    run: RunConfig


def parse_config(argv: list[str] | None = None) -> Config:
    """Read `--config FILE.yaml` and dotted overrides.

    Raises:
        ConfigError: an unknown key (the nearest one is named), a value of the wrong type, settings that do not fit.
    """
    parser = ArgumentParser(
        prog="python -m train",
        description="Train a ControlNet that turns pre-event patches into post-event ones. "
        "Run the same command again to resume. Many GPUs: accelerate launch -m train --config FILE.",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the settings below")
    parser.add_class_arguments(Config, as_group=False)
    argv = sys.argv[1:] if argv is None else argv
    try:
        parsed = parser.instantiate(parser.parse_args(argv))
    except Exception as error:  # jsonargparse raises its own and YAML's errors; all are the user's to mend
        raise ConfigError(f"{error}{_suggestion(str(error))}") from error
    config = Config(**{key: value for key, value in vars(parsed).items() if key != "config"})
    check_config(config)
    return config


def check_config(config: Config) -> None:
    """Cross-field checks, before any weight is loaded.

    Raises:
        ConfigError: naming every setting that does not fit.
    """
    data, train, validation, run = config.data, config.train, config.validation, config.run
    rules = [
        (
            data.resolution is None or data.resolution % 8 == 0,
            f"data.resolution is {data.resolution}; the VAE needs a multiple of 8.",
        ),
        (0 <= data.caption_dropout <= 1, f"data.caption_dropout is {data.caption_dropout}; it is a share, 0..1."),
        (0 <= train.ema_decay < 1, f"train.ema_decay is {train.ema_decay}; expected 0 (off) or e.g. 0.9999."),
        (train.seed >= 0, f"train.seed is {train.seed}; it must not be negative."),
        (train.learning_rate > 0, f"train.learning_rate is {train.learning_rate}; it must be positive."),
        (
            train.warmup_steps + train.decay_steps <= train.steps,
            f"train.warmup_steps {train.warmup_steps} and train.decay_steps {train.decay_steps} do not fit into "
            f"train.steps {train.steps}. Lower one of them.",
        ),
        (run.workers >= 0, f"run.workers is {run.workers}; 0 loads in the training process itself."),
        (run.keep_last >= 0, f"run.keep_last is {run.keep_last}; 0 keeps all checkpoints."),
        (run.keep_every >= 0, f"run.keep_every is {run.keep_every}; 0 keeps none for good."),
        (validation.every >= 0, f"validation.every is {validation.every}; 0 switches validation off."),
        (
            0 <= validation.images <= validation.examples,
            f"validation.images is {validation.images}; expected 0 to validation.examples, {validation.examples}.",
        ),
        *(
            (name in setting_names(), f"run.resume_allow names {name}; there is no such setting.{_nearest(name)}")
            for name in run.resume_allow
        ),
    ]
    positive = {
        "train": ("steps", "global_batch", "micro_batch"),
        "validation": ("examples", "timesteps", "sampling_steps"),
        "run": ("log_every", "save_every"),
    }
    for group, names in positive.items():
        for name in names:
            value = getattr(getattr(config, group), name)
            rules.append((value >= 1, f"{group}.{name} is {value}; it must be at least 1."))
    if problems := [message for holds, message in rules if not holds]:
        raise ConfigError("\n".join(problems))


def check_batches(train: TrainConfig, num_processes: int) -> None:
    """Whether the global batch splits evenly over processes and micro-batches.

    Raises:
        ConfigError: it does not; names the nearest batch that does.
    """
    unit = num_processes * train.micro_batch
    if train.global_batch % unit:
        raise ConfigError(
            f"train.global_batch is {train.global_batch}; it must be a multiple of {num_processes} process(es) x "
            f"train.micro_batch {train.micro_batch}. The nearest is {max(1, round(train.global_batch / unit)) * unit}."
        )


def as_plain(config: Config) -> dict[str, Any]:
    """The whole resolved config as YAML-ready values."""
    return {group.name: _plain(getattr(config, group.name)) for group in dataclasses.fields(config)}


def save_config(config: Config, path: Path) -> None:
    """Write it so that `--config` reads it again."""
    path.write_text(yaml.safe_dump(as_plain(config), sort_keys=False))


def changed_settings(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted names of the settings whose values differ, with both values."""
    names = sorted({(group, name) for plain in (old, new) for group in plain for name in plain[group]})
    pairs = {f"{group}.{name}": (old.get(group, {}).get(name), new.get(group, {}).get(name)) for group, name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _plain(group: Any) -> dict[str, Any]:  # noqa: ANN401 (any of the dataclasses above)
    values = dataclasses.asdict(group)
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def setting_names() -> list[str]:
    """Dotted names of all settings."""
    return [
        f"{group.name}.{setting.name}"
        for group in dataclasses.fields(Config)
        for setting in dataclasses.fields(group.type)  # type: ignore[arg-type]
    ]


def _suggestion(message: str) -> str:
    """The setting nearest to a word of the message that is none."""
    for word in re.findall(r"[\w.]+", message):
        if nearest := _nearest(word):
            return nearest
    return ""


def _nearest(word: str) -> str:
    full_name = {name.partition(".")[2]: name for name in setting_names()} | {name: name for name in setting_names()}
    close = [] if word in full_name else get_close_matches(word, full_name, n=1, cutoff=0.8)
    return f"\nDid you mean {full_name[close[0]]}?" if close else ""

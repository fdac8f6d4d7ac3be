"""All checks of a config, made before any weights are loaded and reported together."""

import dataclasses
import importlib.util
import math
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from data.examples.condition import CONDITIONS
from train.config import Config, TrainConfig
from train.errors import ConfigError

DAMAGE_CLASSES = ("background", "no-damage", "minor-damage", "major-damage", "destroyed")  # mask values 0 to 4
# Value of a setting -> package that it needs
EXTRAS = {"adamw8bit": "bitsandbytes", 8: "bitsandbytes", 4: "bitsandbytes", "xformers": "xformers"}


def check_config(config: Config) -> None:
    """Check values and their combinations.

    Raises:
        ConfigError: naming every invalid setting.
    """
    if problems := problems_of(config):
        raise ConfigError("\n".join(problems))


def problems_of(config: Config) -> list[str]:
    """A message for every invalid setting."""
    kinds = (_number_rules, _data_rules, _model_rules, _train_rules, _run_rules)
    return [message for kind in kinds for holds, message in kind(config) if not holds]


def check_batches(train: TrainConfig, num_processes: int) -> None:
    """Check that every global batch divides evenly among processes and micro-batches.

    Raises:
        ConfigError: one does not; names the nearest one that does.
    """
    batches = {"global_batch": (train.global_batch, "train.global_batch"), "micro_batch": (train.micro_batch, "")}
    for number, stage in enumerate([None, *train.curriculum]):
        for name in batches if stage else ():
            if value := getattr(stage, name):
                batches[name] = value, f"{name} of train.curriculum[{number - 1}]"
        (global_batch, setting), (micro_batch, _) = batches.values()
        unit = num_processes * micro_batch
        if global_batch % unit:
            raise ConfigError(
                f"{setting} is {global_batch}; it must be a multiple of {num_processes} process(es) x "
                f"micro_batch {micro_batch}. The nearest is {max(1, round(global_batch / unit)) * unit}."
            )


def is_installed(package: str) -> bool:
    """Whether an extra can be imported."""
    return importlib.util.find_spec(package) is not None


Rules = Iterator[tuple[bool, str]]  # condition that must hold, and the message if it does not


def _data_rules(config: Config) -> Rules:
    data = config.data
    yield (
        data.resolution is None or (data.resolution > 0 and data.resolution % 8 == 0),
        f"data.resolution is {data.resolution}; the VAE needs a multiple of 8.",
    )
    yield 0 <= data.caption_dropout <= 1, f"data.caption_dropout is {data.caption_dropout}; expected a share, 0..1."
    for name in ("metadata_dropout", "metadata_dropout_all"):
        yield 0 <= getattr(data, name) <= 1, f"data.{name} is {getattr(data, name)}; expected a share, 0..1."
    yield from _sequence_rules(config)
    yield data.text_chunks >= 1, f"data.text_chunks is {data.text_chunks}; it must be at least 1."
    yield bool(data.caption_styles), "data.caption_styles is empty; name at least one style, e.g. {short: 1}."
    for style, weight in data.caption_styles.items():
        yield weight > 0, f"data.caption_styles.{style} is {weight}; a weight must be positive: omit the style."


def _sequence_rules(config: Config) -> Rules:
    data, model = config.data, config.model
    yield data.sequence >= 1, f"data.sequence is {data.sequence}; it includes the pre image, so at least 1."
    if model.controlnet == "2d":
        yield (
            data.sequence <= 1,
            f"data.sequence is {data.sequence}, which needs model.controlnet 3d, not 2d.",
        )
        return
    setting = f"model.controlnet is {model.controlnet}, but"
    yield (
        "controlnet" in model.trained,
        f"{setting} model.trained is {model.trained}: there is no ControlNet. Omit it.",
    )
    yield model.condition == "pixels", f"{setting} model.condition is {model.condition}; a 3D ControlNet needs pixels."
    yield (
        data.sequence <= 1 or data.direction == "future",
        f"data.sequence is {data.sequence} and data.direction {data.direction}; only pre has a history: set future.",
    )


def _model_rules(config: Config) -> Rules:
    model, objective = config.model, config.objective
    adapter = model.trained.startswith("t2i-adapter")
    yield (
        not adapter or not CONDITIONS[model.condition].latents,
        f"model.condition is {model.condition}, but model.trained is {model.trained}; a T2I-Adapter reads pixels or "
        "pixels+mask.",
    )
    yield (
        model.trained != "controlnet-lora" or model.controlnet == "2d",
        f"model.controlnet is {model.controlnet}, but model.trained is controlnet-lora, which is of 2d only.",
    )
    if "controlnet" not in model.trained:
        without = f"but model.trained is {model.trained}: there is no ControlNet"
        yield (
            model.condition == "pixels" or adapter,
            f"model.condition is {model.condition}, {without} to condition. Omit it.",
        )
        yield (
            not model.gradient_checkpointing,
            f"model.gradient_checkpointing is true, {without}. Use base_checkpointing.",
        )
        yield model.metadata != "control", f"model.metadata is control, {without} to condition. Omit it."
    yield (
        not (CONDITIONS[model.condition].restores and objective.damage_weights),
        f"objective.damage_weights is set, but model.condition {model.condition} restores all alike. Omit it.",
    )
    yield model.lora_rank >= 1, f"model.lora_rank is {model.lora_rank}; it must be at least 1."
    yield model.lora_alpha > 0, f"model.lora_alpha is {model.lora_alpha}; it must be positive."
    yield bool(model.lora_targets), "model.lora_targets is empty; the default is [to_q, to_k, to_v, to_out.0]."
    if bits := model.base_bits:
        setting = f"model.base_bits is {bits}, but"
        yield (
            "lora" not in model.trained.split("+"),
            f"{setting} model.trained is {model.trained}: LoRA in the base itself was not tried so. Omit it.",
        )
        yield not model.compile, f"{setting} model.compile is true, which was not tried together. Omit one of them."
    for setting, value in (
        ("model.attention", model.attention),
        ("train.optimizer", config.train.optimizer),
        ("model.base_bits", model.base_bits),
    ):
        package = EXTRAS.get(value or "")
        yield (
            package is None or is_installed(package),
            f"{setting} is {value}, but the package {package} is not installed: pip install -e '.[{package}]'",
        )
    for name in ("min_snr_gamma", "noise_offset", "input_perturbation"):
        yield getattr(objective, name) >= 0, f"objective.{name} is {getattr(objective, name)}; 0 disables it."
    for name, weight in objective.damage_weights.items():
        known = name in DAMAGE_CLASSES
        yield known, f"objective.damage_weights.{name}: no such class.{nearest(name, DAMAGE_CLASSES)}"
        yield weight >= 0, f"objective.damage_weights.{name} is {weight}; it must not be negative."


def _train_rules(config: Config) -> Rules:
    train = config.train
    for name in ("steps", "global_batch", "micro_batch"):
        yield getattr(train, name) >= 1, f"train.{name} is {getattr(train, name)}; it must be at least 1."
    yield 0 <= train.ema_decay < 1, f"train.ema_decay is {train.ema_decay}; expected 0 (off) or e.g. 0.9999."
    yield train.seed >= 0, f"train.seed is {train.seed}; it must not be negative."
    yield train.learning_rate > 0, f"train.learning_rate is {train.learning_rate}; it must be positive."
    yield train.max_grad_norm > 0, f"train.max_grad_norm is {train.max_grad_norm}; it must be positive."
    yield (
        train.warmup_steps + train.decay_steps <= train.steps,
        f"train.warmup_steps {train.warmup_steps} and train.decay_steps {train.decay_steps} exceed "
        f"train.steps {train.steps}. Lower one of them.",
    )
    before = 0
    for number, stage in enumerate(train.curriculum):
        name = f"train.curriculum[{number}]"
        yield (
            before < stage.from_step < train.steps,
            f"{name}.from_step is {stage.from_step}; it must be between {before} and train.steps {train.steps}.",
        )
        yield stage.resolution is None or stage.resolution % 8 == 0, f"{name}.resolution must be a multiple of 8."
        for field in ("global_batch", "micro_batch"):
            value = getattr(stage, field)
            yield value is None or value >= 1, f"{name}.{field} is {value}; it must be at least 1."
        before = stage.from_step


def _number_rules(config: Config) -> Rules:
    for group in ("data", "model", "objective", "train"):
        for name, value in vars(getattr(config, group)).items():
            for number in value.values() if isinstance(value, dict) else [value]:
                finite = not isinstance(number, float) or math.isfinite(number)
                yield finite, f"{group}.{name} is {value}; expected a finite number."


def _run_rules(config: Config) -> Rules:
    run, validation = config.run, config.validation
    yield (
        not run.go_back or run.resume not in ("latest", "never"),
        f"run.go_back is true, but run.resume is {run.resume}. Name the one to restart from: --run.resume FOLDER.",
    )
    for name in ("log_every", "save_every"):
        yield getattr(run, name) >= 1, f"run.{name} is {getattr(run, name)}; it must be at least 1."
    for name in ("examples", "timesteps", "sampling_steps"):
        value = getattr(validation, name)
        yield value >= 1, f"validation.{name} is {value}; it must be at least 1."
    yield validation.every >= 0, f"validation.every is {validation.every}; 0 disables validation."
    yield (
        0 <= validation.images <= validation.examples,
        f"validation.images is {validation.images}; expected 0 to validation.examples, {validation.examples}.",
    )
    yield run.keep_every >= 0, f"run.keep_every is {run.keep_every}; 0 keeps none permanently."
    names = [
        f"{group.name}.{setting.name}"
        for group in dataclasses.fields(config)
        for setting in dataclasses.fields(getattr(config, group.name))
    ]
    for name in run.resume_allow:
        yield name in names, f"run.resume_allow names {name}; there is no such setting.{nearest(name, names)}"
    yield run.peer_timeout >= 1, f"run.peer_timeout is {run.peer_timeout}; it must be at least 1 second."
    yield run.workers >= 0, f"run.workers is {run.workers}; 0 loads data in the training process."
    yield run.keep_last >= 0, f"run.keep_last is {run.keep_last}; 0 keeps all checkpoints."


def nearest(key: str, names: Iterator[str] | Sequence[str] | dict[str, Any]) -> str:
    """`Did you mean ...?`, if there is a similar name, by full name or by last part."""
    full = {name.rpartition(".")[2]: name for name in names} | {name: name for name in names}
    for word in (key, key.rpartition(".")[2]):
        if close := get_close_matches(word, full, n=1, cutoff=0.75):
            return f" Did you mean {full[close[0]]}?"
    return ""

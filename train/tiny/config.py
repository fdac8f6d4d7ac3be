"""Every setting that determines the tiny base: data, sizes, both stages of its training."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from train.config_file import parse_as
from train.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ReleaseConfig:
    """One simulated release."""

    seed: int
    """Seed of the simulation."""
    scenes: int
    """Locations of 1024 px; every fifth is held out."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The training data: pre and post images, individually."""

    seed: int = 0
    """Seed of the initial weights and of all random draws."""
    folder: Path
    """Where releases are simulated, built and decoded; existing ones are reused."""
    releases: list[ReleaseConfig]
    """Releases to simulate, e.g. [{seed: 101, scenes: 240}]."""
    patch: int = 256
    """Side of a patch of a scene, px."""
    resolution: int = 128
    """Side that patches are resized to, px: the side of the base's images."""
    caption_styles: dict[str, float] = field(default_factory=lambda: {"diffusionsat": 1, "short": 2, "placed": 2})
    """Caption styles and their relative sampling weights. Of `chunks`, one line is drawn."""
    caption_dropout: float = 0.1
    """Share of images with an empty caption, 0..1; needed for classifier-free guidance."""


@dataclass(frozen=True, kw_only=True)
class NetworksConfig:
    """How large the networks are."""

    start: Path | None = None
    """A base to go on from, of the sizes below: its autoencoder, and UNet, text encoder and tokenizer if the folder has
    them, are trained further; with autoencoder.steps 0 the autoencoder stays as it is."""
    vae_channels: list[int] = field(default_factory=lambda: [32, 64, 96, 128])
    """Channels of every level of the autoencoder, multiples of 8; each level after the first halves the side."""
    vae_layers: int = 1
    """Residual blocks per level of the encoder."""
    latent_channels: int = 16
    """Latent channels that are trained; those that carry less than a bit a cell are removed at the end."""
    unet_channels: list[int] = field(default_factory=lambda: [64, 128, 256])
    """Channels of every level of the UNet, multiples of 16; all but the last have cross-attention to the text."""
    unet_layers: int = 1
    """Residual blocks per level of the UNet's encoder."""
    text_width: int = 128
    """Width of the text encoder, a multiple of 4."""
    text_layers: int = 4
    """Transformer layers of the text encoder."""
    vocabulary: int = 2048
    """Maximum number of tokens; 514 of them are letters."""
    discriminator_width: int = 32
    """Channels of the first layer of the patch discriminator, a multiple of 8. It is not shipped."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Optimisation of a stage, with AdamW."""

    steps: int
    """Total optimizer steps; 0 = this stage is skipped."""
    batch: int
    """Examples per step."""
    learning_rate: float = 1e-3
    """Peak."""
    warmup_steps: int = 200
    """Linear warm-up from 0."""
    decay_steps: int = 0
    """Final steps, over which the learning rate decays to 0 along a cosine."""
    ema_decay: float = 0.999
    """Decay of the EMA of the weights per step, 0..1; the EMA is what is validated and shipped."""
    weight_decay: float = 0.01
    """AdamW."""
    max_grad_norm: float = 1.0
    """Maximum gradient norm (clipping)."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Autocast type of matrix products; weights stay float32. CPUs without bfloat16 units compute in float32."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(StageConfig):
    """First stage: |x - y| + squared * (x - y)^2 + edges + features + adversarial + KL."""

    releases: int = 0
    """Number of data.releases, from the first, that it is trained on and that it needs to start; 0 = all."""
    crop: int = 64
    """Side of the crops, px, a multiple of the downsampling."""
    squared_weight: float = 0.0
    """Weight of the mean squared error, added to the absolute one."""
    edge_weight: float = 1.0
    """Weight of the absolute error of the image gradients: keeps roofs and roads sharp."""
    kl_weight: float = 1e-6
    """Weight of the KL divergence per crop, as in Stable Diffusion's autoencoder."""
    feature_weight: float = 0.0
    """Weight of the absolute error of the discriminator's features."""
    adversarial_weight: float = 0.0
    """Weight of the hinge loss against the discriminator; if feature_weight is 0 too, none is trained."""
    adversarial_from: int = 0
    """First step of the discriminator and of the two losses that need it."""


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig(StageConfig):
    """Second stage: UNet and text encoder together, v-prediction in the latents of the first."""


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Validation on held-out scenes; nothing here changes the result."""

    every: int = 1000
    """Steps between validations; the last step is always validated."""
    images: int = 256
    """Number of images, evenly spread over all held-out ones."""
    timesteps: int = 8
    """Bins of equal width over the noise schedule; the denoiser is evaluated at the centre of each."""
    shown: int = 8
    """Number of these images on the contact sheet."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where the run executes and what it writes."""

    out: Path
    """Run folder: config.yaml, base/, and for each stage metrics.jsonl, checkpoints/, validation/."""
    threads: int = 2
    """CPU threads; those of the second stage share a batch. Another number changes the rounding of sums."""
    log_every: int = 50
    """Steps between lines of metrics.jsonl."""
    save_every: int = 500
    """Steps between checkpoints; the last step is always saved."""
    keep_last: int = 2
    """Checkpoints kept; older ones are deleted once a newer one is complete; 0 = all."""
    resume_allow: list[str] = field(default_factory=list)
    """Settings that may differ from the checkpoint's, though they change the experiment, e.g. [data.releases]."""


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """The whole training."""

    data: DataConfig
    networks: NetworksConfig = NetworksConfig()
    autoencoder: AutoencoderConfig
    denoiser: DenoiserConfig
    validation: ValidationConfig = ValidationConfig()
    run: RunConfig


def parse_config(argv: list[str] | None = None) -> TinyConfig:
    """Read `--config FILE.yaml` and dotted overrides; see `train.config_file.parse_as`."""
    return parse_as(
        TinyConfig,
        check_config,
        prog="python -m train.tiny",
        description="Train the tiny base from scratch on simulated scenes. Run the same command again to resume.",
        argv=argv,
    )


def check_config(config: TinyConfig) -> None:
    """Check values and their combinations.

    Raises:
        ConfigError: naming every invalid setting.
    """
    rules = [
        *_data_rules(config),
        *_network_rules(config.networks),
        *_stage_rules("autoencoder", config.autoencoder),
        *_stage_rules("denoiser", config.denoiser),
        *_run_rules(config),
    ]
    if problems := [message for holds, message in rules if not holds]:
        raise ConfigError("\n".join(problems))


Rules = Iterator[tuple[bool, str]]  # condition that must hold, and the message if it does not


def _data_rules(config: TinyConfig) -> Rules:
    data, factor = config.data, 2 ** (len(config.networks.vae_channels) - 1)
    yield data.seed >= 0, f"data.seed is {data.seed}; it must not be negative."
    yield bool(data.releases), "data.releases is empty; name at least one, e.g. [{seed: 101, scenes: 240}]."
    seeds = [release.seed for release in data.releases]
    yield len(set(seeds)) == len(seeds), f"data.releases has the seeds {seeds}; they must differ, or scenes repeat."
    for release in data.releases:
        # Of any 30 in a row, six are held out; with fewer scenes a split might be empty.
        yield release.scenes >= 6, f"data.releases has {release.scenes} scenes of seed {release.seed}; at least 6."
    for name, value in (("data.resolution", data.resolution), ("autoencoder.crop", config.autoencoder.crop)):
        yield (
            value > 0 and value % factor == 0,
            f"{name} is {value}; {len(config.networks.vae_channels)} levels need a multiple of {factor}.",
        )
    count, crop = config.autoencoder.releases, config.autoencoder.crop
    yield (
        0 <= count <= len(data.releases),
        f"autoencoder.releases is {count}; data.releases has {len(data.releases)}, 0 = all of them.",
    )
    yield crop <= data.resolution, f"autoencoder.crop is {crop}; it cannot be larger than the image, {data.resolution}."
    yield bool(data.caption_styles), "data.caption_styles is empty; name at least one style, e.g. {short: 1}."
    for style, weight in data.caption_styles.items():
        yield weight > 0, f"data.caption_styles.{style} is {weight}; a weight must be positive: omit the style."
    yield 0 <= data.caption_dropout <= 1, f"data.caption_dropout is {data.caption_dropout}; expected a share, 0..1."


def _network_rules(networks: NetworksConfig) -> Rules:
    for name, unit in (("vae_channels", 8), ("unet_channels", 16)):
        channels = getattr(networks, name)
        fits = len(channels) >= 2 and all(width > 0 and width % unit == 0 for width in channels)
        yield fits, f"networks.{name} is {channels}; expected at least two levels, each a multiple of {unit}."
    for name, unit in (("text_width", 4), ("discriminator_width", 8)):
        width = getattr(networks, name)
        yield width > 0 and width % unit == 0, f"networks.{name} is {width}; it must be a multiple of {unit}."
    for name in ("vae_layers", "latent_channels", "unet_layers", "text_layers"):
        yield getattr(networks, name) >= 1, f"networks.{name} is {getattr(networks, name)}; it must be at least 1."
    yield networks.vocabulary >= 514, f"networks.vocabulary is {networks.vocabulary}; the letters alone are 514."


def _stage_rules(name: str, stage: StageConfig) -> Rules:
    yield stage.steps >= 0, f"{name}.steps is {stage.steps}; 0 skips the stage."
    yield stage.batch >= 1, f"{name}.batch is {stage.batch}; it must be at least 1."
    for setting in ("learning_rate", "max_grad_norm"):
        yield getattr(stage, setting) > 0, f"{name}.{setting} is {getattr(stage, setting)}; it must be positive."
    yield 0 <= stage.ema_decay < 1, f"{name}.ema_decay is {stage.ema_decay}; expected a number from 0 to below 1."
    yield (
        stage.steps == 0 or stage.warmup_steps + stage.decay_steps <= stage.steps,
        f"{name}.warmup_steps {stage.warmup_steps} and {name}.decay_steps {stage.decay_steps} exceed "
        f"{name}.steps {stage.steps}. Lower one of them.",
    )


def _run_rules(config: TinyConfig) -> Rules:
    run, validation = config.run, config.validation
    for name in ("threads", "log_every", "save_every"):
        yield getattr(run, name) >= 1, f"run.{name} is {getattr(run, name)}; it must be at least 1."
    yield run.keep_last >= 0, f"run.keep_last is {run.keep_last}; 0 keeps all checkpoints."
    for name in ("every", "images", "timesteps"):
        value = getattr(validation, name)
        yield value >= 1, f"validation.{name} is {value}; it must be at least 1."
    shown, images = validation.shown, validation.images
    yield 1 <= shown <= images, f"validation.shown is {shown}; expected 1 to validation.images, {images}."

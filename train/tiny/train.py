"""Both stages of the tiny base, one after the other."""

import sys
from copy import deepcopy

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from data.commit import commit
from data.storage import sha256, whole_folder, write_text
from data.strict_json import as_json
from models.checkpoint import newest_valid
from models.cpu.freed_memory import keep_freed_memory
from models.cpu.layers import use_cpu_norms
from models.tiny_networks import tiny_tokenizer
from train.config import save_config
from train.errors import ConfigError
from train.processes.interrupt import EXIT_INTERRUPTED, Interrupt
from train.saving.run_files import CONFIG
from train.saving.run_folder import versions
from train.tiny.autoencoder import AutoencoderStage, informative, only_channels, standardise, vae_of
from train.tiny.base_folder import is_base_file
from train.tiny.config import TinyConfig
from train.tiny.denoiser import DenoiserStage
from train.tiny.images import Images, open_images
from train.tiny.latents import Latents
from train.tiny.loop import run_stage
from train.tiny.state import AVERAGE, State

SPLITS = ("train", "test")
MEASURED_ON = 512  # images whose latents give the mean and variance of every channel


def train_tiny(config: TinyConfig) -> int:
    """Train according to the config, from the newest checkpoint if there is one.

    Returns:
        The exit status: 0, or 75 if interrupted with a checkpoint saved.
    """
    with Interrupt() as interrupt:
        open_run_folder(config)
        keep_freed_memory()
        torch.set_num_threads(config.run.threads)
        if vae := first_stage(config, interrupt):
            if config.denoiser.steps == 0 or train_denoiser(config, interrupt, *vae):
                return 0
    print("\nInterrupted; everything is saved. Run the same command again to resume.")
    return EXIT_INTERRUPTED


def first_stage(config: TinyConfig, interrupt: Interrupt) -> tuple[AutoencoderKL, str] | None:
    """An autoencoder, trained or given, and the hash of its weights; None if its training was interrupted."""
    start = config.networks.start
    if start and config.autoencoder.steps == 0:
        return ready(vae_of(config.networks, start)), sha256(start / "vae" / "diffusion_pytorch_model.safetensors")
    state = train_autoencoder(config, interrupt)
    return None if state is None else finished_vae(config, state)


def train_autoencoder(config: TinyConfig, interrupt: Interrupt) -> State | None:
    """The first stage; see `run_stage`."""
    train, held_out = (open_images(config.data, split, config.autoencoder.releases) for split in SPLITS)
    return run_stage(AutoencoderStage(config, train, held_out), config, interrupt, identity_of(train))


def train_denoiser(config: TinyConfig, interrupt: Interrupt, vae: AutoencoderKL, vae_hash: str) -> State | None:
    """The second stage, on the autoencoder of the first; see `run_stage`."""
    images = [open_images(config.data, split) for split in SPLITS]
    tokenizer, words = tokenizer_of(config, images[0])
    latents = (Latents(config, vae, vae_hash, tokenizer, each) for each in images)
    identity = identity_of(images[0]) | {"autoencoder": vae_hash, "tokenizer": words}
    return run_stage(DenoiserStage(config, vae, tokenizer, *latents), config, interrupt, identity)


def identity_of(images: Images) -> dict[str, str]:
    """Hash of the releases' contents."""
    return {"data.releases": "+".join(images.names)}


def open_run_folder(config: TinyConfig) -> None:
    """Write config.yaml and run.json.

    Raises:
        ConfigError: the folder contains other files, or is not writable.
    """
    out = config.run.out
    try:
        if out.exists() and not (out / CONFIG).is_file() and any(out.iterdir()):
            raise ConfigError(f"run.out is {out}: it is not empty and contains no run. Choose a new folder.")
        out.mkdir(parents=True, exist_ok=True)
        save_config(config, out / CONFIG)
        facts = {"command": sys.argv, "versions": versions(), "commit": commit()}
        write_text(out / "run.json", as_json(facts))
    except OSError as error:
        raise ConfigError(f"run.out is {out}: it is not writable ({error.strerror}). Choose another.") from error


def finished_vae(config: TinyConfig, state: State) -> tuple[AutoencoderKL, str]:
    """The averaged autoencoder with standardised, informative latents, made once; and the hash of the EMA weights."""
    stage = config.run.out / "autoencoder"
    checkpoint = newest_valid(stage / "checkpoints")
    assert checkpoint is not None
    vae_hash = sha256(checkpoint / AVERAGE)
    folder = stage / f"vae-{vae_hash[:16]}"
    if not folder.exists():
        images = open_images(config.data, "train", config.autoencoder.releases)
        vae: AutoencoderKL = deepcopy(state.networks["vae"])
        for name, weight in vae.named_parameters():
            weight.data.copy_(state.average[f"vae.{name}"])
        with torch.no_grad():
            found = [vae.encode(images.batch([number])).latent_dist for number in images.evenly(MEASURED_ON)]
        means, stds = torch.cat([each.mean for each in found]), torch.cat([each.std for each in found])
        standardise(vae, means)
        vae = only_channels(vae, informative(means, stds))
        with whole_folder(folder, is_base_file) as partial:
            vae.save_pretrained(partial)
    return ready(AutoencoderKL.from_pretrained(folder, use_safetensors=True)), vae_hash


def ready(vae: AutoencoderKL) -> AutoencoderKL:
    """Freeze a VAE and drop its local path, which would be shipped."""
    vae.requires_grad_(False).eval().register_to_config(_name_or_path="tiny")
    use_cpu_norms(vae)
    return vae.to(memory_format=torch.channels_last)


def tokenizer_of(config: TinyConfig, train: Images) -> tuple[CLIPTokenizer, str]:
    """A tokenizer trained on captions of all styles, kept because the text encoder depends on it; and its hash."""
    start, folder = config.networks.start, config.run.out / "denoiser" / "tokenizer"
    if start and (start / "tokenizer").is_dir():
        folder = start / "tokenizer"
    if not folder.exists():
        texts = (entry[view] for row in train.rows["captions"] for entry in row for view in ("text", "mirrored"))
        with whole_folder(folder, is_base_file) as partial:
            tiny_tokenizer(texts, config.networks.vocabulary).save_pretrained(partial)
    return CLIPTokenizer.from_pretrained(folder), sha256(folder / "tokenizer.json")

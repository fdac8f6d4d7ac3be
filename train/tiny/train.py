"""Both stages of the tiny base, one after the other."""

import json
import os
import sys

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from models.checkpoint import file_sha256, newest_valid
from models.freed_memory import keep_freed_memory
from models.tiny_networks import tiny_tokenizer
from train.config import ConfigError, save_config
from train.interrupt import EXIT_INTERRUPTED, Interrupt
from train.run_folder import CONFIG, commit, versions
from train.tiny.autoencoder import AutoencoderStage, standardise
from train.tiny.config import TinyConfig
from train.tiny.denoiser import DenoiserStage
from train.tiny.images import Images, open_images
from train.tiny.loop import run_stage
from train.tiny.state import AVERAGE, State

MEASURED_ON = 512  # images whose latents give the mean and variance of every channel


def train_tiny(config: TinyConfig) -> int:
    """Train as the config says, from the newest checkpoint if there is one.

    Returns:
        The exit status: 0, or 75 if it was interrupted and has saved a checkpoint.
    """
    with Interrupt() as interrupt:
        open_run_folder(config)
        keep_freed_memory()
        torch.set_num_threads(config.run.threads)
        train, held_out = (open_images(config.data, split) for split in ("train", "test"))
        contents = {"data.releases": "+".join(train.names)}
        autoencoder = AutoencoderStage(config, train, held_out)
        trained = run_stage(autoencoder, config, interrupt, contents)
        if trained is None:
            return stopped(config, "autoencoder")
        vae, vae_hash = finished_vae(config, autoencoder, trained, train)
        tokenizer = tokenizer_of(config, train)
        denoiser = DenoiserStage(config, vae, vae_hash, tokenizer, train, held_out)
        words = json.dumps(tokenizer.get_vocab(), sort_keys=True)
        state = run_stage(denoiser, config, interrupt, contents | {"autoencoder": vae_hash, "tokenizer": words})
        if state is None:
            return stopped(config, "denoiser")
        return 0


def open_run_folder(config: TinyConfig) -> None:
    """Write config.yaml and run.json.

    Raises:
        ConfigError: the folder holds other things, or cannot be written.
    """
    out = config.run.out
    if out.exists() and not (out.is_dir() and ((out / CONFIG).is_file() or not any(out.iterdir()))):
        raise ConfigError(f"run.out is {out}: it is not empty and holds no run. Choose a new folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        save_config(config, out / CONFIG)
        facts = {"command": sys.argv, "versions": versions(), "commit": commit()}
        (out / "run.json").write_text(json.dumps(facts, indent=1) + "\n")
    except OSError as error:
        raise ConfigError(f"run.out is {out}: it cannot be written ({error.strerror}). Choose another.") from error


def stopped(config: TinyConfig, stage: str) -> int:
    """Say so."""
    print(f"\nInterrupted; {config.run.out / stage} is saved. Run the same command again to go on.")
    return EXIT_INTERRUPTED


def finished_vae(config: TinyConfig, stage: AutoencoderStage, state: State, train: Images) -> tuple[AutoencoderKL, str]:
    """The averaged autoencoder with standardised latents, and the hash of the average."""
    folder = newest_valid(config.run.out / stage.name / "checkpoints")
    assert folder is not None
    state.take_average()
    vae = stage.vae.requires_grad_(False).eval()
    numbers = train.evenly(MEASURED_ON)
    standardise(vae, torch.cat([vae.encode(train.batch([number])).latent_dist.mean for number in numbers]))
    return vae, file_sha256(folder / AVERAGE)


def tokenizer_of(config: TinyConfig, train: Images) -> CLIPTokenizer:
    """Learned from the captions of all styles, and kept: with another one the text encoder would be lost."""
    folder = config.run.out / "denoiser" / "tokenizer"
    if not folder.exists():
        texts = (entry[view] for row in train.rows["captions"] for entry in row for view in ("text", "mirrored"))
        partial = folder.with_name(f".tokenizer.{os.getpid()}")
        tiny_tokenizer(texts, config.networks.vocabulary).save_pretrained(partial)
        partial.rename(folder)
    return CLIPTokenizer.from_pretrained(folder)

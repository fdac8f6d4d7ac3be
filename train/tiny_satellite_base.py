"""Fine-tune the tiny base on metadata, as DiffusionSat was from Stable Diffusion 2.1.

    python -m train.tiny_satellite_base --work runs/tiny-satellite --out tiny-satellite

Simulates a release in which season and pixel size differ from scene to scene, builds its 128 px patches, gives the UNet
of `tiny` metadata embeddings and trains the whole UNet on pre and post images. VAE and text encoder stay. What a stage
left in the work folder is reused.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from jsonargparse import auto_cli
from torch import Tensor
from torch.utils.data import default_collate

from data.build import build
from data.dataset.open import open_dataset
from data.progress import Bar
from data.simulation.simulate import simulate
from models.base import TINY, Base, load_base
from models.denoiser import Denoiser
from models.diffusionsat.pipeline import SatPipeline
from models.diffusionsat.unet import SatUNet
from models.tiny_networks import RESOLUTION_PX
from train.config import Config, DataConfig, ModelConfig, RunConfig, TrainConfig
from train.errors import ConfigError
from train.inputs.examples import Examples, prepare_examples
from train.objective import denoising_loss
from train.stages import stages_of

README = """# The tiny satellite base

The `tiny` base, its UNet fine-tuned with DiffusionSat's metadata on simulated scenes of varied season and pixel size.
For demos and tests, not for research results. Made by

    {command}

What it learned is measured by `python -m benchmarks.studies.follows_metadata`, see docs/diffusionsat.md.
"""


def train_tiny_satellite_base(
    *,
    work: Path = Path("runs/tiny-satellite"),
    out: Path = Path("tiny-satellite"),
    scenes: int = 120,
    seed: int = 1,
    steps: int = 1500,
    batch: int = 32,
) -> None:
    """Fine-tune the tiny base on metadata with simulated data.

    Args:
        work: folder for the simulated release, the dataset and the cache; kept, and reused if present.
        out: the diffusers folder to write; must not exist.
        scenes: simulated locations; every fifth is held out.
        seed: of the simulation, the new weights and the examples.
        steps: optimizer steps.
        batch: images per step.

    Raises:
        ConfigError: `out` exists.
    """
    if out.exists():
        raise ConfigError(f"out {out} already exists. Name another folder.")
    if not (work / "release").exists():
        simulate(out=work / "release", scenes=scenes, seed=seed, varied=True)
    if not (work / "dataset").exists():
        build(source=work / "release", out=work / "dataset", size=RESOLUTION_PX)
    start = untaught(work / "start", seed)
    config = Config(
        # Captions that count buildings would reveal the pixel size, making metadata redundant.
        data=DataConfig(dataset=work / "dataset", direction="both", caption_styles={"diffusionsat": 1.0}),
        model=ModelConfig(base=str(start.folder), condition="latents"),  # no image is read during training
        train=TrainConfig(seed=seed, steps=steps),
        run=RunConfig(out=work, cache=work / "cache"),
    )
    schedule, dataset = start.load_noise_schedule(), open_dataset(work / "dataset", "train")
    examples = prepare_examples(Accelerator(cpu=True), config, stages_of(config)[0], start, schedule, dataset)
    unet = teach(start, examples, steps, batch)
    command = f"python -m train.tiny_satellite_base --scenes {scenes} --seed {seed} --steps {steps} --batch {batch}"
    save(out, start, unet, command)


def optimise(
    parameters: list[torch.nn.Parameter], steps: int, learning_rate: float, loss_of: Callable[[], Tensor], name: str
) -> Iterator[None]:
    """AdamW on a cosine schedule; yields after every step."""
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-2)
    schedule = get_cosine_schedule_with_warmup(optimizer, 200, steps)
    bar = Bar(range(steps), desc=name, unit="step", mininterval=5)
    for step in bar:
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")
        yield


def untaught(folder: Path, seed: int) -> Base:
    """The tiny base with a UNet that accepts metadata but is not yet trained on it."""
    if not folder.exists():
        torch.manual_seed(seed)
        unet = SatUNet.from_unet(load_base("tiny").load_unet())
        shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("unet", "README.md", "quality.json"))
        unet.save_pretrained(folder / "unet")
    return load_base(folder)


def teach(start: Base, examples: Examples, steps: int, batch: int) -> SatUNet:
    """Train the whole UNet on a loss like the trainer's; returns the EMA."""
    unet = start.load_unet().requires_grad_(True)
    denoiser, schedule = Denoiser(start.family, unet), start.load_noise_schedule()
    average = EMAModel(unet.parameters(), decay=0.998, use_ema_warmup=True, power=0.75)
    ordinals = iter(range(steps * batch))

    def loss_of() -> Tensor:
        drawn = default_collate([examples[next(ordinals)] for _ in range(batch)])
        weighted, _ = denoising_loss(denoiser, schedule, drawn)
        return weighted.mean()

    for _ in optimise(list(unet.parameters()), steps, 6e-4, loss_of, "metadata"):
        average.step(unet.parameters())
    average.copy_to(unet.parameters())
    return unet  # type: ignore[no-any-return]


def save(out: Path, start: Base, unet: SatUNet, command: str) -> None:
    """Write a plain folder, in the types of the tiny base, for `load_base` and `SatPipeline.from_pretrained`."""
    out.mkdir(parents=True)
    (out / "README.md").write_text(README.format(command=command))
    SatPipeline(
        vae=start.load_vae(torch.float16),
        text_encoder=start.load_text_encoder(),
        tokenizer=start.load_tokenizer(),
        unet=unet.half(),
        scheduler=start.load_sampler(),
    ).save_pretrained(out)


if __name__ == "__main__":
    auto_cli(train_tiny_satellite_base, as_positional=False)

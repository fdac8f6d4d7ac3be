"""`python -m train --check`: everything that can be wrong, then what the run would take. Nothing is trained."""

from collections.abc import Sequence
from datetime import timedelta

import torch
from accelerate import Accelerator

from data.disk import look
from data.examples.condition import condition_of
from models.conditioners.few_bits import few_bit_tensors
from models.cpu.precision import DTYPES, compute_type
from models.cpu.threads import set_threads
from train.config import Config
from train.estimate import measure_speed, memory_gb, seconds_per_step, work_of
from train.inputs.recipe import recipe_of, resolution_of
from train.preflight import Checked, check
from train.processes.replicas import sharding_of
from train.start_card import Planned, start_card, weights_bytes

STORED = 3  # of a trained weight, in a checkpoint: itself and two moments
CACHED = 8  # bytes of a latent value in the cache: mean and standard deviation, float32


def report(config: Config, problems: Sequence[str] = ()) -> int:
    """Check, then print the start card and the estimate; `problems` that are known already are errors.

    Returns:
        The exit status, 0.

    Raises:
        ConfigError: naming everything that is wrong, or the only error as it is; nothing is written.
    """
    threads = set_threads()
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
    checked = check(accelerator, config, problems=problems)
    plan = _planned(config, checked, accelerator.num_processes)
    accelerator.print(start_card(plan, threads))
    if accelerator.is_main_process:
        print("\n".join([*estimates(plan, checked, accelerator.device), f"disk       {_disk(plan, checked)}"]))
    accelerator.print("Nothing is wrong. To train, run the same command without --check.")
    return 0


def estimates(plan: Planned, checked: Checked, device: torch.device) -> list[str]:
    """A line for every stage: memory, seconds and hours."""
    dtype, on_gpu = compute_type(plan.config.train.precision, device), device.type == "cuda"
    speed, lines = measure_speed(device, dtype), []
    told = checked.base.empty_told(plan.config.data.text_chunks)
    uncached = " and filling the cache" * (plan.config.run.cache_in != "off")
    there = f" of {torch.cuda.mem_get_info(device)[1] / 1e9:.0f}" if on_gpu else ""
    for stage, dataset in zip(checked.stages, checked.datasets, strict=True):
        recipe = recipe_of(plan.config, checked.base, checked.schedule, resolution_of(stage, dataset))
        work = work_of(checked.denoiser, recipe, plan.config, told)
        weights = weights_bytes(plan.config, plan.trained, plan.frozen)
        memory = memory_gb(work, stage, weights, dtype, plan.processes, on_gpu=on_gpu)
        seconds = seconds_per_step(work, stage, weights["trained weights"] // 4, dtype, plan.processes, speed)
        left = timedelta(seconds=round(max(0, stage.last_step - max(plan.step, stage.first_step)) * seconds))
        of = f"steps {stage.first_step:,} to {stage.last_step:,}: " if len(checked.stages) > 1 else ""
        lines.append(
            f"estimate   {of}{memory:.1f} GB{there} of memory per process, {seconds:.2g} s per step, {left} in all "
            f"without validation{uncached} (docs/recipes.md; the bar knows better after some steps)"
        )
    return lines


def _planned(config: Config, checked: Checked, processes: int) -> Planned:
    """What the start card tells of, without weights."""
    weights = list(checked.denoiser.parameters())
    frozen = [weight.to(DTYPES[config.train.precision]) for weight in weights if not weight.requires_grad]
    frozen += few_bit_tensors(checked.denoiser)
    settings = config.validation
    return Planned(
        config=config,
        stages=checked.stages,
        processes=processes,
        step=checked.step,
        views=[
            (len(each.views), len(dataset)) for each, dataset in zip(checked.captioned, checked.datasets, strict=True)
        ],
        trained=[weight for weight in weights if weight.requires_grad],
        frozen=frozen,
        sharded=sharding_of(config.train, config.model.base_bits) is not None,
        validated=(
            (min(settings.examples, len(checked.held_out[-1])), min(settings.images, len(checked.held_out[-1])))
            if checked.held_out
            else None
        ),
        cache={"off": "off: VAE and text encoder run in every step", "memory": "in memory"}.get(
            config.run.cache_in, f"in {config.run.cache}, filled at the start"
        ),
    )


def _disk(plan: Planned, checked: Checked) -> str:
    """Bytes of checkpoints and cache, against what is free."""
    config, disk = plan.config, look(plan.config.run.out)
    trained = sum(weight.numel() for weight in plan.trained) * 4
    each = trained * (STORED + (config.train.ema_decay > 0))
    kept = (config.run.keep_last or config.train.steps // config.run.save_every + 1) + (config.validation.every > 0) + 1
    parts = {f"{kept} checkpoints": each * kept}  # one of them is being written
    if config.run.cache_in == "disk":
        parts["cache"] = sum(_cache_bytes(plan, checked, number) for number in range(len(checked.stages)))
    listed = ", ".join(f"{name} {size / 1e9:.1f} GB" for name, size in parts.items())
    short = "; THAT IS NOT ENOUGH" * (sum(parts.values()) > disk.free)
    return f"at most {sum(parts.values()) / 1e9:.1f} GB ({listed}), {disk.free / 1e9:.0f} GB are free{short}"


def _cache_bytes(plan: Planned, checked: Checked, number: int) -> int:
    config, stage, dataset = plan.config, checked.stages[number], checked.datasets[number]
    recipe = recipe_of(config, checked.base, checked.schedule, resolution_of(stage, dataset))
    channels, height, width = recipe.latent_shape
    latents = condition_of(config.model.trained, config.model.condition).latents
    phases = 2 if latents or config.data.direction == "both" else 1
    images = len(dataset) * phases * (1 + config.data.mirror)
    network = checked.denoiser.unet.config
    width = network.get("cross_attention_dim") or network.get("joint_attention_dim")
    text = len(checked.captioned[number].texts) * 4 * config.data.text_chunks * 77 * width
    return int(CACHED * images * channels * height * width + text)

"""Train a damage model on a built dataset, and on synthetic pairs if there are any.

On a laptop: `pre2post damage-model --dataset d256 --resolution 128 --steps 500 --out damage`
"""

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import torch.nn.functional as F
from accelerate import PartialState
from torch import Tensor

from data.dataset.open import fingerprint, open_dataset, read_manifest, rows_of
from data.examples.sampler import OrdinalBatches
from evaluation.damage.examples import Examples, Pair, Source, real_source
from evaluation.damage.model import (
    DamageCard,
    DamageModel,
    check_resolution,
    keep_damage_model,
    score_pairs,
    sole_maker,
)
from evaluation.damage.network import NUM_CLASSES, DamageNetwork
from evaluation.damage.score import estimate_scores
from evaluation.damage.stopping import Stopping
from evaluation.damage.synthetic import read_synthetic, seen_by_synthetic, synthetic_source
from evaluation.errors import EvaluationError
from evaluation.options import DEFAULT, Training
from evaluation.seen import check_unseen
from generate.images.items import batched
from generate.processes import join_processes
from generate.progress import progress

VALIDATION = "validation"  # the split
WARMUP_SHARE = 0.05
WEIGHT_DECAY = 1e-2
MOST_VALIDATED = 256  # pairs, evenly spread: each validation takes the time of a few steps
REPORT_EVERY = 20  # steps; reading the loss makes the device wait


def damage_model(
    *,
    dataset: Path,
    out: Path,
    split: str = "train",
    score_split: str = "test",
    synthetic: Path | None = None,
    resolution: int | None = None,
    seed: int = 0,
    training: Training = DEFAULT,
) -> None:
    """Train a model that localises buildings and classifies their damage, as in the xView2 challenge.

    A siamese U-Net of half a million weights: it localises buildings in the pre image and classifies their damage
    from both. `pre2post evaluate --damage-model OUT` judges generated images with it. Unlabelled patches are left out
    and counted. The folder appears when it is complete. The same command gives the same model on the same kind of
    machine.

    Args:
        dataset: A folder made by `pre2post build`.
        out: The folder to write: model.safetensors and model.json, with the score in it.
        split: Which split to train on.
        score_split: Which split to score on when trained, of other scenes; `none` for none.
        synthetic: A folder made by `pre2post synthesize` or `region`: half of the pairs are taken from it.
        resolution: Side of the images, px, a multiple of 16; by default that of the patches. For `pre2post evaluate`
            the resolution of the checkpoint.
        seed: Of initial weights and examples.
        training: How it is trained.
    """
    if not join_processes().is_main_process:
        return  # one process does it all
    with sole_maker(out):
        rows = open_dataset(dataset, split)
        patch_px = int(rows[0]["size"])
        check_resolution(side := resolution or patch_px)
        sources = [labelled(real_source(rows, side), f"{dataset}, split {split}")]
        if synthetic is not None:
            sources.append(synthetic_source(synthetic, side, patch_px))
        test = None
        if score_split != "none" and (score_split in read_manifest(dataset)["splits"] or score_split != "test"):
            test = labelled(real_source(open_dataset(dataset, score_split), side), f"{dataset}, split {score_split}")
            seen: dict[str, Collection[str]] = {f"trained on (--split {split})": sources[0].scenes}
            if synthetic is not None:
                seen |= seen_by_synthetic(synthetic, dataset)
            check_unseen(test.scenes, f"{dataset}, --score-split {score_split}", seen)
        for source in (*sources, *([test] if test else [])):
            print(described(source))
        card = DamageCard(training.width, side, patch_px)
        validation = validation_source(dataset, side) if training.patience else None
        model, found_out = train_damage_model(sources, card, training, seed, validation=validation)
        facts: dict[str, Any] = {
            "dataset": str(dataset),
            "dataset_fingerprint": fingerprint(dataset),
            "split": split,
            "seed": seed,
            **vars(training),
            "sources": {source.name: len(source.pairs) for source in sources},
            "unlabelled": sources[0].unlabelled,
            "synthetic": read_synthetic(synthetic) if synthetic else None,
            **found_out,
        }
        if test:
            found = estimate_scores(score_pairs(model, (read() for read in test.pairs)), test.scenes)
            facts |= {"score_split": score_split, "scores": {name: vars(one) for name, one in found.items()}}
            print(f"on split {score_split}: " + ", ".join(f"{name} {one.value:.3f}" for name, one in found.items()))
        keep_damage_model(out, model, facts)
        print(
            f"Model in {out}. Next, let it judge generated images: pre2post evaluate --checkpoint RUN "
            f"--dataset {dataset} --damage-model {out} --out scores"
        )


def validation_source(dataset: Path, side: int, event: str | None = None) -> Source:
    """The labelled pairs of the validation split, which end trainings.

    Raises:
        EvaluationError: there are none.
    """
    rows = rows_of_event(open_dataset(dataset, VALIDATION), event)
    return labelled(real_source(rows, side, VALIDATION), f"{dataset}, split {VALIDATION}")


def rows_of_event(rows: datasets.Dataset, event: str | None) -> datasets.Dataset:
    """The patches of one event; all of them where none is named."""
    return rows.select(rows_of(rows, [event])) if event else rows


def labelled(source: Source, where: str) -> Source:
    """The source, if it has anything to train or score with."""
    if not source.pairs:
        raise EvaluationError(
            f"{where}: none of its {source.unlabelled:,} patches has damage labels. Name a split with post labels."
        )
    return source


def described(source: Source) -> str:
    """One line for the terminal."""
    left = f"; {source.unlabelled:,} without labels left out" if source.unlabelled else ""
    return f"{source.name}: {len(source.pairs):,} labelled pairs{left}"


def train_damage_model(
    sources: Sequence[Source],
    card: DamageCard,
    training: Training,
    seed: int,
    what: str = "train",
    validation: Source | None = None,
) -> tuple[DamageModel, dict[str, Any]]:
    """Train a network from scratch.

    Args:
        sources: of pairs; each has the same share.
        card: of the model.
        training: how.
        seed: of weights and examples.
        what: name of the progress bar.
        validation: pairs that end the training; required with training.patience.

    Returns:
        the model, and facts: the mean loss of the last steps, how many were taken, what validation found.

    Raises:
        EvaluationError: the loss is not finite.
    """
    device = PartialState().device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DamageNetwork(card.width)
    network = network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), training.learning_rate, weight_decay=WEIGHT_DECAY)
    until = _stopping(validation, training, network)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, training))
    batches = OrdinalBatches(
        first_step=0, last_step=training.steps, global_batch=training.batch, micro_batch=training.batch,
        rank=0, num_processes=1,
    )  # fmt: skip
    examples = Examples(sources, seed)
    losses: list[Tensor] = []
    with progress(training.steps, what, "step") as bar:
        for ordinals in batches:
            pre, post, damage = map(torch.stack, zip(*(examples[ordinal] for ordinal in ordinals), strict=True))
            optimizer.zero_grad(set_to_none=True)
            loss = damage_loss(network(pre.to(device), post.to(device)), damage.to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
            bar.update()
            if bar.n % REPORT_EVERY == 0 or bar.n == training.steps:
                mean = _finite(losses, int(bar.n))
                bar.set_postfix_str(f"loss {mean:.3f}", refresh=False)
                losses.clear()
            if until and until.is_over(int(bar.n)):
                mean = _finite(losses, int(bar.n)) if losses else mean
                break
        taken = int(bar.n)
    facts: dict[str, Any] = {"last_loss": mean, "steps_taken": taken}
    return DamageModel(network.eval(), card), facts | (until.restored() if until else {})


def _stopping(validation: Source | None, training: Training, network: DamageNetwork) -> Stopping | None:
    if not training.patience:
        return None
    assert validation is not None, "patience needs validation pairs"
    pairs = validation.pairs[:: -(-len(validation.pairs) // MOST_VALIDATED)]
    return Stopping(lambda: validation_loss(network, pairs, training.batch), training, network)


def _rate(step: int, training: Training) -> float:
    return min(1.0, (step + 1) / training.validate_every) if training.patience else rate(step, training.steps)


@torch.inference_mode()
def validation_loss(network: DamageNetwork, pairs: Sequence[Callable[[], Pair]], batch: int) -> float:
    """Mean loss over pairs, in batches."""
    device, total = PartialState().device, 0.0
    for several in batched((read() for read in pairs), batch):
        pre, post = (
            torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device)
            for images in ([pair.pre for pair in several], [pair.post for pair in several])
        )
        damage = torch.from_numpy(np.stack([pair.damage for pair in several])).to(device)
        total += float(damage_loss(network(pre, post), damage)) * len(several)
    return total / len(pairs)


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: a ramp, then a cosine to 0."""
    warmup = max(1, round(steps * WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def damage_loss(logits: tuple[Tensor, Tensor], damage: Tensor) -> Tensor:
    """Cross entropy and soft Dice of buildings; cross entropy of the classes, where they are known.

    A class of n pixels in the batch counts as the square root of n: between equal weights for pixels, where the
    rarest class would not be learnt, and equal weights for classes, where a handful of pixels would destabilise
    training.

    Args:
        logits: (B, H, W) and (B, 4, H, W).
        damage: (B, H, W) uint8: DAMAGE_VALUES, 0 no building.
    """
    building, classes = logits
    is_building = (damage > 0).float()
    share = torch.sigmoid(building)
    dice = 1 - (2 * (share * is_building).sum() + 1) / (share.sum() + is_building.sum() + 1)
    localisation = F.binary_cross_entropy_with_logits(building, is_building) + dice
    known = (damage >= 1) & (damage <= NUM_CLASSES)
    target = damage[known].long() - 1
    pixels = torch.bincount(target, minlength=NUM_CLASSES).clamp(min=1).float()
    weights = pixels.rsqrt()[target]
    each = F.cross_entropy(classes.permute(0, 2, 3, 1)[known], target, reduction="none")
    return localisation + (each * weights).sum() / weights.sum().clamp(min=1e-6)


def _finite(losses: Sequence[Tensor], step: int) -> float:
    mean = float(torch.stack(list(losses)).mean())
    if not math.isfinite(mean):
        raise EvaluationError(f"the loss is {mean} at step {step}. Nothing was written; try a lower --learning-rate.")
    return mean

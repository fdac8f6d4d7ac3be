"""Everything that can be wrong with a run, found before any weights are loaded and reported together."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from accelerate import Accelerator
from datasets import Dataset

from data.dataset.open import fingerprint, open_dataset
from data.disk import look
from data.errors import DataError
from models import load_base
from models.base import Base
from models.checkpoint import (
    CheckpointError,
    TrainedOn,
    named_checkpoint,
    resolve_checkpoint,
    trained_on,
    trained_state,
)
from models.denoiser import Denoiser
from models.errors import BaseError
from models.families.noise import Noise
from train.config import Config
from train.config_checks import check_batches, problems_of
from train.errors import ConfigError, TrainingError
from train.inputs.examples import Captioned, captioned
from train.networks import check_base, meta_denoiser, noise_schedule
from train.processes.first_process import from_main
from train.saving.resume import check_same_experiment, find_start
from train.saving.state import start_from
from train.stages import Stage, stages_of
from train.watching.validation import open_held_out

Found = TypeVar("Found")


@dataclass(frozen=True)
class Checked:
    """What a run works on, opened and checked."""

    start: Path | None  # the checkpoint that it resumes
    step: int  # of it
    initial: Path | None  # the checkpoint whose weights a new run starts from
    base: Base
    schedule: Noise
    stages: list[Stage]
    datasets: list[Dataset]  # one per stage
    held_out: list[Dataset]  # one per stage, or none
    denoiser: Denoiser  # on the meta device
    captioned: list[Captioned]  # one per stage
    identity: dict[str, Any]  # hashes of base and datasets, and what the weights have seen before


class Faults:
    """Errors of the user, collected."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def without(self, look: Callable[[], Found]) -> Found | None:
        """What `look` finds; its error is noted."""
        try:
            return look()
        except (ConfigError, DataError, BaseError, CheckpointError, TrainingError) as error:
            self.errors.append(error)
            return None

    def report(self) -> None:
        """Raise the one error, or one that lists them all."""
        messages = list(dict.fromkeys(map(str, self.errors)))
        if len(messages) > 1:
            raise ConfigError("\n".join(messages))
        if messages:
            raise self.errors[0]


def check(
    accelerator: Accelerator,
    config: Config,
    claim: Callable[[], object] = lambda: None,
    problems: Sequence[str] = (),
) -> Checked:
    """Check settings, folders, datasets, then the base, and how they fit; the hub is asked only if nothing is wrong.

    `claim` takes the lock of the run folder, see `find_start`; `problems` were found before.

    Raises:
        ConfigError: naming everything that is wrong, or the only error as it is.
    """
    faults = Faults()
    invalid = problems_of(config)
    faults.errors += map(ConfigError, [*problems, *invalid])
    sound = not invalid  # the settings among themselves
    start = faults.without(lambda: from_main(accelerator, lambda: find_start(config, claim)))
    if config.run.cache_in == "disk":
        faults.without(lambda: _check_cache(config.run.cache))
    stages = stages_of(config)
    opened = [faults.without(partial(_open, config, stage)) for stage in stages]
    held_out = faults.without(lambda: open_held_out(config, stages)) or []
    views: list[Captioned] = []
    if sound:
        faults.without(lambda: check_batches(config.train, accelerator.num_processes))
        for stage, dataset in zip(stages, opened, strict=True):
            if dataset is not None and (found := faults.without(partial(captioned, config, stage, dataset))):
                views.append(found)
    base = _base(config.model.base, faults)
    if base is None:
        faults.report()
        raise AssertionError("a base that cannot be opened is a fault")
    schedule = faults.without(lambda: noise_schedule(base, config.objective.zero_terminal_snr))
    wrong = len(faults.errors)
    faults.without(lambda: check_base(config, base))
    fits = sound and len(faults.errors) == wrong
    denoiser = faults.without(lambda: meta_denoiser(base, config.model)) if fits else None
    datasets = [dataset for dataset in opened if dataset is not None]
    step = 0
    identity: dict[str, Any] = {}
    if len(datasets) == len(stages) and denoiser is not None:  # hashing reads all weights
        prints = "+".join(fingerprint(stage.dataset) for stage in stages)
        identity = {"family": base.family.key, "base_hash": base.network_hash, "dataset_fingerprint": prints}
        is_base = partial(base.has_hash, base.family.network)
        same: dict[str, Any] = {"is_base": is_base, "dataset_fingerprint": prints}
        if start:
            resumed = faults.without(
                lambda: from_main(accelerator, lambda: check_same_experiment(start, config, **same))
            )
            step = resumed or 0
    initial = None
    if config.model.start and denoiser is not None and start is None:
        look = partial(_initial, config.model.start, config, base, denoiser)
        initial = faults.without(lambda: from_main(accelerator, look))
    faults.report()
    assert schedule is not None and denoiser is not None
    identity["started_from"] = from_main(accelerator, lambda: _seen_before(start, initial, identity))
    return Checked(start, step, initial, base, schedule, stages, datasets, held_out, denoiser, views, identity)


def _seen_before(start: Path | None, initial: Path | None, identity: dict[str, Any]) -> list[TrainedOn]:
    """What the weights were trained on before this run, or in it on other data, which is allowed when resuming."""
    if not (folder := start or initial):
        return []
    state = trained_state(folder)
    seen = trained_on(state)
    earlier = seen.pop("earlier", [])
    return earlier if start and state["dataset_fingerprint"] == identity["dataset_fingerprint"] else [seen, *earlier]


def _initial(named: Path, config: Config, base: Base, denoiser: Denoiser) -> Path:
    """The checkpoint of `model.start`, which has the weights of this denoiser, on the meta device, on this base."""
    folder = resolve_checkpoint(named_checkpoint(named))
    state = trained_state(folder)
    if not base.has_hash(base.family.network, state["base"]["unet_sha256"]):
        raise CheckpointError(
            f"model.start is {folder}, which was trained on another base ({state['base']['name']}) than model.base "
            f"{config.model.base}. Set model.base to that one, or model.start to null."
        )
    for setting, value in (("trained", state["trained"]), ("condition", state["condition"])):
        if (mine := getattr(config.model, setting)) != value:
            raise CheckpointError(
                f"model.start is {folder}, of model.{setting} {value}, not {mine}. Set that to {value}."
            )
    start_from(folder, denoiser)
    return folder


def _base(name: str, faults: Faults) -> Base | None:
    """The base; while anything else is wrong, only if it is on this machine: a download may take an hour."""
    if not faults.errors or name == "tiny" or Path(name).exists():
        return faults.without(lambda: load_base(name))
    with suppress(BaseError):
        return load_base(name, download=False)
    return None


def _open(config: Config, stage: Stage) -> Dataset:
    return open_dataset(stage.dataset, config.data.split, config.data.leave_out)


def _check_cache(folder: Path) -> None:
    try:
        look(folder)
    except DataError as error:
        raise ConfigError(f"run.cache is {folder}, which is not writable. {error}") from error

"""Which checkpoint a run starts from, and whether resuming it is the same experiment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from data.disk import look
from data.documents import read_document
from data.errors import DataError
from data.storage import entries
from models.checkpoint import STATE, CheckpointError, newest_valid, resolve_checkpoint
from train.config import Config, DataConfig, RunConfig, as_plain, changed_settings
from train.errors import ConfigError
from train.saving.run_files import CONFIG

# Settings that a resumed run may change without changing the meaning of completed steps. Dataset and base are
# compared by content, not by name; for `train.steps` see `_changed_past`.
FREE_ON_RESUME = (
    "run.",
    "validation.",
    "train.steps",
    "train.micro_batch",
    "model.gradient_checkpointing",
    "model.base_checkpointing",
    "model.attention",
    "model.channels_last",
    "model.compile",
    "data.dataset",
    "model.base",
)
FREE_IN_STAGE = ("micro_batch", "dataset")  # of train.curriculum; datasets are compared by content

# Settings that determine which weights exist; no option allows changing them.
OTHER_NETWORK = (
    "model.trained",
    "model.condition",
    "model.controlnet",
    "model.controlnet_blocks",
    "model.metadata",
    "model.null_metadata",
    "model.lora_rank",
    "model.lora_targets",
)


class SavedBase(TypedDict):
    """What a checkpoint records of its base."""

    name: str
    unet_sha256: str


class Saved(TypedDict):
    """The fields of state.json that resuming needs."""

    step: int
    config: dict[str, dict[str, Any]]
    base: SavedBase
    dataset_fingerprint: str
    commit: str


SAVED = TypeAdapter(Saved)


def find_start(config: Config, claim: Callable[[], object] = lambda: None) -> Path | None:
    """The checkpoint to resume from, or None for a new run.

    Args:
        config: of the run.
        claim: called once the folder is known to be writable, before anything in it is read: takes its lock.

    Raises:
        ConfigError: the folder is not empty and contains no run, or is not writable; `never` where it contains a run.
        CheckpointError: the named checkpoint is missing or corrupt.
    """
    out, run = config.run.out, config.run
    _check_disk(out)
    claim()
    has_run = (out / CONFIG).is_file()
    if out.exists() and not has_run and entries(out):
        raise ConfigError(f"run.out is {out}: it is not empty and contains no run. Choose a new folder.")
    if run.resume == "never" and has_run:
        raise ConfigError(f"run.out is {out}: it already contains a run. Choose a new folder, or run.resume latest.")
    own = newest_valid(out / "checkpoints")
    if run.resume in ("latest", "never") or (own and _began_so(own, run)):
        return own
    named = resolve_checkpoint(Path(run.resume))
    if own is None or run.go_back or _saved(named)["step"] > _saved(own)["step"]:
        return named
    print(f"{own} is newer than run.resume {run.resume} and is resumed. To go back, set run.go_back true.")
    return own


def _began_so(own: Path, run: RunConfig) -> bool:
    """Whether a checkpoint of the run was written with the same `resume`: then this is a restart."""
    began = _saved(own)["config"]["run"]
    return (began["resume"], began["go_back"]) == (run.resume, run.go_back)


def check_same_experiment(
    start: Path, config: Config, *, is_base: Callable[[str], bool], dataset_fingerprint: str
) -> int:
    """The step of a checkpoint, if resuming it with this config is the same experiment; prints what differs.

    Args:
        start: the checkpoint.
        config: of the resumed run.
        is_base: whether a hash recorded in a checkpoint is that of this run's base, see `Base.has_hash`.
        dataset_fingerprint: of this run's datasets.

    Raises:
        CheckpointError: naming every setting that changes the experiment and is not in `run.resume_allow`; or those
            that cannot be allowed, because they give another network.
    """
    state, new = _saved(start), as_plain(config)
    pairs = changed_settings(state["config"], new)
    changes = {name: f"{name} was {old!r} and is now {now!r}" for name, (old, now) in pairs.items()}
    if unknown := [name for name in changes if name.partition(".")[2] not in new.get(name.partition(".")[0], {})]:
        raise CheckpointError(
            f"{start}: was trained with {', '.join(unknown)}, unknown to this version of pre2post. Resume it with "
            f"the version that wrote it (commit {state['commit']}), or train from scratch in a new run.out."
        )
    refused = {name: change for name, change in changes.items() if not name.startswith(FREE_ON_RESUME)}
    if "train.curriculum" in refused and _same_stages(*pairs["train.curriculum"]):
        del refused["train.curriculum"]
    if other := [change for name, change in refused.items() if name in OTHER_NETWORK]:
        raise CheckpointError(
            f"{start}: {'; '.join(other)}. That gives another network, which cannot use its weights. Set it back, "
            "or train from scratch in a new run.out."
        )
    if _changed_past(state, config):
        refused["train.steps"] = changes["train.steps"] + ", while the learning rate already decays towards the old end"
    if not is_base(state["base"]["unet_sha256"]):
        old = state["base"]["name"]
        refused["model.base"] = f"model.base was {old} and is now another network, {config.model.base}"
    if state["dataset_fingerprint"] != dataset_fingerprint:
        refused["data.dataset"] = "data.dataset has different contents than before"
    refused = {name: change for name, change in refused.items() if name not in config.run.resume_allow}
    if refused:
        raise CheckpointError(
            f"{start}: this is another experiment: {'; '.join(refused.values())}. Set these back to resume, choose a "
            f"new run.out, or allow them: --run.resume_allow='[{','.join(refused)}]'."
        )
    if state["step"] > config.train.steps:
        raise CheckpointError(f"{start}: is past train.steps {config.train.steps}. Raise train.steps to continue.")
    for change in changes.values():
        print(f"resume: {change}.")
    return int(state["step"])


def _same_stages(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> bool:
    """Whether two curricula differ only in settings that may change."""
    return [_meaning(stage) for stage in old] == [_meaning(stage) for stage in new]


def _meaning(stage: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stage.items() if name not in FREE_IN_STAGE}


def _saved(folder: Path) -> Saved:
    """state.json; settings introduced later have their default, which is the behaviour of that time."""
    state = read_document(folder / STATE, SAVED, "Use another checkpoint of the run.", CheckpointError)
    defaults = as_plain(Config(data=DataConfig(dataset=Path()), run=RunConfig(out=Path())))
    groups = defaults | state["config"]
    state["config"] = {group: defaults.get(group, {}) | state["config"].get(group, {}) for group in groups}
    return state


def _changed_past(state: Saved, config: Config) -> bool:
    """Whether another `train.steps` means another learning rate for completed steps: the decay counts from the end."""
    old_steps, new_steps, decay_steps = state["config"]["train"]["steps"], config.train.steps, config.train.decay_steps
    last_done = state["step"] - 1
    return old_steps != new_steps and decay_steps > 0 and last_done > min(old_steps, new_steps) - decay_steps


def _check_disk(out: Path) -> None:
    """Raise before anything is computed that could not be saved; creates nothing if the folder does not exist."""
    try:
        disk = look(out)
    except DataError as error:
        raise ConfigError(f"run.out is {out}, which is not writable. {error}") from error
    for lack in disk.lacks():
        print(f"note: the disk of {disk.place} {lack}.")

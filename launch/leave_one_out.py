"""Leave one event out: for each event a training without it, evaluated on it; one table for all.

The dataset is built once; each training leaves the patches of its event out (`data.leave_out`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from data.dataset.open import fingerprint, open_dataset
from data.dataset.splits import same_ground
from data.disk import look
from data.errors import DataError
from data.sources.events import check_events
from data.storage import locked
from evaluation.folds import gather, read_results, write_folds
from evaluation.output import RESULTS
from evaluation.results import BEST
from generate.sampling import PUBLISHED, Sampling
from launch.accelerated import launch
from launch.demo import headline
from models import load_base
from train.config import Config, as_plain, changed_settings
from train.config_file import parse_config
from train.saving.run_files import CONFIG

FREE = ("run.",)  # settings that change no result


def leave_one_out(
    *,
    dataset: Path,
    config: Path,
    out: Path,
    events: str = "",
    limit: int | None = None,
    methods: str = "generated,copy,base",
    networks: str = "none",
    accelerate: Path | None = None,
    sampling: Sampling = PUBLISHED,
) -> None:
    """Train once without each event of a dataset, evaluate on that event, and collect one table.

    Events known to share their ground are left out together. Within the split that the config trains on, so that all
    other splits stay untouched. Run the same command again to continue: finished folds are kept. Writes a folder with
    `run` and `results` for each event, `leave-one-out.json` (every number) and `leave-one-out.tex`.

    Args:
        dataset: A folder made by `pre2post build`, with any kind of split.
        config: The experiment, as for `python -m train`; its dataset, data.leave_out and run.out are set here.
        out: The folder to write.
        events: Leave out only these, one at a time, separated by commas; by default each event of the split.
        limit: Evaluate at most this many patches of each event, evenly spread.
        methods: Rows of the tables, as of `pre2post evaluate`.
        networks: Which networks judge, as of `pre2post evaluate`, or `none`.
        sampling: How the images are sampled, as by `pre2post generate` with the same options.
        accelerate: A file of launch/accelerate; by default one process on this machine.
    """
    first = _config_of(config, dataset, out / "fold", ())
    split = first.data.split
    folds = folds_of(open_dataset(dataset, split)["event"][:], events)
    if sampling.scheduler is None:  # named, so that finished folds can be held against it
        usual = load_base(first.model.base).family.samplers[0]
        sampling = replace(sampling, scheduler=usual)  # type: ignore[arg-type]  # of models/samplers.py
    with locked(out):
        look(out)
        wanted = {"split": split, "dataset_fingerprint": fingerprint(dataset), "seed": sampling.seed, "limit": limit}
        wanted |= {name: value for name, value in sampling.described(0).items() if name != "size"}
        todo = {name: left_out for name, left_out in folds.items() if not (out / name / "results" / RESULTS).is_file()}
        for name in folds.keys() - todo.keys():
            _check_finished(out / name, _config_of(config, dataset, out / name / "run", folds[name]), wanted, methods)
        for number, (name, left_out) in enumerate(folds.items(), start=1):
            if name not in todo:
                print(f"{out / name}: finished already.")
                continue
            headline(f"{number}/{len(folds)} {name}", "train on all other events, measure on this one")
            run, results = out / name / "run", out / name / "results"
            given = _overrides(dataset, run, left_out)
            launch("train", "--config", str(config), *given, config_file=accelerate)
            options = {
                "checkpoint": run, "dataset": dataset, "out": results, "split": split, "events": ",".join(left_out),
                "limit": limit, "methods": methods, "networks": networks, **asdict(sampling),
            }  # fmt: skip
            launch("launch.cli", "evaluate", *_as_options(options), config_file=accelerate)
        table = write_folds(out, gather({name: out / name / "results" for name in folds}))
        print(f"\n{table}\n{out}: leave-one-out.json, leave-one-out.tex")


def folds_of(of_patches: Sequence[str], wanted: str = "") -> dict[str, list[str]]:
    """Name of a fold -> the events that are left out together.

    Args:
        of_patches: the event of every patch.
        wanted: names separated by commas; empty = every event.

    Raises:
        DataError: there is no such event, or only one ground.
    """
    ground = same_ground(dict.fromkeys(of_patches, 0), [])
    if len(set(ground.values())) < 2:
        raise DataError(
            f"leaving an event out needs two on different ground; the split has only {', '.join(sorted(ground))}."
        )
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    check_events(names, ground, "the split")
    chosen = sorted({ground[name] for name in names} or set(ground.values()))
    groups = [sorted(event for event, its in ground.items() if its == one) for one in chosen]
    return {"+".join(group): group for group in groups}


def _overrides(dataset: Path, run: Path, left_out: Sequence[str]) -> list[str]:
    return [
        f"--data.dataset={dataset}", f"--run.out={run}", f"--data.leave_out={json.dumps(list(left_out))}"
    ]  # fmt: skip


def _config_of(config: Path, dataset: Path, run: Path, left_out: Sequence[str]) -> Config:
    """The experiment of one fold; all errors in it are reported before the first training."""
    return parse_config(["--config", str(config), *_overrides(dataset, run, left_out)])


def _as_options(values: Mapping[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items() if value is not None]


def _check_finished(fold: Path, config: Config, wanted: Mapping[str, Any], methods: str) -> None:
    """Stop if a finished fold was made by another experiment."""
    path = fold / "run" / CONFIG
    try:
        old = TypeAdapter(dict[str, dict[str, Any]]).validate_python(yaml.safe_load(path.read_bytes()))
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"{path}: is not the config of a run. Delete {fold}, or name another --out.") from error
    changed = [name for name in changed_settings(old, as_plain(config)) if not name.startswith(FREE)]
    results = read_results(fold / "results")
    changed += [name for name, value in wanted.items() if results.get(name) != value]
    measured = {row.removesuffix(BEST) for row in (*results["rows"], *results["rows_without_images"])}
    changed += ["methods"] * (measured != {name.strip() for name in methods.split(",")})
    if changed:
        raise DataError(
            f"{fold}: finished with another {', '.join(changed)}. Change it back to continue, or name another --out."
        )

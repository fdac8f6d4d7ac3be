"""What can be chosen, and what happens when it goes."""

import shutil
from pathlib import Path

import pytest

from app.errors import AppError
from app.models import Models, runs_in
from app.picks import Picks
from generate.sampling import Sampling
from models.checkpoint import CheckpointError, step_folder
from tests.generate.worlds import write_micro_checkpoint


def test_the_choices(runs: Path, micro_base: Path) -> None:
    """Runs of a folder, a run itself, a checkpoint itself; the base last, `tiny` if none is named."""
    step = step_folder(runs / "plain/checkpoints", 10)
    names = Models([runs, step, runs / "plain", runs / "nowhere"], str(micro_base)).names()
    assert names[-1] == f"{micro_base} (the base alone)"
    assert sorted(names[:-1]) == sorted(map(str, [runs / "masked", runs / "plain", step]))
    assert Models([], None).names() == ["tiny", "tiny-mask", "tiny (the base alone)"]
    assert runs_in(runs / "plain") == [runs / "plain"] and runs_in(runs.parent / "x") == []


def test_a_checkpoint_that_vanishes_or_is_damaged_is_said(tmp_path: Path, micro_base: Path) -> None:
    models = Models([tmp_path], str(micro_base))
    run = write_micro_checkpoint(tmp_path / "run", micro_base)
    assert models.open(str(run)).trained.step == 10
    (next(run.rglob("*.safetensors"))).write_bytes(b"")
    shutil.copytree(run / "checkpoints/step-00000010", run / "checkpoints/step-00000011")
    with pytest.raises(CheckpointError, match="no valid checkpoint"):
        models.open(str(run))
    shutil.rmtree(run)
    with pytest.raises(AppError, match="is not there any more"):
        models.open(str(run))
    with pytest.raises(AppError, match="is not there any more"):
        models.open("/etc")
    assert models.open(models.names()[-1]).alone


def test_a_newer_checkpoint_is_used_and_one_is_in_memory(tmp_path: Path, micro_base: Path) -> None:
    models, sampling = Models([tmp_path], str(micro_base)), Sampling(steps=2)
    run = str(write_micro_checkpoint(tmp_path / "run", micro_base))
    first = models.open(run)
    assert models.open(run) is first
    networks = models.load(first, sampling)
    again = models.load(first, Sampling(scheduler="dpm++"))
    assert again.denoiser is networks.denoiser and type(again.sampler).__name__ == "DPMSolverMultistepScheduler"
    write_micro_checkpoint(tmp_path / "run", micro_base, step=20, seed=2)
    second = models.open(run)
    assert (first.trained.step, second.trained.step) == (10, 20)
    assert models.load(second, sampling).denoiser is not networks.denoiser


def test_what_a_base_alone_is(models: Models) -> None:
    alone = models.open(models.names()[-1])
    assert (alone.method, alone.target, alone.reads_metadata) == ("sdedit", "post", False)
    assert set(alone.facts()) == {"base", "base_unet_sha256", "strength"}
    assert models.load(alone, Sampling()).denoiser.controlnet is None


def test_a_sampler_that_does_not_fit_gives_way_to_the_usual_one(
    tmp_path: Path, models: Models, picks: Picks, runs: Path
) -> None:
    """One that fits stays chosen."""
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    from app.desk import Desk
    from app.handlers import Handlers

    handlers, alone = Handlers(Desk(models, picks, tmp_path)), models.names()[-1]
    for name, before, after in (
        (str(runs / "plain"), "euler", "euler"),
        (alone, "euler", "unipc"),
        (alone, "dpm++", "dpm++"),
        (str(runs / "plain"), "flow-euler", "unipc"),
    ):
        update = handlers.choose_model(name, before)[3]
        assert (update["value"], update["choices"]) == (after, models.open(name).samplers)

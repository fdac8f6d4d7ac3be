"""Which checkpoint a run starts from, and with which settings it may go on: nothing is recommended that cannot work."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from models.checkpoint import CheckpointError, read_state, step_folder, write_checkpoint
from tests.train.conftest import Arguments, run
from train.config import Config, DataConfig, RunConfig, as_plain
from train.config_file import parse_config
from train.errors import ConfigError
from train.preflight import _seen_before
from train.saving.resume import check_same_experiment, find_start
from train.saving.retention import set_aside
from train.saving.run_files import METRICS, read_metrics
from train.saving.run_folder import describe, open_run_folder

IDENTITY: Any = {"family": "stable_diffusion", "base_hash": "b", "dataset_fingerprint": "d", "started_from": []}
SCALE = {"resolution": 32, "patch_px": 32, "gsd_m": 0.5}
SAME: Any = {"is_base": "b".__eq__, "dataset_fingerprint": "d"}


def config_of(out: Path, **run: Any) -> Config:
    return Config(data=DataConfig(dataset=Path("d")), run=RunConfig(out=out, **run))


def write(out: Path, step: int, config: Config | None = None, **changes: Any) -> Path:
    """A checkpoint without weights, as a run of this config would describe it; its run folder too."""
    config = config or config_of(out)
    open_run_folder(replace(config, run=replace(config.run, out=out, go_back=False)), 0)
    folder = step_folder(out / "checkpoints", step)
    state = {"step": step, **describe(config, scale=SCALE, **IDENTITY), **changes}
    write_checkpoint(folder, state, lambda partial: None)
    return folder


def test_a_named_checkpoint_starts_an_empty_folder_and_a_newer_own_one_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named, out = write(tmp_path / "other", 4), tmp_path / "run"
    again = config_of(out, resume=str(named))
    assert find_start(again) == named
    own = write(out, 6)
    assert find_start(again) == own
    assert f"{own} is newer than run.resume {named}" in capsys.readouterr().out
    assert find_start(config_of(out)) == own


def test_an_older_own_one_goes_on_only_at_a_restart(tmp_path: Path) -> None:
    """The other run may have gone on since, or be gone: the words are those of the first start."""
    named, out = write(tmp_path / "other", 4), tmp_path / "run"
    same = config_of(out, resume=str(named.parent.parent))
    own = write(out, 3, same)
    assert find_start(same) == own
    assert find_start(config_of(out, resume=str(named))) == named
    gone = config_of(out, resume=str(tmp_path / "gone"))
    write(out, 3, gone)
    assert find_start(gone) == own


def test_going_back_keeps_what_lies_ahead_and_a_restart_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    losses = {2: 0.5, 4: 0.7, 6: 0.1}
    earlier, named, later = (write(out, step, validation_loss=loss) for step, loss in losses.items())
    (out / METRICS).write_text("".join(f'{{"step": {step}}}\n' for step in (2, 4, 6)))
    back = config_of(out, resume=str(named), go_back=True)
    assert find_start(config_of(out, resume=str(named))) == later
    assert find_start(back) == named
    open_run_folder(back, 4)
    aside = out / "checkpoints/set-aside-1" / later.name
    assert read_state(aside)["step"] == 6 and not later.exists()
    assert (out / "checkpoints/best").resolve() == earlier.resolve()  # the lowest loss of those that are left
    assert [line["step"] for line in read_metrics(out)] == [2, 4]
    assert find_start(back) == named  # stopped before anything was saved
    new = write(out, 5, back)
    assert find_start(back) == new
    open_run_folder(back, 5)
    assert find_start(config_of(out)) == new and aside.exists()
    set_aside(out / "checkpoints", 4)
    assert (out / "checkpoints/set-aside-2" / new.name).exists()


def changed(name: str, value: Any) -> Config:
    config, (group, setting) = config_of(Path("r")), name.split(".")
    return replace(config, **{group: replace(getattr(config, group), **{setting: value})})


CHANGES = {
    "train.precision": "fp16", "train.optimizer": "adamw8bit", "train.ema_decay": 0.9, "train.seed": 3,
    "train.global_batch": 64, "train.learning_rate": 1e-3, "objective.noise_offset": 0.1, "data.split": "test",
    "data.caption_styles": {"long": 1.0}, "model.lora_alpha": 8, "data.sequence": 2,
}  # fmt: skip
OTHER_NETWORKS = {
    "model.trained": "lora", "model.condition": "latents", "model.controlnet": "3d", "model.lora_rank": 4,
    "model.lora_targets": ["to_q"], "model.metadata": "control", "model.null_metadata": "zero",
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_the_refusal_recommends_is_enough(tmp_path: Path, name: str) -> None:
    start, new = write(tmp_path, 4), changed(name, CHANGES[name])
    with pytest.raises(CheckpointError) as error:
        check_same_experiment(start, new, **SAME)
    (allowed,) = re.findall(r"--run\.resume_allow='\[(.*)\]'", str(error.value))
    assert allowed == name
    new = replace(new, run=replace(new.run, resume_allow=allowed.split(",")))
    assert check_same_experiment(start, new, **SAME) == 4


@pytest.mark.parametrize("name", OTHER_NETWORKS)
def test_what_nothing_can_allow_is_said(tmp_path: Path, name: str) -> None:
    new = changed(name, OTHER_NETWORKS[name])
    new = replace(new, run=replace(new.run, resume_allow=[name]))
    with pytest.raises(CheckpointError, match=rf"{name} was .* gives another network.*new run\.out") as error:
        check_same_experiment(write(tmp_path, 4), new, **SAME)
    assert "resume_allow" not in str(error.value)


def test_a_setting_that_is_not_known_here_names_the_version_that_knows_it(tmp_path: Path) -> None:
    plain = as_plain(config_of(tmp_path))
    plain["train"]["warmth"] = 1
    start = step_folder(tmp_path, 4)
    state = {
        "step": 4,
        **describe(config_of(tmp_path), scale=SCALE, **IDENTITY),
        "config": plain,
        "commit": "abc",
    }
    write_checkpoint(start, state, lambda partial: None)
    with pytest.raises(CheckpointError, match=r"trained with train\.warmth.*commit abc"):
        check_same_experiment(start, config_of(tmp_path), **SAME)


@pytest.mark.parametrize(
    ("stage", "refused"),
    [("{from_step: 4, micro_batch: 1}", False), ("{from_step: 4, dataset: d2, micro_batch: 2}", False),
     ("{from_step: 5, micro_batch: 2}", True)],
)  # fmt: skip
def test_of_a_stage_what_changes_no_number_is_free(tmp_path: Path, stage: str, refused: bool) -> None:
    stages = "{from_step: 4, micro_batch: 2}", stage
    old, new = (parse_config(["--data.dataset=d", "--run.out=r", f"--train.curriculum=[{each}]"]) for each in stages)
    start = write(tmp_path, 4, old)
    if refused:
        with pytest.raises(CheckpointError, match=r"train\.curriculum was"):
            check_same_experiment(start, new, **SAME)
    else:
        assert check_same_experiment(start, new, **SAME) == 4


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (b'{"step": 4, "config": {"trai', "not valid JSON"),
        (b"\0" * 40, "not valid JSON"),
        (b"[]", "an object|dictionary"),
        (b'{"step": "four"}', "step is"),
        (b'{"step": 4, "config": {"train": 5}}', r"config\.train is"),
    ],
)
def test_a_state_that_is_none_is_named(tmp_path: Path, spoilt: bytes, said: str) -> None:
    start = write(tmp_path, 4)
    (start / "state.json").write_bytes(spoilt)
    with pytest.raises(CheckpointError, match=rf"state\.json: .*({said})"):
        check_same_experiment(start, config_of(tmp_path), **SAME)


LINES = st.lists(st.integers(1, 99).map(lambda step: f'{{"step": {step}}}'.encode()), max_size=4)
NO_LINES = st.one_of(st.binary(max_size=9), st.sampled_from([b"\0" * 40, b'{"step": 1', b"[1]", b'{"loss": 1}', b"3"]))


@given(LINES, st.lists(NO_LINES.filter(lambda line: b"\n" not in line), max_size=3), st.sampled_from([b"", b"\n"]))
def test_what_a_crash_leaves_at_the_end_of_the_metrics_does_not_count(
    lines: list[bytes], junk: list[bytes], end: bytes
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        content = b"".join(line + b"\n" for line in lines) + b"\n".join(junk) + end
        patch.setattr(Path, "is_file", lambda path: True)
        patch.setattr(Path, "read_bytes", lambda path: content)
        assert read_metrics(Path("run")) == [json.loads(line) for line in lines]


def test_what_stands_between_the_metrics_is_named(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"step": 1}\nnot mine\n{"step": 2}\n')
    with pytest.raises(ConfigError, match=r"metrics\.jsonl: line 2 is no line of metrics"):
        read_metrics(tmp_path)


def test_what_the_checkpoint_lacks_starts_anew(
    tmp_path: Path, arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another optimizer and precision, and an average that was not kept: each begins as in a fresh run."""
    pytest.importorskip("bitsandbytes")
    run(arguments("run", "--train.steps=3"))
    new = ["--train.optimizer=adamw8bit", "--train.precision=fp16", "--train.ema_decay=0.9", "--train.steps=4"]
    allowed = "--run.resume_allow=[train.optimizer,train.precision,train.ema_decay]"
    assert run(arguments("run", *new, "--run.save_every=1", allowed)) == 0
    assert "newly initialised: the EMA, the optimizer's moments, the loss scale" in capsys.readouterr().out
    before, after = (step_folder(tmp_path / "run/checkpoints", step) for step in (3, 4))
    name = "controlnet/diffusion_pytorch_model.safetensors"
    old, weights, average = (load_file(path) for path in (before / name, after / name, after / "ema" / name))
    decay = 4 / 13  # of the fourth update: (1 + 3) / (10 + 3), below the limit of 0.9
    for key in old:
        torch.testing.assert_close(average[key], decay * old[key] + (1 - decay) * weights[key])


BOTH = ("--model.trained=controlnet+lora", "--model.lora_rank=2")


def test_a_new_run_starts_from_the_weights_of_another_and_goes_on_without_it(
    tmp_path: Path, arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    """From those that images are made with; a learning rate of next to nothing leaves them as they are."""
    run(arguments("old", *BOTH, "--train.ema_decay=0.5", "--train.steps=2"))
    start = (*BOTH, f"--model.start={tmp_path / 'old'}", "--train.learning_rate=1e-30", "--train.warmup_steps=0")
    run(arguments("new", *start, "--train.steps=1"))
    assert f"starting from the weights of {tmp_path / 'old'}" in capsys.readouterr().out
    old, new = (step_folder(tmp_path / f"{name}/checkpoints", step) for name, step in (("old", 2), ("new", 1)))
    for part in ("controlnet/diffusion_pytorch_model.safetensors", "lora/pytorch_lora_weights.safetensors"):
        averaged, live, copied = (load_file(path / part) for path in (old / "ema", old, new))
        assert any((averaged[name] != live[name]).any() for name in averaged)
        for name, weight in averaged.items():
            torch.testing.assert_close(copied[name], weight, rtol=0, atol=1e-20)
    seen = [{"datasets": [read_state(old)["dataset_fingerprint"]], "split": "train", "leave_out": []}]
    shutil.rmtree(tmp_path / "old")
    assert run(arguments("new", *start, "--train.steps=2")) == 0
    assert read_state(new)["started_from"] == seen
    assert read_state(step_folder(tmp_path / "new/checkpoints", 2))["started_from"] == seen


def test_what_weights_have_seen_before_is_kept(tmp_path: Path) -> None:
    """Of the checkpoint they started from and all before it; and of the own run, where it goes on with other data."""
    before = {"datasets": ["a"], "split": "train", "leave_out": ["flood"]}
    old = write(tmp_path / "old", 4, started_from=[before], resolution=64, prompt="a flood")
    own = {"datasets": ["d"], "split": "train", "leave_out": []}
    assert _seen_before(None, None, {}) == []
    assert _seen_before(None, old, {"dataset_fingerprint": "d"}) == [own, before]
    assert _seen_before(old, None, {"dataset_fingerprint": "d"}) == [before]
    assert _seen_before(old, None, {"dataset_fingerprint": "e"}) == [own, before]


REFUSED = {
    "--model.trained=controlnet": r"of model\.trained controlnet\+lora, not controlnet\. Set that to controlnet\+lora",
    "--model.condition=latents": r"of model\.condition pixels, not latents",
    "--model.lora_rank=3": r"not those of this config's network\. Set `model`",
    "--model.base=tiny": r"trained on another base .* than model\.base tiny",
    "--model.start=nowhere": r"nowhere: no such folder",
}


def test_weights_that_do_not_fit_are_refused_before_anything_is_computed(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("old", *BOTH, "--train.warmup_steps=0", "--train.steps=1"))
    for other, said in REFUSED.items():
        with pytest.raises(CheckpointError, match=said):
            run(arguments("new", *BOTH, f"--model.start={tmp_path / 'old'}", other))
        assert not (tmp_path / "new/checkpoints").exists()

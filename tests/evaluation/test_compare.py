"""Checkpoints of several families in one table."""

import io
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation.compare import compare
from evaluation.errors import EvaluationError
from evaluation.estimate import weighted_mean
from evaluation.run import evaluate
from generate.generator import load_generator
from generate.sampling import Sampling
from launch.cli import main
from models.checkpoint import CheckpointError, read_state, seal, step_folder
from tests.evaluation.small_networks import use_small_networks
from tests.evaluation.test_run import results
from tests.families import MICRO
from tests.generate.worlds import PATCH_PX, patch_row, write_dataset, write_kind

STEPS = Sampling(steps=2, seed=50)
PATCHES = 6
LARGE = 48  # px, of one of the checkpoints
KINDS = {"sd": "stable_diffusion", "xl": "sdxl", "three": "stable_diffusion_3"}


def recording(run: Path, **fields: Any) -> Path:
    """The run with another record of its training."""
    folder = step_folder(run / "checkpoints", 20)
    state = read_state(folder) | fields
    (folder / "MANIFEST.json").unlink()
    seal(folder, state)
    return run


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {name: MICRO[kind](folder / name) for name, kind in KINDS.items()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, bases: dict[str, Path]) -> dict[str, Path]:
    """A ControlNet on each; the second makes larger images of captions of another style."""
    folder = tmp_path_factory.mktemp("runs")
    found = {
        name: write_kind(folder / name, base, "controlnet", "latents" if name == "three" else "pixels")
        for name, base in bases.items()
    }
    recording(found["xl"], resolution=LARGE, caption_style="long")
    return found


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patches of as many scenes, with captions of two styles."""
    rows = [patch_row(index) for index in range(PATCHES)]
    for row in rows:
        row["captions"] += [{**one, "style": "long", "text": f"{one['text']}, seen"} for one in row["captions"]]
    return write_dataset(tmp_path_factory.mktemp("datasets") / "d64", rows)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, runs: dict[str, Path], scenes: Path) -> Path:
    out = tmp_path_factory.mktemp("compared") / "out"
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_small_networks(monkeypatch)
        compare(checkpoints=[str(run) for run in runs.values()], dataset=scenes, out=out, sampling=STEPS)
    return out


@pytest.mark.parametrize(("name", "scheduler"), [("sd", "ddim"), ("three", "flow-euler")])
def test_a_row_has_the_numbers_of_its_own_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compared: Path, runs: dict[str, Path], scenes: Path,
    name: str, scheduler: Any,
) -> None:  # fmt: skip
    use_small_networks(monkeypatch)
    sampling = Sampling(steps=2, seed=50, scheduler=scheduler)
    evaluate(checkpoint=runs[name], dataset=scenes, out=tmp_path / "out", methods="generated,copy", sampling=sampling)
    alone, together = results(tmp_path / "out"), results(compared)
    for row, own in ((name, "generated"), ("copy", "copy")):
        assert together["summary"][row] == alone["summary"][own]
        assert together["sets"][row] == alone["sets"][own]
        for ours, theirs in zip(together["per_patch"], alone["per_patch"], strict=True):
            assert ours["scores"][row] == theirs["scores"][own] and ours["seeds"] == theirs["seeds"]
    assert together[f"{name}_less_copy"] == alone["generated_less_copy"]
    assert together["by_event"]["larkmere-flooding"][name] == alone["by_event"]["larkmere-flooding"]["generated"]
    facts = {key: value for key, value in alone.items() if key in together["checkpoints"][name]}
    assert together["checkpoints"][name] == facts


def test_larger_images_are_compared_at_the_side_of_the_smallest(compared: Path) -> None:
    """By Pillow: 48 px are no multiple of 32, so LANCZOS."""
    content = results(compared)
    assert list(content["rows"]) == ["sd", "xl", "three", "copy"] and content["size"] == 32
    for index, patch in enumerate(content["per_patch"]):
        with Image.open(io.BytesIO(patch_row(index)["post"]["bytes"])) as image:
            post = np.asarray(image.resize((32, 32), Image.Resampling.BOX), float)
        with Image.open(compared / "images/xl" / f"{patch['patch_id']}.png") as image:
            assert image.size == (LARGE, LARGE)
            made = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS), float)
        expected = ((made - post) ** 2).mean() / 255**2
        assert patch["scores"]["xl"][0]["whole"]["mse"] == pytest.approx(expected, rel=1e-9)


def test_what_was_not_alike_is_said_in_every_output(compared: Path) -> None:
    notes = results(compared)["notes"]
    said = [
        "Images are compared at 32 px; those of xl (48 px) were resized to it.",
        "Each checkpoint was given captions of its training's style: sd short, xl long, three short. CLIP-scores are "
        "of each one's own captions; those of sd are shown.",
        "ddim does not solve the base of three; it was sampled by flow-euler.",
    ]
    assert notes[:3] == said
    for file in ("report.html", "results.tex"):
        written = (compared / file).read_text()
        assert all(sentence.replace("'", "&#x27;") in written or sentence in written for sentence in said)
    prompts = [json.loads(line)["prompt"] for line in (compared / "images/xl/manifest.jsonl").read_text().splitlines()]
    assert sorted(prompts) == [f"a town after flood number {index}, seen" for index in range(PATCHES)]


def test_checkpoints_are_held_against_copying_and_the_first(compared: Path) -> None:
    """The paired difference, by hand; one sentence and one figure for each pair and area."""
    content, page = results(compared), (compared / "report.html").read_text()
    assert [key for key in content if "_less_" in key] == [
        "sd_less_copy", "xl_less_copy", "xl_less_sd", "three_less_copy", "three_less_sd",
    ]  # fmt: skip
    mse = {
        row: np.array([patch["scores"][row][0]["inside"]["mse"] for patch in content["per_patch"]])
        for row in ("sd", "xl")
    }
    less, names = mse["xl"] - mse["sd"], [patch["scene_id"] for patch in content["per_patch"]]
    found, expected = content["xl_less_sd"]["inside"], weighted_mean(less[:, None], np.ones(PATCHES), names)
    assert (found["value"], found["low"]) == pytest.approx((expected.value, expected.low))
    assert page.count("xl minus sd") == page.count("three minus copied") == 2
    won = (mse["sd"] < [patch["scores"]["copy"][0]["inside"]["mse"] for patch in content["per_patch"]]).sum()
    assert f"<b>{won} of {PATCHES}</b><span>patches where generating beats copying inside the changed area (sd)" in page
    assert "<title>Comparison of sd, xl, three</title>" in page
    assert "The images of this checkpoint: checkpoint " in page and page.count("<img ") == PATCHES * (2 + 3 + 2)


def test_at_a_resolution_of_choice(tmp_path: Path, runs: dict[str, Path], scenes: Path) -> None:
    """Copying is then exact where nothing changed, and its error that of the patches themselves."""
    out = tmp_path / "out"
    compare(
        checkpoints=[f"a={runs['sd']}", f"b={runs['sd']}"], dataset=scenes, out=out, resolution=PATCH_PX, limit=2,
        networks="none", sampling=Sampling(steps=1),
    )  # fmt: skip
    content = results(out)
    assert content["size"] == PATCH_PX and content["summary"]["copy"]["outside"]["mse"]["value"] == 0
    assert content["per_patch"][0]["scores"]["a"] == content["per_patch"][0]["scores"]["b"]
    assert content["notes"][0] == "Images are compared at 64 px; those of a (32 px), b (32 px) were resized to it."
    with pytest.raises(EvaluationError, match="resolution is 30; expected a multiple of 8 px"):
        compare(checkpoints=["a"], dataset=scenes, out=out, resolution=30)


def test_one_set_of_networks_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: dict[str, Path], scenes: Path
) -> None:
    seen: list[weakref.ref[Any]] = []

    def counted(*given: Any) -> Any:
        assert all(one() is None for one in seen)
        made = load_generator(*given)
        seen.extend(map(weakref.ref, (made.denoiser, made.denoiser.unet, made.vae, made.text_encoder)))
        return made

    monkeypatch.setattr("generate.editing.methods.load_generator", counted)
    compare(
        checkpoints=[str(run) for run in runs.values()], dataset=scenes, out=tmp_path / "out", limit=1,
        networks="none", sampling=Sampling(steps=1),
    )  # fmt: skip
    assert len(seen) == 4 * len(runs)


def test_goes_on_and_is_replaced_like_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: dict[str, Path], scenes: Path
) -> None:
    given: dict[str, Any] = {"dataset": scenes, "out": tmp_path / "out", "networks": "none", "limit": 1}
    given |= {"sampling": Sampling(steps=1)}
    compare(checkpoints=[str(runs["sd"])], **given)
    with pytest.raises(EvaluationError, match="--overwrite"):
        compare(checkpoints=[str(runs["sd"])], **given)
    with pytest.raises(EvaluationError, match="holds sd: not"):
        compare(checkpoints=[str(runs["xl"])], **given, overwrite=True)
    monkeypatch.setattr("generate.editing.methods.load_generator", lambda *_: pytest.fail("loaded"))
    compare(checkpoints=[str(runs["sd"])], **given, overwrite=True)
    assert list(results(tmp_path / "out")["rows"]) == ["sd", "copy"]


def _past(runs: dict[str, Path], folder: Path) -> list[str]:
    return [str(runs["sd"]), str(recording(write_kind(folder / "past", _base(runs), "lora"), direction="past"))]


def _base(runs: dict[str, Path]) -> Path:
    return Path(read_state(step_folder(runs["sd"] / "checkpoints", 20))["base"]["name"])


def _moved(runs: dict[str, Path], folder: Path) -> list[str]:
    run = write_kind(folder / "moved", _base(runs), "lora")
    return [str(runs["sd"]), str(recording(run, base={"name": "/gone", "unet_sha256": "0" * 64}))]


def _masks(runs: dict[str, Path], folder: Path) -> list[str]:
    return [str(runs["sd"]), str(write_kind(folder / "masks", _base(runs), "controlnet", "pixels+mask"))]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda runs, _: [str(runs["sd"]), "/nowhere"], r"/nowhere: no such folder"),
        (lambda runs, _: [str(runs["sd"]), str(runs["sd"])], "would both be called sd. Name the row: --checkpoints"),
        (lambda runs, _: [f"copy={runs['sd']}"], "would be called copy, which is a row by itself"),
        (lambda runs, _: [f"Real={runs['sd']}"], "would be called Real, which is a row by itself"),
        (lambda runs, _: [f"a b={runs['sd']}"], "'a b' names no row"),
        (lambda runs, _: [f"../x={runs['sd']}"], r"'\.\./x' names no row"),
        (_past, "trained with data.direction past"),
        (_moved, r"its base is not where the training found it.*--base"),
        (_masks, r"has no damage mask"),
    ],
)  # fmt: skip
def test_mistakes_are_one_message_before_any_weight_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: dict[str, Path],
    asked: Callable[[dict[str, Path], Path], list[str]], said: str,
) -> None:  # fmt: skip
    unlabelled = write_dataset(tmp_path / "d", [patch_row(index, damage_mask=None) for index in range(2)])
    checkpoints = asked(runs, tmp_path)
    monkeypatch.setattr("models.base.Base._load", lambda *_: pytest.fail("loaded"))
    with pytest.raises(ValueError, match=said) as error:
        compare(checkpoints=checkpoints, dataset=unlabelled, out=tmp_path / "out")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_a_split_that_is_not_there_and_a_base_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], runs: dict[str, Path],
    bases: dict[str, Path], scenes: Path,
) -> None:  # fmt: skip
    """By the command: lists are written without brackets."""
    line = ["pre2post", "compare", "--dataset", str(scenes), "--out", str(tmp_path / "out"), "--checkpoints"]
    line += [f"one={runs['sd']}", f"two={runs['xl']}"]
    for more, said in (
        (["--split", "holdout"], "holdout"),
        (["--base", "three=/x"], "base: 'three=/x' names no checkpoint. Expected NAME=FOLDER_OR_ID with a NAME of one"),
        (["--base", f"one={bases['xl']}"], "family stable_diffusion, but"),
        (["--base", "two"], "base: 'two' names no checkpoint."),
    ):  # fmt: skip
        monkeypatch.setattr("sys.argv", [*line, *more])
        assert main() == 2
        assert said in capsys.readouterr().err
    monkeypatch.setattr("evaluation.compare.make_rows", lambda out, trained, parts, *_, **__: print(parts.name))
    monkeypatch.setattr("evaluation.compare.conclude", lambda *_, **__: None)
    moved = bases["xl"].rename(tmp_path / "moved")
    try:
        with pytest.raises(CheckpointError, match="its base is not where"):
            compare(checkpoints=[str(runs["xl"])], dataset=scenes, out=tmp_path / "out")
        monkeypatch.setattr("sys.argv", [*line, "--base", f"two={moved}"])
        assert main() == 0
        assert str(moved) in capsys.readouterr().out
    finally:
        moved.rename(bases["xl"])

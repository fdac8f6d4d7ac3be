"""A published folder: its card's own code gives the image of `pre2post generate`; nothing else gets out."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

from data.dataset.manifest import FILE_NAME
from evaluation.run import evaluate
from generate.checkpoint import PARTS, open_base, open_checkpoint
from generate.generator import load_generator
from generate.run import generate
from generate.sampling import Sampling
from launch.cli import main
from models import load_base
from models.checkpoint import fault_of, read_state, seal, step_folder
from publish.errors import PublishError
from publish.run import PROMPT, publish
from publish.snippet import stock_of
from tests.generate.worlds import patch_row, write_dataset, write_image, write_kind, write_micro_checkpoint
from tests.publish.conftest import STEPS
from tests.publish.worlds import OTHER, SIMULATED, XBD, trained_on


def recording(run: Path, step: int, **fields: Any) -> Path:
    """The same run with another record of its training."""
    folder = step_folder(run / "checkpoints", step)
    state = read_state(folder) | fields
    (folder / "MANIFEST.json").unlink()
    seal(folder, state)
    return run


def card_of(out: Path) -> tuple[dict[str, Any], str]:
    """Front matter and text."""
    _, front, text = (out / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


def shown_by_the_card(out: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """What the card's code makes, run as it stands in the folder above."""
    found = re.search(r"```python\n(.*?)\n```", card_of(out)[1], re.DOTALL)
    assert found
    monkeypatch.chdir(out.parent)
    exec(compile(found[1], "README.md", "exec"), {})
    return np.asarray(Image.open(out.parent / "post.png")).astype(int)


@pytest.mark.parametrize(
    ("trained", "side", "patch_px"),
    [("controlnet", 32, None), ("controlnet", 64, 64), ("lora", 32, None), ("controlnet+lora", 32, None)],
)
def test_the_cards_code_gives_the_image_of_generate(
    tmp_path: Path, micro_base: Path, monkeypatch: pytest.MonkeyPatch, trained: str, side: int, patch_px: int | None
) -> None:
    if patch_px:
        run = write_micro_checkpoint(tmp_path / "run", micro_base, patch_px=patch_px, averaged=True)
    else:
        run = write_kind(tmp_path / "run", micro_base, trained)
        recording(run, 20, metadata="base")  # as training writes it: of this base that means none
    out, pre = tmp_path / "shared", write_image(tmp_path / "pre.png", side=side)
    publish(checkpoint=run, out=out, base_id=str(micro_base), dataset=trained_on(tmp_path / "d", SIMULATED))
    images, small = [], tmp_path / "small.png"  # reduced by hand, since an image of `generate` is as large as the file
    Image.open(pre).resize((32, 32), Image.Resampling.BOX).save(small)
    for name, checkpoint, base in (("ours", run, None), ("again", out, str(micro_base))):
        generate(checkpoint=checkpoint, base=base, pre=small, window=32, prompt=PROMPT, out=tmp_path / name,
                 sampling=Sampling(steps=STEPS))  # fmt: skip
        images.append(np.asarray(Image.open(tmp_path / name / "small.png")).astype(int))
    assert (images[0] == images[1]).all()  # the folder is a checkpoint too
    shown = shown_by_the_card(out, monkeypatch)
    assert shown.std() > 1 and np.abs(shown - images[0]).max() <= 1


@pytest.mark.parametrize("trained", ["controlnet", "controlnet+lora"])
def test_half_the_bits_give_nearly_the_same_image(tmp_path: Path, micro_base: Path, trained: str) -> None:
    run, images, sizes = write_kind(tmp_path / "run", micro_base, trained), [], []
    data, pre = trained_on(tmp_path / "d", SIMULATED), write_image(tmp_path / "pre.png", side=32)
    for half in (False, True):
        out = tmp_path / f"half-{half}"
        publish(checkpoint=run, out=out, base_id=str(micro_base), dataset=data, half=half)
        generate(checkpoint=out, pre=pre, prompt=PROMPT, out=out.with_suffix(".images"), sampling=Sampling(steps=STEPS))
        images.append(np.asarray(Image.open(out.with_suffix(".images") / "pre.png")).astype(int))
        tensors = [load_file(path) for path in out.rglob("*.safetensors")]
        sizes.append(sum(tensor.nbytes for each in tensors for tensor in each.values()))
    assert sizes[0] == 2 * sizes[1] and np.abs(images[0] - images[1]).max() <= 2


def test_nothing_of_this_machine_gets_out(tmp_path: Path, run: Path, micro_base: Path) -> None:
    out = tmp_path / "shared"
    publish(checkpoint=run, out=out, base_id="lab/base", dataset=trained_on(tmp_path / "d", SIMULATED))
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names == {"README.md", "MANIFEST.json", "state.json", "pictures.png", "controlnet/config.json",
                     "controlnet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"}  # fmt: skip
    for name in names:
        content = (out / name).read_bytes()
        assert str(tmp_path).encode() not in content and str(micro_base).encode() not in content, name
    assert fault_of(out) is None and read_state(out)["base"]["name"] == "lab/base"


@pytest.mark.parametrize(
    ("event", "licence", "with_pictures"),
    [(SIMULATED, "other", True), (XBD, "cc-by-nc-sa-4.0", False), (OTHER, "other", False)],
)
def test_licence_and_pictures_follow_from_the_data(
    tmp_path: Path, run: Path, event: str, licence: str, with_pictures: bool
) -> None:
    data, out = trained_on(tmp_path / "d", event), tmp_path / "shared"
    publish(checkpoint=run, out=out, base_id="lab/base", dataset=data)
    front, text = card_of(out)
    assert (front["license"], front["base_model"]) == (licence, "lab/base")
    assert (out / "pictures.png").exists() == with_pictures == ("pictures.png" in text)
    assert ("no commercial use" in text) == (event == XBD) and "Not measured." in text
    publish(checkpoint=run, out=out, base_id="lab/base", dataset=data, pictures="any", overwrite=True)
    assert (out / "pictures.png").exists()
    publish(checkpoint=run, out=out, base_id="lab/base", dataset=data, pictures="none", overwrite=True)
    assert not (out / "pictures.png").exists()
    if event == XBD:
        with pytest.raises(PublishError, match=r"inherit cc-by-nc-sa-4\.0"):
            publish(checkpoint=run, out=tmp_path / "x", base_id="lab/base", dataset=data, licence="mit")
    else:
        publish(checkpoint=run, out=tmp_path / "y", base_id="lab/base", dataset=data, licence="mit")
        assert card_of(tmp_path / "y")[0]["license"] == "mit"


def test_the_numbers_are_those_of_the_evaluation(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = write_dataset(tmp_path / "measured", [patch_row(0), patch_row(1)])
    evaluate(checkpoint=run, dataset=measured, out=tmp_path / "scores", networks="none", sampling=Sampling(steps=2))
    data = trained_on(tmp_path / "d", SIMULATED)
    publish(checkpoint=run, out=tmp_path / "o", base_id="lab/b", dataset=data, results=tmp_path / "scores")
    front, text = card_of(tmp_path / "o")
    summary = json.loads((tmp_path / "scores/results.json").read_text())["summary"]
    inside = summary["generated"]["inside"]["psnr"]["value"]
    (row,) = [line for line in text.splitlines() if line.startswith("| generated |")]
    assert f"| {inside:.2f} |" in row and f"| {summary['generated']['whole']['mse']['value']:.5f} |" in row
    (copied,) = [line for line in text.splitlines() if line.startswith("| copy")]
    assert f"| {summary['copy']['outside']['ssim']['value']:.3f} |" in copied
    metrics = {one["name"]: one["value"] for one in front["model-index"][0]["results"][0]["metrics"]}
    assert metrics["PSNR inside"] == pytest.approx(inside)
    assert "num_inference_steps=2," in text and "a town after flood number 0" in text  # as it was measured
    assert "on xBD the damaged buildings" in text and str(tmp_path) not in text
    base = read_state(step_folder(run / "checkpoints", 10))["base"]["name"]
    other = write_micro_checkpoint(tmp_path / "other", Path(base), seed=5)
    with pytest.raises(PublishError, match="measures another checkpoint"):
        publish(checkpoint=other, out=tmp_path / "p", base_id="lab/b", dataset=data, results=tmp_path / "scores")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"checkpoint_sha256": 3}'])
def test_broken_results_are_one_message(tmp_path: Path, run: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(PublishError, match=r"results\.json: .*Name the folder that `pre2post evaluate` wrote"):
        publish(checkpoint=run, out=tmp_path / "o", base_id="lab/b", dataset=trained_on(tmp_path / "d", SIMULATED),
                results=tmp_path)  # fmt: skip
    assert not (tmp_path / "o").exists()


def test_every_stage_of_a_curriculum_counts(tmp_path: Path, run: Path) -> None:
    """Simulated scenes first, xBD later: the licence of xBD; without knowing what came later nothing is published."""
    first, later = trained_on(tmp_path / "d", SIMULATED), trained_on(tmp_path / "e", XBD)
    (later / FILE_NAME).write_text((later / FILE_NAME).read_text().replace("0" * 64, "1" * 64))
    config = {"data": {"dataset": str(first)}, "train": {"curriculum": [{"from_step": 5, "dataset": str(later)}]}}
    recording(run, 10, dataset_fingerprint="0" * 64 + "+" + "1" * 64, config=config)
    publish(checkpoint=run, out=tmp_path / "o", base_id="lab/b")
    assert card_of(tmp_path / "o")[0]["license"] == "cc-by-nc-sa-4.0" and not (tmp_path / "o/pictures.png").exists()
    later.rename(tmp_path / "moved")
    with pytest.raises(PublishError, match="which is not there any more"):
        publish(checkpoint=run, out=tmp_path / "p", base_id="lab/b")
    publish(checkpoint=run, out=tmp_path / "p", base_id="lab/b", dataset=tmp_path / "moved")


def test_the_card_names_what_was_trained_on(tmp_path: Path, run: Path) -> None:
    data = trained_on(tmp_path / "d", SIMULATED)
    manifest = json.loads((data / FILE_NAME).read_text())
    events = {SIMULATED: {"splits": {"train": 1}}, "harrow-plain-wind": {"splits": {"test": 1}},
              "redgum-ridge-fire": {"splits": {"train": 1}}}  # fmt: skip
    (data / FILE_NAME).write_text(json.dumps(manifest | {"events": events}))
    recording(run, 10, config={"data": {"split": "train", "leave_out": ["redgum-ridge-fire"]}})
    publish(checkpoint=run, out=tmp_path / "o", base_id="lab/b", dataset=data)
    text = card_of(tmp_path / "o")[1]
    assert f"| events | {SIMULATED} |" in text and "| events left out | redgum-ridge-fire |" in text


def test_a_run_that_began_on_other_data_needs_its_licence(tmp_path: Path, run: Path) -> None:
    data = trained_on(tmp_path / "d", SIMULATED)
    recording(run, 10, config={"data": {"dataset": str(data)}, "run": {"resume_allow": ["data.dataset"]}})
    said = r"other data before, whose place it does not record.*--licence"
    with pytest.raises(PublishError, match=said):
        publish(checkpoint=run, out=tmp_path / "o", base_id="lab/b")
    publish(checkpoint=run, out=tmp_path / "o", base_id="lab/b", licence="cc-by-nc-sa-4.0")
    assert not (tmp_path / "o/pictures.png").exists()
    earlier = [{"datasets": ["1" * 64], "split": "train", "leave_out": []}]
    recording(run, 10, config={"data": {"dataset": str(data)}}, started_from=earlier)
    with pytest.raises(PublishError, match=said):
        publish(checkpoint=run, out=tmp_path / "p", base_id="lab/b")


def test_kinds_that_diffusers_does_not_know_name_the_command(tmp_path: Path, micro_base: Path) -> None:
    run = write_kind(tmp_path / "run", micro_base, "controlnet", condition="latents")
    publish(checkpoint=run, out=tmp_path / "o", base_id="lab/b", dataset=trained_on(tmp_path / "d", SIMULATED))
    text = card_of(tmp_path / "o")[1]
    assert "pre2post generate --checkpoint o --base lab/b --pre pre.png" in text and "```python" not in text
    run, parts = write_kind(tmp_path / "usual", micro_base, "controlnet"), load_base(micro_base)
    assert stock_of(open_checkpoint(run), parts)
    assert stock_of(open_checkpoint(recording(run, 20, text_chunks=4)), parts) is None
    recording(run, 20, text_chunks=1)
    config = step_folder(run / "checkpoints", 20) / "controlnet/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_metadata": True}))
    assert stock_of(open_checkpoint(recording(run, 20)), parts) is None


def mistakes(tmp_path: Path) -> Iterator[tuple[list[str], str]]:
    """Options, and what is said."""
    known = f"--dataset={trained_on(tmp_path / 'd', SIMULATED)}"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("mine")
    new = f"--out={tmp_path / 'new'}"
    yield [new, known], "a folder of this machine. Name where others find it: --base-id"
    yield [new, "--base-id=a/b"], "a dataset whose place it does not record"
    yield [new, "--base-id=a/b", f"--dataset={tmp_path / 'gone'}"], "which is not there"
    other = write_dataset(tmp_path / "other", [patch_row(0)])
    yield [new, "--base-id=a/b", f"--dataset={other}"], "was not trained on it"
    yield [f"--out={tmp_path / 'mine'}", known, "--base-id=a/b", "--overwrite"], "is not (only) a published folder"
    yield [new, known, "--base-id=a/b", "--push-to-hub=nobody"], "expected ORGANISATION/NAME"
    yield [new, known, "--base-id=a/b", f"--results={tmp_path / 'none'}"], "no such file"


def test_mistakes_are_one_message_and_write_nothing(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, said in mistakes(tmp_path):
        monkeypatch.setattr("sys.argv", ["pre2post", "publish", f"--checkpoint={run}", *options])
        assert main() == 2
        error = capsys.readouterr().err
        assert said in error and error.startswith("error: ") and error.count("\n") == 1
        assert not (tmp_path / "new").exists() and (tmp_path / "mine/letter.txt").read_text() == "mine"


def test_a_published_folder_is_replaced_only_when_asked(tmp_path: Path, run: Path) -> None:
    given: dict[str, Any] = {"base_id": "lab/b", "dataset": trained_on(tmp_path / "d", SIMULATED)}
    publish(checkpoint=run, out=tmp_path / "o", **given)
    with pytest.raises(PublishError, match="Add --overwrite"):
        publish(checkpoint=run, out=tmp_path / "o", **given)
    (tmp_path / "o/notes.txt").write_text("mine")
    with pytest.raises(PublishError, match=r"notes\.txt"):
        publish(checkpoint=run, out=tmp_path / "o", overwrite=True, **given)


@pytest.mark.parametrize("kind", ["controlnet-lora", "t2i-adapter"])
def test_a_light_conditioner_is_published_whole(tmp_path: Path, micro_base: Path, kind: str) -> None:
    """The folder is itself a checkpoint for `pre2post generate`, and the card says how."""
    run, dataset = write_kind(tmp_path / "run", micro_base, kind), trained_on(tmp_path / "dataset", SIMULATED)
    out = tmp_path / "out"
    publish(checkpoint=run, out=out, base_id="someone/base", dataset=dataset, licence="apache-2.0")
    published = open_checkpoint(out)
    load_generator(published, open_base(published, str(micro_base)), Sampling())
    for part in PARTS[kind]:
        weights = next((out / part).glob("*.safetensors")).name
        assert (out / part / weights).read_bytes() == (open_checkpoint(run).folder / part / weights).read_bytes()
    assert "pre2post generate --checkpoint out" in (out / "README.md").read_text()

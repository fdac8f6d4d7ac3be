"""Protocols: what they fix, the published numbers beside ours; lists of patches; judges of others."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from evaluation.compare import compare
from evaluation.damage.score import CLASSES
from evaluation.errors import EvaluationError
from evaluation.metrics.networks import clip_of
from evaluation.protocol import PROTOCOLS, read_protocol
from evaluation.run import evaluate
from generate.sampling import Sampling
from tests.evaluation.small_networks import small_clip_model, use_small_networks
from tests.evaluation.test_run import results
from tests.generate.worlds import patch_row, write_dataset, write_kind

PATCHES = 5
CONTENT: dict[str, Any] = {
    "title": "five towns", "source": "nowhere", "needs": "five names.", "resolution": 32, "networks": "clip",
    "scheduler": "ddim", "steps": 2, "guidance_scale": 1.0, "seed": 7,
    "published": [
        {"row": "Somebody", "source": "2024", "values": {"psnr": 12.5}},
        {"row": "Another", "source": "2025", "values": {"ssim": 0.25, "damage_f1": 0.5}},
    ],
}  # fmt: skip
NO_DAMAGE = """
import numpy as np

def classify(pre, post):
    assert pre.dtype == post.dtype == np.uint8 and pre.shape == post.shape and pre.shape[3] == 3
    return np.ones(pre.shape[:3], np.uint8)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("datasets") / "d64", [patch_row(index) for index in range(PATCHES)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, micro_base: Path) -> Path:
    return write_kind(tmp_path_factory.mktemp("runs") / "ours", micro_base, "controlnet")


@pytest.fixture(scope="module")
def names() -> list[str]:
    return [patch_row(index)["patch_id"] for index in range(PATCHES)]


def write(path: Path, **changed: Any) -> str:
    path.write_text(yaml.safe_dump(CONTENT | changed))
    return str(path)


def test_a_protocol_fixes_what_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run: Path, dataset: Path,
    names: list[str],
) -> None:  # fmt: skip
    """Rows, sampling, networks; a judge of somebody else's; published numbers."""
    use_small_networks(monkeypatch)
    (tmp_path / "list.txt").write_text("\n".join([*names[1:4], "elsewhere_00000001"]))
    (tmp_path / "judge.py").write_text(NO_DAMAGE)
    compare(
        checkpoints=[str(run)], dataset=dataset, out=tmp_path / "out", patches=tmp_path / "list.txt",
        protocol=write(tmp_path / "p.yaml"), damage_model=f"{tmp_path / 'judge.py'}:classify",
    )  # fmt: skip
    content, printed = results(tmp_path / "out"), capsys.readouterr().out
    assert list(content["rows"]) == ["ours", "copy", "base"]
    assert [patch["patch_id"] for patch in content["per_patch"]] == names[1:4]
    assert (content["scheduler"], content["steps"], content["seed"], content["size"]) == ("ddim", 2, 7, 32)
    assert (
        content["not_measured"].keys() >= {"lpips_vgg", "fid", "dinov3_sat"} and "clip" not in content["not_measured"]
    )
    assert "1 of the 4 patches in list.txt are not in split test, first elsewhere_00000001" in content["notes"][0]
    assert content["published"][1] == CONTENT["published"][1]
    table = printed[printed.index("Beside published numbers") :].split("\n\n")[0]
    rows = [line.split() for line in table.splitlines()[3:]]
    whole = content["summary"]["ours"]["whole"]
    f1 = content["damage"]["ours"]["damage_f1"]["value"]
    assert rows[0] == ["ours", f"{whole['psnr']['value']:.2f}", f"{whole['ssim']['value']:.3f}", f"{f1:.3f}"]
    assert rows[1:] == [["Somebody", "(2024)", "12.50", "-", "-"], ["Another", "(2025)", "-", "0.250", "0.500"]]
    assert "Beside published numbers" in (tmp_path / "out/report.html").read_text()


def test_somebody_elses_judge_is_scored_as_the_challenge_does(tmp_path: Path, run: Path, dataset: Path) -> None:
    """One that sees no damage anywhere: by counting pixels of the masks."""
    (tmp_path / "judge.py").write_text(NO_DAMAGE)
    evaluate(
        checkpoint=run, dataset=dataset, out=tmp_path / "out", methods="copy", networks="none",
        damage_model=f"{tmp_path / 'judge.py'}:classify", sampling=Sampling(steps=1),
    )  # fmt: skip
    truth = []
    for index in range(PATCHES):
        mask = patch_row(index)["damage_mask"]
        with Image.open(io.BytesIO(mask["bytes"])) as image:
            truth.append(np.array(image.resize((32, 32), Image.Resampling.NEAREST)))
    buildings, intact = np.stack(truth) > 0, np.stack(truth) == 1
    judged = buildings & (np.stack(truth) <= len(CLASSES))
    found = results(tmp_path / "out")["damage"]["copy"]
    assert found["localisation_f1"]["value"] == pytest.approx(2 * buildings.sum() / (buildings.sum() + buildings.size))
    assert found["no-damage_f1"]["value"] == pytest.approx(2 * intact.sum() / (intact.sum() + judged.sum()))
    with pytest.raises(EvaluationError, match=r"judge.py:nothing: cannot be loaded"):
        evaluate(
            checkpoint=run, dataset=dataset, out=tmp_path / "other", damage_model=f"{tmp_path / 'judge.py'}:nothing"
        )


def test_captions_of_others_are_those_half_the_split_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Path, dataset: Path
) -> None:
    use_small_networks(monkeypatch)
    evaluate(
        checkpoint=run, dataset=dataset, out=tmp_path / "out", methods="generated", networks="clip",
        sampling=Sampling(steps=1),
    )  # fmt: skip
    content = results(tmp_path / "out")
    prompts = [patch["prompt"] for patch in content["per_patch"]]
    score = clip_of(*small_clip_model())
    for index, patch in enumerate(content["per_patch"]):
        with Image.open(tmp_path / "out/images/generated" / f"{patch['patch_id']}.png") as image:
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            expected = [float(score(pixels, [prompts[(index + shift) % PATCHES]])) for shift in (0, PATCHES // 2)]
        found = patch["scores"]["generated"][0]["whole"]
        assert [found["clip"], found["clip_shuffled"]] == pytest.approx(expected, abs=1e-4)


def test_a_checkpoint_on_masks_alone_is_a_rival(tmp_path: Path, run: Path, dataset: Path, micro_base: Path) -> None:
    rival = write_kind(tmp_path / "mask", micro_base, "controlnet", "mask")
    compare(
        checkpoints=[str(run), str(rival)], dataset=dataset, out=tmp_path / "out", networks="none", limit=2,
        sampling=Sampling(steps=1),
    )  # fmt: skip
    assert list(results(tmp_path / "out")["rows"]) == ["ours", "mask", "copy"]
    with pytest.raises(EvaluationError, match=r"methods: sdedit edit pre images, but .* is not shown any"):
        evaluate(checkpoint=rival, dataset=dataset, out=tmp_path / "other", methods="generated,sdedit")


@pytest.mark.parametrize(
    ("changed", "given", "said"),
    [
        ({}, {"sampling": Sampling(steps=3)}, r"steps is 3, but the protocol .* fixes 2. Leave --steps out"),
        ({}, {"networks": "none"}, r"networks is none, but the protocol .* fixes clip"),
        ({}, {"patches": None}, r"measures on a list of patches. Give it by --patches: five names"),
        ({"steps": "two"}, {}, r"p.yaml: steps: Input should be a valid integer"),
        ({"colour": 1}, {}, r"p.yaml: colour: Extra inputs"),
        ({"networks": "resnet"}, {}, r"networks: there is no 'resnet'"),
        ({"scheduler": "magic"}, {}, r"scheduler"),
        ({"published": [{"row": "x", "source": "y", "values": {"beauty": 1.0}}]}, {}, r"x: there is no metric beauty"),
        (None, {}, r"there is no rsedi. Did you mean rsedit\?"),
    ],
)
def test_mistakes_are_one_message(
    tmp_path: Path, run: Path, dataset: Path, names: list[str], changed: Any, given: dict[str, Any], said: str
) -> None:
    (tmp_path / "list.txt").write_text("\n".join(names))
    protocol = "rsedi" if changed is None else write(tmp_path / "p.yaml", **changed)
    options: dict[str, Any] = {"patches": tmp_path / "list.txt", "protocol": protocol} | given
    with pytest.raises(Exception, match=said) as error:
        compare(checkpoints=[str(run)], dataset=dataset, out=tmp_path / "out", **options)
    assert type(error.value).__name__ in ("EvaluationError", "GenerateError")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", sorted(PROTOCOLS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_protocols_are_valid(path: Path) -> None:
    assert read_protocol(path.stem).resolution == 512

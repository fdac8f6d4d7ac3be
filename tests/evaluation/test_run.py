"""The command: its files, its table, its errors."""

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.errors import EvaluationError
from evaluation.metrics.distributions import frechet_distance
from evaluation.metrics.networks import NetworkAbsent
from evaluation.output import image_file
from evaluation.run import evaluate
from generate.run import generate
from generate.sampling import Sampling
from tests.evaluation.small_networks import SmallInception, use_small_networks
from tests.generate.worlds import EVENTS, patch_row, png, write_dataset

NAMES = [f"{event}_{i:08d}_0000_0000_64" for i, event in enumerate(EVENTS)]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, run_folder: Path, dataset: Path) -> Path:
    """An evaluation of all four patches, by two seeds each and with small networks."""
    out = tmp_path_factory.mktemp("scores") / "out"
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_small_networks(monkeypatch)
        sampling = Sampling(steps=2, seed=50, batch_size=3, samples=2)
        evaluate(checkpoint=run_folder, dataset=dataset, out=out, sampling=sampling)
    return out


def results(out: Path) -> dict[str, Any]:
    """results.json; it is plain JSON without NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content: dict[str, Any] = json.loads((out / "results.json").read_text(), parse_constant=refuse)
    return content


def test_files(evaluated: Path) -> None:
    """Two images per patch and method beside numbers, tables and report; nothing else, nothing temporary."""
    assert sorted(path.name for path in evaluated.iterdir()) == ["images", "report.html", "results.json", "results.tex"]
    expected = sorted(["manifest.jsonl", *(f"{name}{ending}.png" for name in NAMES for ending in ("", "_s1"))])
    for method in ("generated", "base"):
        assert sorted(path.name for path in (evaluated / "images" / method).iterdir()) == expected
    assert [path.name for path in evaluated.parent.iterdir()] == ["out"]


def test_copying_by_hand(evaluated: Path) -> None:
    """The tiny world's post equals its pre but for one square of 12 x 12 px at 32 px resolution."""
    content = results(evaluated)
    summary = content["summary"]["copy"]
    pixels = [patch["scores"]["copy"][0] for patch in content["per_patch"]]
    assert [one["inside"]["pixels"] for one in pixels] == [12 * 12] * 4
    assert [one["outside"]["pixels"] for one in pixels] == [32 * 32 - 12 * 12] * 4
    assert summary["inside"]["mse"]["patches"] == 4
    assert summary["outside"]["mse"]["value"] == 0
    assert summary["whole"]["mse"]["value"] == pytest.approx(summary["inside"]["mse"]["value"] * (12 * 12) / (32 * 32))
    # The changed square is marked as destroyed, and no other class is there.
    assert summary["destroyed"]["mse"]["value"] == pytest.approx(summary["inside"]["mse"]["value"])
    assert summary["no-damage"]["mse"] == {"value": None, "low": None, "high": None, "patches": 0, "clusters": 0}


def test_numbers_belong_to_the_images(evaluated: Path) -> None:
    """Whole MSE of every generated image, from the PNG on disk and the dataset row; rows are means and minima."""
    content = results(evaluated)
    found = np.zeros((4, 2))
    for index, patch in enumerate(content["per_patch"]):
        row = patch_row(index)
        assert (patch["patch_id"], patch["seeds"]) == (row["patch_id"], [50 + index, 1_000_050 + index])
        with Image.open(io.BytesIO(row["post"]["bytes"])) as image:
            post = image.resize((32, 32), Image.Resampling.BOX)
        for sample in range(2):
            with Image.open(evaluated / image_file(patch["patch_id"], "generated", sample)) as image:
                error = ((np.asarray(image, float) - np.asarray(post, float)) / 255) ** 2
            found[index, sample] = error.mean()
            assert patch["scores"]["generated"][sample]["whole"]["mse"] == pytest.approx(error.mean(), rel=1e-9)
    assert content["rows"]["generated"] == "generated, mean of 2 seeds"
    assert content["summary"]["generated"]["whole"]["mse"]["value"] == pytest.approx(found.mean())
    assert content["summary"]["generated best"]["whole"]["mse"]["value"] == pytest.approx(found.min(axis=1).mean())


def test_groups_are_parts_of_the_whole(evaluated: Path) -> None:
    """Every event and type of the tiny world has one patch: its number is that patch's."""
    content = results(evaluated)
    for index, event in enumerate(EVENTS):
        mse = np.mean([one["whole"]["mse"] for one in content["per_patch"][index]["scores"]["generated"]])
        for group, name in (("by_event", event), ("by_disaster_type", event.rsplit("-", 1)[1])):
            assert content[group][name]["generated"]["whole"]["mse"]["value"] == pytest.approx(mse)


def test_networks_judge_the_images_on_disk(evaluated: Path) -> None:
    """Small stand-ins: LPIPS is the squared difference, features are mean colours."""
    content = results(evaluated)
    for patch in content["per_patch"]:
        for one in patch["scores"]["generated"]:
            assert one["whole"]["lpips_vgg"] == pytest.approx(one["whole"]["mse"], rel=1e-4)
        assert list(patch["scores"]["real"][0]["whole"]) == ["pixels", "clip", "clip_shuffled"]
    posts = torch.cat([SmallInception()(torch.from_numpy(image)[None])[0] for image in posts_of_the_tiny_world()])
    made = [
        torch.cat([SmallInception()(channels_first(evaluated / image_file(name, "base", sample)))[0] for name in NAMES])
        for sample in range(2)
    ]
    expected = [frechet_distance(posts, features) for features in made]
    assert content["sets"]["base"]["fid"]["value"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert content["sets"]["real"].keys() == {"is"}
    assert any("FID is biased upwards" in note for note in content["notes"])


def posts_of_the_tiny_world() -> list[Any]:
    """Channels first, at the checkpoint's resolution."""
    posts = [
        Image.open(io.BytesIO(patch_row(i)["post"]["bytes"])).resize((32, 32), Image.Resampling.BOX) for i in range(4)
    ]
    return [np.asarray(post).transpose(2, 0, 1).copy() for post in posts]


def channels_first(path: Path) -> torch.Tensor:
    """(1, 3, H, W) uint8."""
    with Image.open(path) as image:
        return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())[None]


def test_latex_says_the_same(evaluated: Path) -> None:
    """Every value of the first table, row by row; the best in bold; names escaped."""
    content, text = results(evaluated), (evaluated / "results.tex").read_text()
    first = text.split("\\begin{table}")[1]
    for row, name in content["rows"].items():
        (line,) = (line for line in first.splitlines() if line.startswith(name))
        values = [float(cell) for cell in re.findall(r"[0-9.]+", line.removeprefix(name).replace("\\textbf", ""))]
        summary = content["summary"][row]
        expected = [
            summary[region][m]["value"] for region in ("whole", "inside", "outside") for m in ("mse", "psnr", "ssim")
        ]
        assert values == pytest.approx(expected, abs=0.006)
    assert text.count("\\begin{tabular}") == text.count("\\bottomrule") == 5
    assert "FID" in text


def test_same_images_as_generate(tmp_path: Path, evaluated: Path, run_folder: Path, dataset: Path) -> None:
    """What is measured is what the user would generate with the same options."""
    sampling = Sampling(steps=2, seed=50, batch_size=3)
    generate(checkpoint=run_folder, pre=dataset, out=tmp_path / "out", sampling=sampling)
    for name in NAMES:
        made, measured = (
            np.asarray(Image.open(path)).astype(int)
            for path in (tmp_path / "out" / f"{name}.png", evaluated / image_file(name, "generated"))
        )
        assert np.abs(made - measured).max() <= 1


def test_table_in_the_terminal(
    tmp_path: Path, run_folder: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three rows, aligned columns, one best value per column, one row per type and event; gaps are named."""
    arguments: dict[str, Any] = {"checkpoint": run_folder, "dataset": dataset, "networks": "none"}
    evaluate(out=tmp_path / "out", sampling=Sampling(steps=1), limit=2, **arguments)
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if "whole (2 patches)" in line)
    table = lines[start + 1 : start + 5]
    assert [line[:22].strip() for line in table] == ["", "generated", "copy the pre-image", "base without control"]
    assert re.findall(r"MSE|PSNR|SSIM", table[0]) == ["MSE", "PSNR", "SSIM"] * 3
    assert "".join(table).count("*") == 9
    assert len({len(line.rstrip("* ")) for line in table[1:]}) == 1
    assert any(line.startswith("flooding (1)") for line in lines)
    assert any(line.startswith("monte-alvo-earthquake (1)") for line in lines)
    assert any(line.startswith("destroyed (2)") for line in lines)
    assert any(re.match(r"LPIPS \(VGG\).* FID.*: not measured, not asked for \(--networks\)", line) for line in lines)


def test_an_absent_network_is_a_gap(
    tmp_path: Path, run_folder: Path, dataset: Path, small_networks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are measured; JSON, LaTeX and report name the gap and its reason."""

    def absent(_: object) -> None:
        raise NetworkAbsent("FID, KID and IS need weights that are not here")

    monkeypatch.setattr("evaluation.metrics.judges.load_inception", absent)
    out = tmp_path / "out"
    evaluate(checkpoint=run_folder, dataset=dataset, out=out, sampling=Sampling(steps=1), limit=2)
    content = results(out)
    assert content["not_measured"].keys() == {"fid", "kid", "is", "dinov3_sat"}  # the last was not asked for
    assert content["summary"]["generated"]["whole"]["lpips_alex"]["value"] > 0
    for file in ("results.tex", "report.html"):
        assert "FID, KID x 1000, IS: not measured, FID, KID and IS need weights" in (out / file).read_text()


def test_one_image_is_no_set_and_nan_is_named(
    tmp_path: Path, run_folder: Path, dataset: Path, small_networks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither stops the evaluation; both are said."""
    monkeypatch.setattr(
        "evaluation.metrics.judges.load_lpips", lambda *_: lambda made, _: made.flatten(1).float().sum(1) * math.nan
    )
    evaluate(checkpoint=run_folder, dataset=dataset, out=tmp_path / "out", sampling=Sampling(steps=1), limit=1)
    content = results(tmp_path / "out")
    assert "needs at least 2 images" in content["not_measured"]["fid"]
    assert content["summary"]["generated"]["whole"]["lpips_vgg"]["value"] is None
    assert any(f"LPIPS (VGG) is NaN for 3 images, first {NAMES[0]} (generated)" in note for note in content["notes"])


def test_report_is_one_escaped_page(tmp_path: Path, run_folder: Path) -> None:
    """Captions are shown as text; nothing is loaded from elsewhere; failures come first."""
    captions = [{"style": "short", "target": "post", "text": "<script>alert('x')</script> & more"}]
    rows = [patch_row(0, captions=captions), *(patch_row(i) for i in range(1, 8))]
    evaluate(
        checkpoint=run_folder, dataset=write_dataset(tmp_path / "d", rows), out=tmp_path / "out", networks="none",
        sampling=Sampling(steps=1),
    )  # fmt: skip
    page = (tmp_path / "out/report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; more" in page
    assert not re.findall(r'(?:src|href)="(?!data:image/)', page)
    assert "url(" not in page
    assert page.count("<article>") == page.count('type="range"') == 8
    assert page.count("<img ") == 8 * 6  # pre, post, base, and three under the slider
    assert page.index("<table>") < page.index("Worst patches") < page.index("Random patches") < page.index("By event")


def test_patches_without_change_or_labels(tmp_path: Path, run_folder: Path) -> None:
    """They count where they can; what cannot be measured is null and a dash."""
    rows = [patch_row(0, change_mask=None, damage_mask=None), patch_row(1, change_mask=None, damage_mask=None)]
    dataset = write_dataset(tmp_path / "d", rows)
    out = tmp_path / "out"
    evaluate(checkpoint=run_folder, dataset=dataset, out=out, networks="none", sampling=Sampling(steps=1))
    summary = results(out)["summary"]["generated"]
    assert summary["inside"]["mse"] == {"value": None, "low": None, "high": None, "patches": 0, "clusters": 0}
    assert summary["whole"]["mse"]["patches"] == 2
    assert "over the whole patch" in (out / "report.html").read_text()
    assert "--" in (out / "results.tex").read_text()


def test_a_cloud_that_is_known_counts_nowhere(tmp_path: Path, run_folder: Path) -> None:
    """It lies over the upper half of the changed square and beside it: the rest is measured as without it."""
    with Image.open(io.BytesIO(patch_row(0)["post"]["bytes"])) as image:
        post, cover = np.array(image), np.zeros((64, 64), np.uint8)
    post[16:28], cover[16:28] = 230, 200
    cells = {"post": png(post), "cover_mask": png(cover)}
    rows = [patch_row(0, **cells), patch_row(4, cover_mask=None)]
    dataset, out = write_dataset(tmp_path / "d", rows), tmp_path / "out"
    evaluate(checkpoint=run_folder, dataset=dataset, out=out, methods="copy", networks="none")
    clouded, clear = ((one["scores"]["copy"][0]) for one in results(out)["per_patch"])
    for region, pixels in (("inside", 12 * 12), ("destroyed", 12 * 12), ("outside", 32 * 32 - 12 * 12)):
        hidden = 6 * (32 - 12 if region == "outside" else 12)
        assert (clouded[region]["pixels"], clear[region]["pixels"]) == (pixels - hidden, pixels)
    with Image.open(io.BytesIO(rows[0]["pre"]["bytes"])) as image:
        pre = np.asarray(image.resize((32, 32), Image.Resampling.BOX), float)
    seen = np.asarray(Image.fromarray(post).resize((32, 32), Image.Resampling.BOX), float)
    expected = (((pre - seen) / 255) ** 2)[14:20, 8:20].mean()
    assert clouded["inside"]["mse"] == clouded["destroyed"]["mse"] == pytest.approx(expected)
    assert clouded["outside"]["mse"] == 0 < clouded["whole"]["mse"]
    page = (out / "report.html").read_text()
    assert "7% of it changed" in page and "14% of it changed" in page


def test_wrong_names(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """Of methods and of networks."""
    for option in ("methods", "networks"):
        arguments: dict[str, Any] = {"checkpoint": run_folder, "dataset": dataset, option: "copy,inceptoin"}
        with pytest.raises(EvaluationError, match=rf"{option}: there is no '(copy|inceptoin)'. Choose from"):
            evaluate(out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()

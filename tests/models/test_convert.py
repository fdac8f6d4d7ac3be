"""Released folders as they lie on disk become clean ones; nothing but tensors is taken from a pickle."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from launch.cli import run
from models import BaseError, load_base, load_controlnet
from models.convert import convert
from models.diffusionsat.controlnet import SatControlNet
from models.diffusionsat.controlnet_3d import SatControlNet3D
from models.diffusionsat.multi_controlnet import MultiSatControlNet
from models.diffusionsat.pipeline import SatPipeline
from models.diffusionsat.unet import SatUNet
from models.weight_files import read_weights
from tests.models.parity import seeded
from tests.models.released import EMA, old_name, write_release

HARVEY = {"lon": -95.5, "lat": 30.25, "gsd": 0.5, "year": 2017, "month": 9, "day": 1}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("released") / "finetune_sd21")


@pytest.fixture(scope="module")
def clean(release: Path) -> Path:
    out = release.with_name("clean")
    convert(source=release, out=out, resolution=64)
    return out


def pickled(path: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)
    return weights


def test_every_weight_is_as_it_was(release: Path, clean: Path) -> None:
    """Value and precision, under today's names."""
    for part, name in (("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"),
                       ("text_encoder", "pytorch_model")):  # fmt: skip
        before, after = pickled(release / part / f"{name}.bin"), read_weights(clean / part)
        before = {key: value for key, value in before.items() if not key.endswith("position_ids")}
        after = {old_name(key) if part == "vae" else key: value for key, value in after.items()}
        if part == "text_encoder":  # transformers names its modules otherwise from time to time
            before, after = ({key.removeprefix("text_model."): v for key, v in w.items()} for w in (before, after))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) and after[key].dtype == torch.float16 for key in before)


def test_a_folder_of_an_earlier_version_loads(clean: Path, tmp_path: Path) -> None:
    """Its model_index.json names the modules of that time."""
    folder = shutil.copytree(clean, tmp_path / "earlier")
    index = folder / "model_index.json"
    assert '"models.diffusionsat.unet"' in index.read_text()
    index.write_text(index.read_text().replace('"models.diffusionsat.unet"', '"models.sat_unet"'))
    assert isinstance(SatPipeline.from_pretrained(folder).unet, SatUNet)


def test_the_clean_folder_is_a_base(clean: Path) -> None:
    base = load_base(clean)
    unet = base.load_unet()
    assert type(unet) is SatUNet and unet.config.num_metadata == 7
    assert base.resolution == 64  # the config said 96
    assert base.load_noise_schedule().predicts == "v_prediction"
    assert not list(clean.rglob("*.bin")) and base.weights_hash("unet")
    states = base.load_text_encoder()(base.load_tokenizer()("a", return_tensors="pt").input_ids)[0]
    assert states.shape[-1] == 64
    assert base.load_vae()(seeded(1, 3, 16, 16)).sample.shape == (1, 3, 16, 16)


def test_the_clean_folder_is_a_pipeline(clean: Path, release: Path) -> None:
    """Loaded by one call, from paths below this repository; the card says how."""
    pipeline = SatPipeline.from_pretrained(clean)
    images = pipeline("a harbour", metadata=HARVEY, num_inference_steps=1, output_type="np").images
    assert images.shape == (1, 64, 64, 3)
    card = (clean / "README.md").read_text()
    assert "SatPipeline.from_pretrained" in card and "v_prediction" in card and "metres per pixel" in card
    assert not (release / "README.md").exists()


def test_the_averaged_unet_of_a_checkpoint(release: Path, tmp_path: Path) -> None:
    """Its config holds the numbers of the averaging too."""
    convert(source=release, out=tmp_path / "out", unet="checkpoint-150000/unet_ema")
    saved = json.loads((tmp_path / "out/unet/config.json").read_text())
    assert not set(EMA) & set(saved) and saved["_class_name"] == "SatUNet"
    before = pickled(release / "checkpoint-150000/unet_ema/diffusion_pytorch_model.bin")
    after = read_weights(tmp_path / "out/unet")
    assert all(torch.equal(before[key], after[key]) and after[key].dtype == torch.float32 for key in before)


@pytest.mark.parametrize(("three", "kind"), [(False, SatControlNet), (True, SatControlNet3D)])
def test_a_controlnet_folder(tmp_path: Path, three: bool, kind: type[SatControlNet]) -> None:
    """float16 UNet, float32 ControlNet, and they work together."""
    source = write_release(tmp_path / "released", controlnets=1, three=three)
    convert(source=source, out=tmp_path / "out", resolution=32)
    assert type(load_controlnet(tmp_path / "out/controlnet")) is kind
    before = pickled(source / "controlnet/diffusion_pytorch_model.bin")
    after = read_weights(tmp_path / "out/controlnet")
    assert all(torch.equal(before[key], after[key]) for key in before) and len(before) == len(after)
    pipeline = SatPipeline.from_pretrained(tmp_path / "out")
    assert (pipeline.unet.dtype, pipeline.controlnet.dtype) == (torch.float32,) * 2  # from_pretrained's default
    pipeline.unet.to(torch.bfloat16)
    condition = torch.rand(1, 3, *([2] if three else []), 32, 32)
    latents = pipeline("a", image=condition, metadata=HARVEY, num_inference_steps=1, output_type="latent").images
    assert latents.dtype == torch.bfloat16 and latents.isfinite().all()


def test_several_controlnets_under_their_old_names(tmp_path: Path) -> None:
    source = write_release(tmp_path / "released", controlnets=3)
    assert (source / "controlnet_1_2").is_dir()
    convert(source=source, out=tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").glob("controlnet*")) == [
        "controlnet", "controlnet_1", "controlnet_2"]  # fmt: skip
    pipeline = SatPipeline.from_pretrained(tmp_path / "out")
    assert isinstance(pipeline.controlnet, MultiSatControlNet) and len(pipeline.controlnet.nets) == 3
    last = pickled(source / "controlnet_1_2/diffusion_pytorch_model.bin")["conv_in.weight"]
    assert torch.equal(pipeline.controlnet.nets[2].state_dict()["conv_in.weight"], last)


class Malice:
    """Unpickled without care, it makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.proof),))


def test_a_pickle_with_a_program_in_it_is_refused(tmp_path: Path) -> None:
    source, proof = write_release(tmp_path / "released"), tmp_path / "was here"
    path = source / "unet/diffusion_pytorch_model.bin"
    for save in (
        lambda content: torch.save(content, path),
        lambda content: path.write_bytes(pickle.dumps(content, protocol=2)),
    ):
        save({"conv_in.weight": torch.zeros(1), "extra": Malice(proof)})
        with pytest.raises(
            BaseError, match=r"diffusion_pytorch_model.bin: refused. Its pickle holds more than tensors"
        ):
            convert(source=source, out=tmp_path / "out")
        assert not proof.exists() and not (tmp_path / "out").exists()
        assert sorted(p.name for p in tmp_path.iterdir()) == ["released"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"step": 3}, "not a plain state dict"),
        ({"stranger": torch.zeros(2)}, "lack conv_in.bias"),
        (None, r"(cannot be read|refused)"),
    ],
)
def test_other_weights_are_named(tmp_path: Path, content: Any, message: str) -> None:
    source = write_release(tmp_path / "released")
    path = source / "unet/diffusion_pytorch_model.bin"
    if content is None:
        path.write_bytes(path.read_bytes()[:5000])
    else:
        torch.save(content, path)
    with pytest.raises(BaseError, match=rf"unet.*: .*{message}"):
        convert(source=source, out=tmp_path / "out")


def test_weights_too_many_or_of_another_shape(tmp_path: Path) -> None:
    source = write_release(tmp_path / "released")
    path = source / "unet/diffusion_pytorch_model.bin"
    whole = pickled(path)
    torch.save(whole | {"extra.weight": torch.zeros(1)}, path)
    with pytest.raises(BaseError, match=r"have a stranger, extra\.weight"):
        convert(source=source, out=tmp_path / "out")
    torch.save(whole | {"conv_in.bias": torch.zeros(3)}, path)
    with pytest.raises(BaseError, match=r"do not fit its config\.json"):
        convert(source=source, out=tmp_path / "out")


def test_folders_that_are_not_there_or_in_the_way(release: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseError, match=r"lacks .*checkpoint-7"):
        convert(source=release, out=tmp_path / "out", unet="checkpoint-7/unet")
    with pytest.raises(BaseError, match=r"exists already"):
        convert(source=release, out=tmp_path)


def test_an_unconverted_release_says_what_to_do(release: Path) -> None:
    with pytest.raises(BaseError, match=rf"pre2post convert --source {release} --out"):
        load_base(release)


def test_from_the_command_line(release: Path, tmp_path: Path) -> None:
    options = ["--source", str(release), "--out", str(tmp_path / "out"), "--unet", "nowhere", "--resolution", "64"]
    with pytest.raises(BaseError, match=r"lacks .*nowhere"):
        run("convert", options)

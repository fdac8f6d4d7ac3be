"""The tiny base learns metadata: the folder it ends in is a base and a pipeline, and starts as `tiny`."""

from pathlib import Path

import pytest
import torch

from models import load_base
from models.diffusionsat.metadata import METADATA_FIELDS
from models.diffusionsat.pipeline import SatPipeline
from models.diffusionsat.unet import SatUNet
from train.errors import ConfigError
from train.tiny_satellite_base import train_tiny_satellite_base


@pytest.mark.filterwarnings("ignore:In CPU autocast")
def test_two_steps(tmp_path: Path, tiny_dataset: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "base"
    (work / "release").mkdir(parents=True)
    (work / "dataset").symlink_to(tiny_dataset)
    train_tiny_satellite_base(work=work, out=out, steps=2, batch=2)
    config = load_base("tiny").config("unet")
    noisy, states = torch.randn(1, config["in_channels"], 4, 4), torch.randn(1, 77, config["cross_attention_dim"])
    told = torch.full((1, len(METADATA_FIELDS)), 500.0)
    with torch.no_grad():
        plain, start, taught = (load_base(folder).load_unet() for folder in ("tiny", work / "start", out))
        assert isinstance(taught, SatUNet) and taught.config.null_metadata == "learned"
        expected = plain(noisy, 500, states).sample
        assert torch.equal(start(noisy, 500, states, metadata=told).sample, expected)  # nothing learned yet
        assert not torch.equal(taught(noisy, 500, states, metadata=told).sample, expected)
        ours, theirs = (load_base(name).load_vae().state_dict() for name in (out, "tiny"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    moved = {name for name, weight in taught.named_parameters() if not torch.equal(weight, start.state_dict()[name])}
    assert {"metadata_embedding.null", "metadata_embedding.2.linear_2.weight", "conv_in.weight"} <= moved
    pipeline = SatPipeline.from_pretrained(out, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a", metadata={"gsd": 0.5}, num_inference_steps=1).images[0].size == (128, 128)
    assert "python -m train.tiny_satellite_base" in (out / "README.md").read_text()
    with pytest.raises(ConfigError, match="already exists"):
        train_tiny_satellite_base(work=work, out=out)

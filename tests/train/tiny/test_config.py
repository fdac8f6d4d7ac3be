"""Mistakes in a config are told in one message, before anything is simulated."""

from pathlib import Path

import pytest

from tests.train.tiny.conftest import CONFIG, Arguments
from train.errors import ConfigError
from train.tiny.__main__ import main
from train.tiny.config import parse_config


def test_the_shipped_config_is_complete() -> None:
    config = parse_config(["--config", str(CONFIG)])
    assert config.data.resolution == 128 and "placed" in config.data.caption_styles


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            "networks.unet_channel=[16, 32]",
            "networks.unet_channel: no such setting. Did you mean networks.unet_channels",
        ),
        ("autoencoder.steps=many", "autoencoder.steps is many; expected a whole number."),
        ("networks.unet_channels=[64, 100]", "networks.unet_channels is [64, 100]; expected at least two levels, each"),
        ("data.resolution=33", "data.resolution is 33; 2 levels need a multiple of 2."),
        ("autoencoder.crop=64", "autoencoder.crop is 64; it cannot be larger than the image, 32."),
        ("data.caption_styles={short: 0}", "data.caption_styles.short is 0"),
        ("data.releases=[{seed: 1, scenes: 9}, {seed: 1, scenes: 6}]", "they must differ, or scenes repeat"),
        (
            "denoiser.decay_steps=5",
            "denoiser.warmup_steps 1 and denoiser.decay_steps 5 exceed denoiser.steps 5",
        ),
        ("validation.shown=5", "validation.shown is 5; expected 1 to validation.images, 4."),
    ],
)
def test_what_does_not_fit_is_named(arguments: Arguments, wrong: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(arguments("run", f"--{wrong}"))
    assert message in str(error.value)


def test_all_mistakes_at_once(arguments: Arguments) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(arguments("run", "--data.seed=-1", "--run.threads=0"))
    assert [line.split(" is ")[0] for line in str(error.value).splitlines()] == ["data.seed", "run.threads"]


def test_one_message_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["train.tiny", f"--config={CONFIG}", f"--run.out={tmp_path}/run", "--run.threads=0"]
    )
    assert main() == 2 and not (tmp_path / "run").exists()
    assert capsys.readouterr().err == "error: run.threads is 0; it must be at least 1.\n"

"""Config files and command lines, right and wrong."""

from pathlib import Path

import pytest
import yaml

from train.config import Config, ConfigError, as_plain, changed_settings, parse_config, save_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
REQUIRED = ["--data.dataset=d", "--run.out=r"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads(path: Path) -> None:
    config = parse_config([*REQUIRED, f"--config={path}"])
    assert isinstance(config, Config)
    assert "-m train --config" in path.read_text().split("data:")[0]  # says how it is run


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("train: {steps: 700, seed: 3}")
    config = parse_config([*REQUIRED, f"--config={tmp_path / 'c.yaml'}", "--train.steps=900"])
    assert (config.train.steps, config.train.seed) == (900, 3)


def test_a_saved_config_reads_back_the_same(tmp_path: Path) -> None:
    config = parse_config([*REQUIRED, "--train.learning_rate=3e-5", "--run.trackers=[]"])
    save_config(config, tmp_path / "config.yaml")
    assert parse_config([f"--config={tmp_path / 'config.yaml'}"]) == config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train.lerning_rate=1"], "Did you mean train.learning_rate?"),
        (["--train.steps=many"], "train.steps"),
        (["--train.precision=fp8"], "fp8"),
        (["--data.resolution=100"], "data.resolution is 100; the VAE needs a multiple of 8."),
        (["--train.steps=100"], "train.warmup_steps 500 and train.decay_steps 0 do not fit into train.steps 100"),
        (["--data.caption_dropout=2"], "data.caption_dropout is 2.0; it is a share"),
        (["--run.save_every=0"], "run.save_every is 0; it must be at least 1."),
    ],
)
def test_a_wrong_setting_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config([*REQUIRED, *arguments])
    assert message in str(error.value)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        parse_config([*REQUIRED, "--run.save_every=0", "--train.seed=-1"])
    assert "run.save_every" in str(error.value) and "train.seed" in str(error.value)


def test_a_misspelt_key_in_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"train": {"golbal_batch": 3}}))
    with pytest.raises(ConfigError, match=r"Did you mean train\.global_batch\?"):
        parse_config([*REQUIRED, f"--config={tmp_path / 'c.yaml'}"])


def test_changed_settings_have_dotted_names() -> None:
    one, other = (as_plain(parse_config([*REQUIRED, f"--train.seed={seed}"])) for seed in (0, 4))
    assert changed_settings(one, other) == {"train.seed": (0, 4)}

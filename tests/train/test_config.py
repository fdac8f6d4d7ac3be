"""Config files and command lines, right and wrong."""

import ast
import dataclasses
import re
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml

from train.config import Config, StageConfig, as_plain, changed_settings, save_config
from train.config_checks import check_batches
from train.config_file import parse_config
from train.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted(set((REPOSITORY / "configs").glob("*.yaml")) - {REPOSITORY / "configs/tiny_base.yaml"})
REQUIRED = ["--data.dataset=d", "--run.out=r"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.config_checks.is_installed", lambda package: True)
    config = parse_config([*REQUIRED, f"--config={path}"])
    assert isinstance(config, Config)
    head, _, settings = path.read_text().partition("\ndata:")
    assert f"-m train --config configs/{path.name}" in head  # says how it is run
    uncommented = [line for line in settings.splitlines() if re.search(r":\s*[^\s#]", line) and "#" not in line]
    assert uncommented == []


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.name.startswith(("gpu_", "xbd_"))], ids=str)
def test_every_recipe_validates_warms_up_and_saves(path: Path) -> None:
    """In its own words, so that who copies it sees them."""
    written = yaml.safe_load(path.read_text())
    assert written["validation"]["every"] > 0 and written["run"]["save_every"] > 0
    assert written["train"]["warmup_steps"] > 0 or "diffusionsat" in path.name  # whose published recipe has none


def test_every_setting_is_used_by_the_code() -> None:
    """A field that nothing reads is an option without a user."""
    read = set()
    for path in (REPOSITORY / "train").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        if path.name not in ("config.py", "config_checks.py", "config_file.py"):
            read |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    groups = [*(part for name, part in get_type_hints(Config).items()), StageConfig]
    fields = {field.name for part in groups for field in dataclasses.fields(part)}
    assert {"steps", "damage_weights", "from_step"} < fields
    assert fields - read == set()


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
        (["--train.steps=100"], "train.warmup_steps 500 and train.decay_steps 0 exceed train.steps 100"),
        (["--data.caption_dropout=2"], "data.caption_dropout is 2.0; expected a share"),
        (["--data.caption_styles={}"], "data.caption_styles is empty"),
        (["--data.caption_styles={short: 0}"], "data.caption_styles.short is 0.0; a weight must be positive"),
        (
            ["--objective.damage_weights={destryed: 2}"],
            "objective.damage_weights.destryed: no such class. Did you mean destroyed?",
        ),
        (["--objective.noise_offset=-1"], "objective.noise_offset is -1.0; 0 disables it."),
        (
            ["--model.trained=lora", "--model.condition=latents"],
            "model.condition is latents, but model.trained is lora",
        ),
        (["--model.lora_rank=0"], "model.lora_rank is 0; it must be at least 1."),
        (["--run.save_every=0"], "run.save_every is 0; it must be at least 1."),
    ],
)
def test_a_wrong_setting_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config([*REQUIRED, *arguments])
    assert message in str(error.value)


def test_all_words_that_are_wrong_are_named_at_once(tmp_path: Path) -> None:
    """In the file and on the command line, unknown or of the wrong type, in a group or in a list."""
    (tmp_path / "c.yaml").write_text(
        "train: {golbal_batch: 3, steps: many, curriculum: [{from_stp: 3}]}\nmodle: {base: tiny}\nobjective: 3\n"
        "data: {caption_styles: short}"
    )
    with pytest.raises(ConfigError) as error:
        parse_config([f"--config={tmp_path / 'c.yaml'}", "--run.kep_last", "3", "--model.condition=pixel"])
    lines = str(error.value).splitlines()
    for start in (
        "train.golbal_batch: no such setting. Did you mean train.global_batch?",
        "train.steps is many; expected a whole number.",
        "train.curriculum is wrong: Problem with given class_path",
        "modle.base: no such setting. Did you mean model.base?",
        "objective: no such setting.",
        "data.caption_styles is short; expected names with values such as {a: 1}.",
        "run.kep_last: no such setting. Did you mean run.keep_last?",
        "model.condition is pixel; expected pixels or latents or pixels+mask or latents+mask or mask or coarse2 "
        "or coarse4 or coarse8",
        "data.dataset is not set.",
        "run.out is not set.",
    ):
        assert any(line.startswith(start) for line in lines), (start, lines)
    assert len(lines) == 10


def test_the_last_word_counts_and_an_entry_of_a_mapping_is_set_alone(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("train: {steps: 700}\ndata: {caption_styles: {long: 2}}")
    file, entry = f"--config={tmp_path / 'c.yaml'}", ["--data.caption_styles.damage", "3"]
    assert parse_config([*REQUIRED, "--train.steps=900", file]).train.steps == 700
    assert parse_config([*REQUIRED, file, *entry]).data.caption_styles == {"long": 2, "damage": 3}
    assert parse_config([*REQUIRED, *entry, file]).data.caption_styles == {"long": 2}
    assert parse_config([*REQUIRED, "--data.caption_styles={long: 1}", *entry]).data.caption_styles == {
        "long": 1, "damage": 3
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["c.yaml"], "c.yaml: not a setting"),
        (["--model.base"], "model.base: has no value"),
        (["--model.base", "--train.steps=3"], "model.base: has no value"),
        (["--data.dataset.x=3"], "data.dataset.x: no such setting. Did you mean data.dataset?"),
    ],
)
def test_words_that_set_nothing_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_config([*REQUIRED, *arguments])


def test_a_config_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        parse_config([*REQUIRED, f"--config={tmp_path / 'absent.yaml'}"])
    (tmp_path / "c.yaml").write_text("train: {steps")
    with pytest.raises(ConfigError, match=r"c\.yaml: not a YAML file"):
        parse_config([*REQUIRED, f"--config={tmp_path / 'c.yaml'}"])
    (tmp_path / "c.yaml").write_text("- train")
    for more in ([], ["--print_config"]):
        with pytest.raises(ConfigError, match=r"c\.yaml: is a list, not settings in groups\. Expected e\.g\."):
            parse_config([*REQUIRED, f"--config={tmp_path / 'c.yaml'}", *more])


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


@pytest.mark.parametrize(
    "word", ["train.learning_rate=.inf", "objective.min_snr_gamma=.nan", "data.caption_styles={short: .inf}"]
)
def test_no_number_is_infinite(word: str) -> None:
    with pytest.raises(ConfigError, match=f"{word.partition('=')[0]} is .*; expected a finite number"):
        parse_config([*REQUIRED, f"--{word}"])


def test_going_back_names_where_to() -> None:
    with pytest.raises(ConfigError, match=r"run.go_back is true, but run.resume is latest. Name the one to restart"):
        parse_config([*REQUIRED, "--run.go_back=true"])


def test_a_batch_that_does_not_split_is_named_where_it_was_set() -> None:
    train = parse_config([*REQUIRED, "--train.curriculum=[{from_step: 1, micro_batch: 3}]"]).train
    with pytest.raises(ConfigError, match=r"^train.global_batch is 32; .* micro_batch 3. The nearest is 33"):
        check_batches(train, 1)

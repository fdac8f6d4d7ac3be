"""One event left out after the other: which belong together, what is trained on what, going on, refusing to mix."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from data.build import build
from data.errors import DataError
from data.simulation.simulate import simulate
from data.sources.events import SAME_GROUND
from generate.sampling import Sampling
from launch import accelerated, cli
from launch.leave_one_out import folds_of, leave_one_out
from train.config_file import parse_config
from train.errors import ConfigError
from train.loop import train

CONFIGS = Path(__file__).parents[2] / "configs"


def test_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for every ground; names are checked."""
    events = ["b-fire", "a-flood", "c-wind", "a-flood"]
    assert folds_of(events) == {"a-flood": ["a-flood"], "b-fire": ["b-fire"], "c-wind": ["c-wind"]}
    assert folds_of(events, "c-wind, b-fire") == {"b-fire": ["b-fire"], "c-wind": ["c-wind"]}
    monkeypatch.setitem(SAME_GROUND, "b-fire", "c-wind")
    assert folds_of(events, "b-fire") == {"b-fire+c-wind": ["b-fire", "c-wind"]}
    with pytest.raises(DataError, match=r"no event 'c-win' in the split. Did you mean c-wind\?"):
        folds_of(events, "c-win")
    with pytest.raises(DataError, match="two on different ground; the split has only b-fire, c-wind"):
        folds_of(["b-fire", "c-wind"])


def write_config(path: Path, cache: Path, **train: Any) -> Path:
    """The demo's, a few steps of it."""
    config = yaml.safe_load((CONFIGS / "demo.yaml").read_text())
    config["train"] |= {"steps": 2, "warmup_steps": 0, "decay_steps": 0, "global_batch": 2, "micro_batch": 2} | train
    config["run"] |= {"cache": str(cache), "workers": 0, "trackers": []}
    config["data"]["mirror"] = False
    path.write_text(yaml.safe_dump(config))
    return path


class Launcher:
    """The first of each module is started as it is for the user; the others run here, without starting Python anew."""

    def __init__(self) -> None:
        self.launched: set[str] = set()

    def __call__(self, module: str, *arguments: str, config_file: Path | None = None) -> None:
        if module not in self.launched:
            self.launched.add(module)
            accelerated.launch(module, *arguments, config_file=config_file)
        elif module == "train":
            assert train(parse_config(list(arguments))) == 0
        else:
            cli.run(arguments[0], list(arguments[1:]))


@pytest.mark.slow
def test_two_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is measured by a training without it; what is finished stays, what is not is done."""
    monkeypatch.setattr("launch.leave_one_out.launch", Launcher())
    simulate(out=tmp_path / "release", scenes=2, workers=2)
    build(source=tmp_path / "release", out=tmp_path / "dataset", size=512, workers=1)
    out, config = tmp_path / "out", write_config(tmp_path / "config.yaml", tmp_path / "cache")
    arguments: dict[str, Any] = {"dataset": tmp_path / "dataset", "out": out, "limit": 1, "sampling": Sampling(steps=2)}
    leave_one_out(config=config, methods="generated,copy", **arguments)
    content = json.loads((out / "leave-one-out.json").read_text())
    events = sorted(content["by_event"])
    assert len(events) == 2
    for event in events:
        trained = yaml.safe_load((out / event / "run/config.yaml").read_text())
        assert trained["data"]["leave_out"] == [event]
        (patch,) = json.loads((out / event / "results/results.json").read_text())["per_patch"]
        assert patch["event"] == event
    capsys.readouterr()

    (out / events[1] / "results/results.json").unlink()
    kept = (out / events[0] / "results/results.json").stat().st_mtime_ns
    leave_one_out(config=config, methods="generated,copy", **arguments)
    assert f"{out / events[0]}: finished already." in capsys.readouterr().out
    assert (out / events[0] / "results/results.json").stat().st_mtime_ns == kept
    assert json.loads((out / "leave-one-out.json").read_text()) == content

    other = write_config(tmp_path / "other.yaml", tmp_path / "cache", learning_rate=1e-5)
    with pytest.raises(DataError, match=r"finished with another train\.learning_rate"):
        leave_one_out(config=other, methods="generated,copy", **arguments)
    with pytest.raises(DataError, match="finished with another steps, methods"):
        leave_one_out(config=config, **arguments | {"sampling": Sampling(steps=3)})


def test_a_mistake_in_the_config_is_told_first(tmp_path: Path) -> None:
    """Before the dataset is opened or anything is written."""
    config = write_config(tmp_path / "config.yaml", tmp_path / "cache", learning_rat=1)
    with pytest.raises(ConfigError, match=r"train\.learning_rat: no such setting"):
        leave_one_out(dataset=tmp_path / "nowhere", config=config, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""Commands on files of others: one message and status 2, never a traceback."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from launch.cli import main
from tests.damage import seal
from tests.data.test_hostile import bomb
from tests.generate.worlds import patch_row, write_dataset, write_micro_checkpoint

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, micro_base: Path) -> Path:
    """A checkpoint."""
    run = write_micro_checkpoint(tmp_path_factory.mktemp("runs") / "run", micro_base)
    return next((run / "checkpoints").glob("step-*"))


def said(words: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a command that refuses; any error but ours ends the test."""
    monkeypatch.setattr(sys, "argv", ["pre2post", *map(str, words)])
    assert main() == 2
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(message) == 1
    return message[0]


def edited(name: str, **fields: Any) -> Damage:
    """A JSON file with other fields; ... takes one out."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) | fields
        (folder / name).write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))

    return damage


def cut(pattern: str) -> Damage:
    """A file without its second half."""

    def damage(folder: Path) -> None:
        path = next(folder.glob(pattern))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def pictures(content: bytes | None, path: str | None = None) -> Damage:
    """Other pre images."""

    def damage(folder: Path) -> None:
        shard = next((folder / "data").glob("*.parquet"))
        table = pq.read_table(shard)
        place = table.schema.get_field_index("pre")
        column = pa.array([{"bytes": content, "path": path}] * len(table), table.schema.field(place).type)
        pq.write_table(table.set_column(place, table.schema.field(place), column), shard)

    return damage


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: (folder / "dataset.json").write_text("[" * 200_000), "dataset.json: not valid JSON"),
        (edited("dataset.json", shards=None), "dataset.json: shards is None"),
        (edited("dataset.json", shards=[{"split": "test", "file": "../../x.parquet"}]), "shards.0.file is '../../x"),
        (edited("dataset.json", fingerprint=...), "dataset.json: fingerprint is missing"),
        (cut("data/*.parquet"), "its shards cannot be read"),
        (pictures(b"no picture"), "column pre: a picture cannot be read"),
        (pictures(bomb(60_000, 60_000)), "column pre: a picture cannot be read"),
        (pictures(None, "/etc/hostname"), "column pre refers to pictures outside the file"),
    ],
)
def test_a_dataset(
    tmp_path: Path,
    trained: Path,
    damage: Damage,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = write_dataset(tmp_path / "d", [patch_row(0)])
    damage(dataset)
    words = ["generate", "--checkpoint", trained, "--pre", dataset, "--split", "test", "--steps", 1]
    assert expected in said([*words, "--out", tmp_path / "out"], monkeypatch, capsys)
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (edited("state.json", text_chunks=100_000), "state.json: text_chunks is 100000"),
        (edited("state.json", step=float("inf")), "state.json: step is inf"),
        (edited("state.json", resolution=-8), "state.json: resolution is -8"),
        (edited("state.json", base={"name": "stranger/any-model", "unet_sha256": "0" * 64}), "--base"),
        (cut("controlnet/*.safetensors"), "its weights cannot be used"),
        (edited("controlnet/config.json", block_out_channels=[8, 8]), "its weights cannot be used"),
        (edited("controlnet/config.json", layers_per_block=100_000), "its weights cannot be used"),
    ],
)
def test_a_checkpoint(
    tmp_path: Path,
    trained: Path,
    damage: Damage,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Sealed anew, so that its content alone is judged."""
    copy = Path(shutil.copytree(trained, tmp_path / trained.name))
    damage(copy)
    seal(copy)
    dataset = write_dataset(tmp_path / "d", [patch_row(0)])
    words = ["generate", "--checkpoint", copy, "--pre", dataset, "--split", "test", "--steps", 1]
    assert expected in said([*words, "--out", tmp_path / "out"], monkeypatch, capsys)


def test_a_bug_of_ours_still_shows_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("launch.cli.run", lambda *_: broken())
    monkeypatch.setattr(sys, "argv", ["pre2post", "doctor"])
    with pytest.raises(KeyError, match="ours"):
        main()

"""A set of `pre2post region` as pairs that a damage model is trained on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.damage.synthetic import read_synthetic, seen_by_synthetic, synthetic_source
from evaluation.errors import EvaluationError
from tests.generate.region.conftest import mask_run, place
from tests.generate.region.worlds import PX, make, write_plan
from tests.generate.worlds import RESOLUTION, patch_row, write_dataset

__all__ = ["mask_run", "place"]


@pytest.fixture
def made(tmp_path: Path, place: Path, mask_run: Path) -> Path:
    """Tiles of twice the window's side, two in a shard."""
    own = shutil.copytree(place, tmp_path / "place")
    plan = write_plan(own, pairs=4, tile_px=2 * PX, shard=2)
    make(plan, mask_run, tmp_path / "set")
    return tmp_path / "set"


def test_every_window_of_every_pair(made: Path, tmp_path: Path) -> None:
    """The four windows of a pair beside each other are the pair, at the network's scale; none is of a dataset."""
    scenes = sorted(path.name.removesuffix("_post_disaster.png") for path in (made / "train/images").glob("*_post*"))
    card = read_synthetic(made)
    assert (card["pairs"], card["resolution"], card["patch_px"]) == (4 * len(scenes), RESOLUTION, PX)
    pairs = [read() for read in synthetic_source(made, RESOLUTION, PX).pairs]
    by_tile = sorted(scenes, key=lambda scene: int(scene.split("_")[1]))
    assert len(pairs) == 4 * len(by_tile) > 4
    for number, scene in enumerate(by_tile):
        windows = pairs[4 * number : 4 * number + 4]
        for phase in ("pre", "post"):
            whole = Image.open(made / f"train/images/{scene}_{phase}_disaster.png").resize(
                (2 * RESOLUTION, 2 * RESOLUTION), Image.Resampling.BOX
            )
            shown = [getattr(window, phase) for window in windows]
            tiled = np.vstack([np.hstack(shown[:2]), np.hstack(shown[2:])])
            assert np.abs(tiled.astype(int) - np.asarray(whole)).max() <= 1
        target = np.asarray(Image.open(made / f"train/targets/{scene}_post_disaster_target.png"))
        assert {*np.unique(windows[0].damage)} <= {*np.unique(target[:PX, :PX])}
    dataset = write_dataset(tmp_path / "d", [patch_row(0)], "train")
    assert not any(seen_by_synthetic(made, dataset).values())


def test_what_is_unfinished_or_changed_is_named(made: Path) -> None:
    source = synthetic_source(made, RESOLUTION, PX)
    target = next((made / "train/targets").glob("*_post_*"))
    target.write_bytes(target.read_bytes() + b"x")
    with pytest.raises(EvaluationError, match="not the file of the record"):
        [read() for read in source.pairs]
    (made / "records/shard-00000001.jsonl").unlink()
    with pytest.raises(EvaluationError, match=r"1 of 2 shards are not done, first 1\. Run the same pre2post region"):
        read_synthetic(made)
    facts = json.loads((made / "set.json").read_text())
    (made / "set.json").write_text(json.dumps(facts | {"image": {}}))
    with pytest.raises(EvaluationError, match=r"set\.json: .*image\.size"):
        read_synthetic(made)

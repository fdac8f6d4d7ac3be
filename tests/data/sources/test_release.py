"""Finding scenes."""

import shutil
from pathlib import Path

import pytest

from data.errors import DataError
from data.sources.release import find_release
from tests.data.tiny_release import SCENE_IDS, write_scene


def test_scenes_of_all_splits_are_found_with_their_labels(release: Path) -> None:
    found = find_release(release)
    assert [scene.scene_id for scene in found.scenes] == SCENE_IDS
    assert [scene.labels for scene in found.scenes] == ["both", "both", "none", "both", "post"]
    assert [scene.official_split for scene in found.scenes] == ["train", "train", "test", "hold", "tier3"]
    assert [scene.event for scene in found.scenes] == ["hurricane-michael"] * 3 + ["testville-flood"] * 2
    assert found.incomplete == () and found.unrecognised == ()


@pytest.mark.parametrize(("name", "split"), [("test", "test"), ("mine", "")])
def test_a_folder_that_directly_holds_images(tmp_path: Path, name: str, split: str) -> None:
    write_scene(tmp_path / name, SCENE_IDS[0], [], ())
    assert [scene.official_split for scene in find_release(tmp_path / name).scenes] == [split]


def test_missing_phase_is_reported_with_the_expected_file(release: Path) -> None:
    image = release / "train" / "images" / f"{SCENE_IDS[0]}_post_disaster.png"
    image.unlink()
    found = find_release(release)
    assert SCENE_IDS[0] not in [scene.scene_id for scene in found.scenes]
    assert found.incomplete == ((SCENE_IDS[0], f"the post image is missing: expected {image}"),)


def test_the_same_scene_in_two_splits_is_used_once(release: Path) -> None:
    shutil.copytree(release / "train", release / "tier1")
    found = find_release(release)
    assert len(found.scenes) == 5 and found.incomplete == ()  # it is built, hence not among what cannot be
    assert found.repeated[0] == f"{SCENE_IDS[0]} (in train, which is used, and in tier1)"


def test_simulated_truth_is_found(release: Path) -> None:
    change, cover = (release / "train" / kind / f"{SCENE_IDS[0]}_{kind}.png" for kind in ("change", "cover"))
    for path in (change, cover):
        path.parent.mkdir()
        path.touch()
    scene = find_release(release).scenes[0]
    assert (scene.change, scene.cover) == (change, cover)


def test_other_names_are_listed(release: Path) -> None:
    (release / "train" / "images" / "test_pre_00121.png").touch()
    assert find_release(release).unrecognised == ("train/images/test_pre_00121.png",)


def test_missing_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist; expected an xView2 release.*Check --source"):
        find_release(tmp_path / "nowhere")


def test_a_file_as_source(tmp_path: Path) -> None:
    (tmp_path / "xbd.tar").touch()
    with pytest.raises(DataError, match=r"xbd.tar is a file, not a folder"):
        find_release(tmp_path / "xbd.tar")


def test_no_pairs_says_what_was_expected_and_found(tmp_path: Path) -> None:
    (tmp_path / "geotiffs").mkdir()
    with pytest.raises(DataError, match=r"no pre/post pairs in .*SOURCE/\{train,tier1.*Found: geotiffs/\."):
        find_release(tmp_path)


def test_images_of_other_names_only(tmp_path: Path) -> None:
    (tmp_path / "test" / "images").mkdir(parents=True)
    (tmp_path / "test" / "images" / "test_pre_00121.png").touch()
    with pytest.raises(DataError, match=r"1 image files with other names.*test/images/test_pre_00121\.png"):
        find_release(tmp_path)


def test_folders_and_suffixes_in_another_case(release: Path) -> None:
    """As some unpackers and disks leave them; what is written exactly so goes first."""
    known = find_release(release)
    (release / "train").rename(release / "Train")
    for name in ("images", "labels"):
        (release / "Train" / name).rename(release / "Train" / name.title())
    for path in (release / "Train" / "Images").glob("*.png"):
        path.rename(path.with_suffix(".PNG"))
    found = find_release(release)
    assert [(scene.scene_id, scene.official_split, scene.labels) for scene in found.scenes] == [
        (scene.scene_id, scene.official_split, scene.labels) for scene in known.scenes
    ]
    assert found.unrecognised == known.unrecognised and found.incomplete == known.incomplete
    (release / "Train" / "images").mkdir()
    assert len(find_release(release).scenes) < len(known.scenes)  # the empty one of the exact name counts

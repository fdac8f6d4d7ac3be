"""The same picture twice."""

import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data.quality.duplicates import Hashed, near_duplicates, perceptual_hash


def always(one: Hashed, other: Hashed) -> bool:
    """The closer look is not of this test."""
    return True


def picture(seed: int) -> NDArray[np.uint8]:
    """Smooth light and dark, as a landscape from above."""
    noise = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC))


def bits_apart(one: str, other: str) -> int:
    return bin(int(one, 16) ^ int(other, 16)).count("1")


def test_another_codec_size_light_or_noise_is_the_same_picture() -> None:
    image = picture(0)
    jpeg = io.BytesIO()
    Image.fromarray(image).save(jpeg, format="JPEG", quality=60)
    noise = np.random.default_rng(1).normal(0, 5, image.shape)
    others = {
        "jpeg": np.asarray(Image.open(jpeg)),
        "smaller": np.asarray(Image.fromarray(image).resize((200, 200), Image.Resampling.BICUBIC)),
        "darker": (image * 0.7 + 20).astype(np.uint8),
        "noisy": np.clip(image + noise, 0, 255).astype(np.uint8),
    }
    own = perceptual_hash(image)
    assert len(own) == 16
    assert {name: bits_apart(own, perceptual_hash(other)) <= 3 for name, other in others.items()} == dict.fromkeys(
        others, True
    )


def test_other_pictures_differ_in_half_of_the_bits() -> None:
    hashes = [perceptual_hash(picture(seed)) for seed in range(30)]
    apart = [bits_apart(one, other) for i, one in enumerate(hashes) for other in hashes[:i]]
    assert 30 < np.mean(apart) < 34 and min(apart) > 10


@pytest.mark.parametrize("level", [0, 120])
def test_a_flat_picture_has_no_hash(level: int) -> None:
    assert perceptual_hash(np.full((64, 64, 3), level, np.uint8)) == ""


def test_twins_of_other_scenes_are_listed_once_with_the_first() -> None:
    first = Hashed("a_0", "a", "train", "00000000000000ff")
    patches = [
        first,
        replace(first, patch_id="a_1"),  # the same scene
        Hashed("b_0", "b", "test", "00000000000000f8"),  # 3 bits, all in one band
        Hashed("c_0", "c", "train", "0001000100010000"),  # 11 bits
        Hashed("d_0", "d", "train", "00010001000100ff"),  # 3 bits, one in each of three bands
        Hashed("e_0", "e", "train", ""),
        Hashed("f_0", "f", "train", ""),
    ]
    assert near_duplicates(patches, always) == [
        {"patch_id": "b_0", "split": "test", "looks_like": "a_0", "its_split": "train", "bits": 3},
        {"patch_id": "d_0", "split": "train", "looks_like": "a_0", "its_split": "train", "bits": 3},
    ]


def test_all_pairs_within_three_bits_are_found() -> None:
    """Against comparing each with each."""
    rng = np.random.default_rng(0)
    codes = [int(code) for code in rng.integers(0, 2**63, 40)]
    codes += [code ^ sum(1 << int(bit) for bit in set(rng.integers(0, 64, rng.integers(0, 6)))) for code in codes]
    patches = [Hashed(f"{i}_0", str(i), "train", f"{code:016x}") for i, code in enumerate(codes)]
    expected = {
        f"{i}_0" for i, code in enumerate(codes) if any(bin(code ^ other).count("1") <= 3 for other in codes[:i])
    }
    assert {entry["patch_id"] for entry in near_duplicates(patches, always)} == expected and len(expected) > 15


def test_ground_without_data_is_no_feature() -> None:
    """Two places under the same black strip have no hash in common; one place under two strips has."""
    strip, other_strip = np.zeros((256, 256), bool), np.zeros((256, 256), bool)
    strip[:, :120], other_strip[:20] = True, True
    black = [np.where(strip[..., None], 0, picture(seed)).astype(np.uint8) for seed in range(20)]
    hashes = [perceptual_hash(image, strip) for image in black]
    apart = [bits_apart(one, other) for i, one in enumerate(hashes) for other in hashes[:i]]
    assert min(apart) > 8
    whole, cut = picture(3), np.where(other_strip[..., None], 0, picture(3)).astype(np.uint8)
    assert bits_apart(perceptual_hash(whole), perceptual_hash(cut, other_strip)) < min(apart)
    strip[:, :200] = True
    assert perceptual_hash(black[0], strip) == ""

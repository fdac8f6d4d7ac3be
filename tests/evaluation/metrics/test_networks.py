"""LPIPS and CLIP-score against a second implementation; networks that are not there."""

import sys
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import CLIPModel, DINOv3ViTConfig, DINOv3ViTImageProcessor, DINOv3ViTModel

from evaluation.metrics.networks import (
    NetworkAbsent,
    clip_of,
    features_alike,
    load_clip,
    load_inception,
    load_lpips,
    lpips_of,
)
from tests.evaluation.small_networks import small_clip_model

CPU = torch.device("cpu")


def images(count: int, seed: int, side: int = 64) -> Tensor:
    """Random images as networks get them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), np.uint8)
    return torch.from_numpy(pixels)


@pytest.mark.filterwarnings("ignore")  # torchvision's, of an argument that lpips uses
def test_lpips_is_that_of_torchmetrics() -> None:
    """The lpips package on a random AlexNet; torchmetrics' own network with the same weights."""
    lpips = pytest.importorskip("lpips")
    theirs = pytest.importorskip("torchmetrics.functional.image.lpips")
    torch.manual_seed(0)
    network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    second = theirs._LPIPS(net="alex", pnet_rand=True)
    second.load_state_dict(network.state_dict(), strict=False)
    made, real = images(3, 0), images(3, 1)
    with torch.inference_mode():
        ours = lpips_of(network)(made, real)
        expected = second(made.float() / 255, real.float() / 255, normalize=True).flatten()
        itself = lpips_of(network)(made, made)
    assert torch.allclose(ours, expected, rtol=1e-4)
    assert ours.min() > 0
    assert itself.abs().max() < 1e-7


class AsBefore:
    """The features as torchmetrics expects them, of transformers 4: the projected ones themselves."""

    def __init__(self, model: CLIPModel) -> None:
        self.model, self.config = model, model.config

    def to(self, _: object) -> "AsBefore":
        return self

    def get_image_features(self, pixels: Tensor) -> Tensor:
        projected: Tensor = self.model.visual_projection(self.model.vision_model(pixels).pooler_output)
        return projected

    def get_text_features(self, ids: Tensor, mask: Tensor) -> Tensor:
        projected: Tensor = self.model.text_projection(self.model.text_model(ids, attention_mask=mask).pooler_output)
        return projected


def test_clip_score_is_that_of_torchmetrics() -> None:
    """Mean over three pairs, from another code path of the same small model."""
    torchmetrics = pytest.importorskip("torchmetrics.functional.multimodal.clip_score")
    model, processor = small_clip_model()
    captions = ["a town after a flood", "fire", "a long road by the sea"]
    made = images(3, 0, side=16)
    with torch.inference_mode():
        ours = clip_of(model, processor)(made, captions)
        expected, _ = torchmetrics._clip_score_update(list(made), captions, AsBefore(model), processor)
    assert ours.tolist() == pytest.approx(expected.clamp(min=0).tolist(), abs=1e-3)
    assert len(set(ours.tolist())) > 1


def test_dinov3_similarity_is_the_cosine_of_pooled_features() -> None:
    """A small random DINOv3, its features one image at a time and the cosine in numpy."""
    torch.manual_seed(0)
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = DINOv3ViTModel(DINOv3ViTConfig(image_size=32, patch_size=16, **layers)).eval()
    processor = DINOv3ViTImageProcessor(size={"height": 32, "width": 32})
    made, real = images(3, 0), images(3, 1)
    with torch.inference_mode():
        ours = features_alike(model, processor)(made, real)
        pairs = [
            [model(processor(images=one, return_tensors="pt").pixel_values).pooler_output[0].numpy() for one in both]
            for both in zip(made, real, strict=True)
        ]
    expected = [float(x @ y / np.sqrt((x @ x) * (y @ y))) for x, y in pairs]
    assert ours.tolist() == pytest.approx(expected, abs=1e-5)
    assert len(set(ours.tolist())) > 1


def test_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named with the reason and the fix, whatever the library raises."""

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    monkeypatch.setattr("transformers.CLIPModel.from_pretrained", offline)
    with pytest.raises(
        NetworkAbsent, match=r"CLIP-score needs openai/clip.*no route to host.*where there is a network"
    ):
        load_clip(CPU)
    pytest.importorskip("torch_fidelity")
    monkeypatch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", offline)
    with pytest.raises(NetworkAbsent, match=r"FID, KID and IS need the Inception weights.*no route to host"):
        load_inception(CPU)


def test_packages_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "lpips", None)
    with warnings.catch_warnings(), pytest.raises(NetworkAbsent, match=r"lpips is not installed: pip install -e"):
        load_lpips("vgg", CPU)

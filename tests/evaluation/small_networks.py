"""Small random stand-ins for the networks that judge images, of the real classes where those can be small."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from evaluation.metrics.networks import Features, ImagePair, ImageText, clip_of
from models.tiny_networks import tiny_tokenizer

FEATURES = 5


class SmallInception(nn.Module):
    """Mean colours as features and logits."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert images.dtype == torch.uint8
        mean = images.float().mean(dim=(2, 3)) / 255
        spread = images.float().flatten(2).std(dim=2) / 255
        features = torch.cat([mean, spread[:, :2]], dim=1)
        return features, 4 * features


def small_lpips(images: Tensor, truth: Tensor) -> Tensor:
    """Squared difference: knows nothing, but is 0 for the truth."""
    return ((images.float() - truth.float()) / 255).square().mean(dim=(1, 2, 3))


class SmallProcessor:
    """CLIP's own image processor at 16 px beside the tiny tokenizer: called as CLIPProcessor is."""

    def __init__(self) -> None:
        self.images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16)
        self.tokenizer = tiny_tokenizer(["a town after a flood"])

    def __call__(self, text: list[str] | None = None, images: Any = None, **options: Any) -> Any:
        """Both sides of the input, as far as they are given."""
        found = self.tokenizer(text, **options) if text is not None else None
        if images is None:
            return found
        pixels = self.images(images, return_tensors="pt")
        if found is None:
            return pixels
        found["pixel_values"] = pixels["pixel_values"]
        return found


def small_clip_model() -> tuple[CLIPModel, SmallProcessor]:
    """CLIP of two layers of width 16, random."""
    torch.manual_seed(0)
    processor = SmallProcessor()
    layers = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {
        "bos_token_id": processor.tokenizer.bos_token_id,
        "eos_token_id": processor.tokenizer.eos_token_id,
        "pad_token_id": processor.tokenizer.pad_token_id,
    }
    config = CLIPConfig(
        text_config=CLIPTextConfig(vocab_size=len(processor.tokenizer), **layers, **ends).to_dict(),
        vision_config=CLIPVisionConfig(image_size=16, patch_size=8, **layers).to_dict(),
        projection_dim=8,
    )
    return CLIPModel(config).eval(), processor


def use_small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of those that would be downloaded."""

    def lpips(net: str, device: torch.device) -> ImagePair:
        return small_lpips

    def inception(device: torch.device) -> Features:
        return SmallInception()

    def clip(device: torch.device) -> ImageText:
        return clip_of(*small_clip_model())

    loaders: dict[str, Callable[..., Any]] = {"load_lpips": lpips, "load_inception": inception, "load_clip": clip}
    for name, loader in loaders.items():
        monkeypatch.setattr(f"evaluation.metrics.judges.{name}", loader)

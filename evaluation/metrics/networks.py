"""The networks that metrics need: fetched from the hub or torchvision at run time, never required.

An unavailable one is a gap in the tables with its reason, not an error.
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

CLIP = "openai/clip-vit-base-patch16"  # as torchmetrics' CLIPScore has it
DINOV3_SAT = "facebook/dinov3-vitl16-pretrain-sat493m"  # of satellite images; its licence must be accepted on the hub
EXTRA = "pip install -e '.[eval]'"

ImagePair = Callable[[Tensor, Tensor], Tensor]  # two (B, 3, H, W) uint8 -> (B,)
Features = Callable[[Tensor], tuple[Tensor, Tensor]]  # (B, 3, H, W) uint8 -> features (B, 2048), logits (B, 1008)
ImageText = Callable[[Tensor, list[str]], Tensor]  # (B, 3, H, W) uint8, captions, N per image -> (N B,)


class NetworkAbsent(Exception):
    """A network that is unavailable; the message says which and why."""


def load_lpips(net: str, device: torch.device) -> ImagePair:
    """LPIPS v0.1 (Zhang et al. 2018) on `vgg` or `alex`."""
    with _named(f"LPIPS needs the {net} network of torchvision"):
        import lpips

        network = lpips.LPIPS(net=net, verbose=False).to(device).requires_grad_(False)
    return lpips_of(network)


def lpips_of(network: torch.nn.Module) -> ImagePair:
    """The distance of images by an LPIPS network that takes values in [-1, 1]."""

    def distance(images: Tensor, truth: Tensor) -> Tensor:
        value: Tensor = network(images.float() / 127.5 - 1, truth.float() / 127.5 - 1)
        return value.flatten()

    return distance


def load_inception(device: torch.device) -> Features:
    """The Inception v3 of the original FID (Heusel et al. 2017), as torch-fidelity has it: resizes by itself."""
    with _named("FID, KID and IS need the Inception weights of torch-fidelity"):
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"]).to(device)
    features: Features = network
    return features


def load_clip(device: torch.device) -> ImageText:
    """CLIP-score (Hessel et al. 2021) without its factor 2.5: 100 x cosine of image and caption, not below 0."""
    with _named(f"CLIP-score needs {CLIP} of the Hugging Face hub"):
        from transformers import CLIPModel, CLIPProcessor

        model = CLIPModel.from_pretrained(CLIP).to(device).requires_grad_(False).eval()
        processor = CLIPProcessor.from_pretrained(CLIP)
    return clip_of(model, processor)


def clip_of(model: Any, processor: Any) -> ImageText:  # noqa: ANN401  # transformers' classes
    """The score of images and captions by a CLIP model; captions are cut at its length.

    Of several captions per image the first of each come first, then the second of each.
    """

    def score(images: Tensor, captions: list[str]) -> Tensor:
        inputs = processor(text=captions, images=list(images.cpu()), return_tensors="pt", padding=True, truncation=True)
        outputs = model(**inputs.to(model.device))
        seen = outputs.image_embeds.repeat(len(captions) // len(images), 1)
        cosine = (seen * outputs.text_embeds).sum(dim=-1)  # both are of length 1
        found: Tensor = (100 * cosine).clamp(min=0)
        return found

    return score


def load_dinov3_sat(device: torch.device) -> ImagePair:
    """DINOv3 of satellite images (Simeoni et al. 2025): cosine of two images, -1..1, higher is more alike."""
    with _named(f"DINOv3-sat similarity needs {DINOV3_SAT} of the Hugging Face hub"):
        from transformers import AutoImageProcessor, AutoModel

        model = AutoModel.from_pretrained(DINOV3_SAT).to(device).requires_grad_(False).eval()
        processor = AutoImageProcessor.from_pretrained(DINOV3_SAT)
    return features_alike(model, processor)


def features_alike(model: Any, processor: Any) -> ImagePair:  # noqa: ANN401  # transformers' classes
    """The cosine of the pooled features of two images by a vision model."""

    def similarity(images: Tensor, truth: Tensor) -> Tensor:
        made, real = (
            model(**processor(images=list(both.cpu()), return_tensors="pt").to(model.device)).pooler_output
            for both in (images, truth)
        )
        return torch.nn.functional.cosine_similarity(made, real)

    return similarity


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Turn whatever a library raises for missing weights or packages into a reason."""
    try:
        # Libraries print downloads and deprecations; the table has what matters.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise NetworkAbsent(f"{what}; {error.name or error} is not installed: {EXTRA}") from error
    except Exception as error:  # hub clients raise many kinds, which mean the same to the user
        why = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise NetworkAbsent(f"{what}, which could not be loaded ({why}). Run once where there is a network.") from error

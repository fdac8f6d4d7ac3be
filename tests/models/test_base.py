"""Which bases are taken: their kind is asked of the config files, their weights in every layout there is."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models import BaseError, load_base
from models.base import TINY
from models.convert import convert

STEMS = {"vae": "diffusion_pytorch_model", "unet": "diffusion_pytorch_model", "text_encoder": "model"}
FILES = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}


def edit(base: Path, part: str, **changes: Any) -> None:
    """Change fields of a part's config file; ... takes one out."""
    path = base / part / FILES.get(part, "config.json")
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("unet", {"addition_embed_type": "text_time"}, "SDXL"),
        ("unet", {"addition_embed_type": "image"}, "addition_embed_type image"),
        ("unet", {"in_channels": 9}, "inpainting base: its UNet takes 9 channels, and its VAE has 4"),
        ("unet", {"in_channels": 8}, "an InstructPix2Pix model"),
        ("unet", {"in_channels": 5}, "depth"),
        ("unet", {"in_channels": 7}, "unknown kind"),
        ("unet", {"out_channels": 8}, "out_channels 8, but the VAE has 4 latent channels"),
        ("unet", {"num_class_embeds": 1000}, "class labels"),
        ("unet", {"class_embed_type": "projection"}, "class labels"),
        ("unet", {"encoder_hid_dim": 4096}, "encoder_hid_dim 4096"),
        ("unet", {"time_cond_proj_dim": 256}, "time_cond_proj_dim 256"),  # a distilled LCM
        ("unet", {"cross_attention_dim": 768}, "cross_attention_dim is 768, but the text encoder's hidden_size is 64"),
        ("unet", {"cross_attention_dim": [64, 32]}, "cross_attention_dim is \\[64, 32\\]"),
        ("unet", {"sample_size": None}, "sample_size is None"),
        ("unet", {"sample_size": ...}, "sample_size"),
        ("unet", {"in_channels": "4"}, "in_channels is '4'"),
        ("unet", {"_class_name": "UNetSpatioTemporalConditionModel"}, "UNetSpatioTemporal"),
        ("vae", {"latent_channels": 16}, "unknown kind"),
        ("vae", {"shift_factor": 0.0609}, "shift"),
        ("vae", {"_class_name": "VQModel"}, "VQModel"),
        ("vae", {"scaling_factor": 0}, "scaling_factor is 0"),
        ("vae", {"block_out_channels": []}, "block_out_channels"),
        ("text_encoder", {"architectures": ["T5EncoderModel"]}, "T5EncoderModel"),
        ("scheduler", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "flow-matching"),
        ("scheduler", {"prediction_type": "flow_prediction"}, "flow-matching"),
        ("scheduler", {"prediction_type": "noise"}, "prediction_type is 'noise'; expected epsilon, v_pred"),
        ("scheduler", {"num_train_timesteps": 10**9}, "num_train_timesteps"),
        ("scheduler", {"beta_schedule": "sigmoid"}, "beta_schedule"),
    ],
)  # fmt: skip
def test_the_kind_of_a_base_is_said_before_any_weight_is_read(
    base: Path, part: str, changes: dict[str, Any], said: str
) -> None:
    edit(base, part, **changes)
    for weighted in STEMS:  # nothing of them can be read
        (base / weighted / f"{STEMS[weighted]}.safetensors").write_bytes(b"")
    with pytest.raises(BaseError, match=rf"{base}/{part if part != 'vae' else '(vae|unet)'}/.*{said}"):
        load_base(base)


def test_a_transformer_is_no_unet(base: Path) -> None:
    (base / "unet").rename(base / "transformer")
    with pytest.raises(BaseError, match="diffusion transformer"):
        load_base(base)


def test_an_instruct_model_is_taken_where_one_is_wanted(base: Path) -> None:
    wide = UNet2DConditionModel.from_config(load_base(base).config("unet") | {"in_channels": 8})
    with pytest.raises(BaseError, match="no InstructPix2Pix model: its UNet takes 4 channels, not the 8"):
        load_base(base, instruct=True)
    wide.save_pretrained(base / "unet")
    assert load_base(base, instruct=True).load_unet().config.in_channels == 8


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not valid JSON"),
        (b"[]", r"the file is \[\]: input should be an object"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 10**5, "not valid JSON"),
    ],
)
@pytest.mark.parametrize("part", ["vae", "text_encoder", "unet", "scheduler"])
def test_a_config_file_that_is_none_is_named(base: Path, part: str, content: bytes, said: str) -> None:
    path = base / part / FILES.get(part, "config.json")
    path.write_bytes(content)
    with pytest.raises(BaseError, match=rf"{path}: {said}"):
        load_base(base)
    path.unlink()
    with pytest.raises(BaseError, match=rf"{path}: no such file"):
        load_base(base)


@settings(max_examples=30)
@given(
    part=st.sampled_from(["vae", "text_encoder", "unet", "scheduler"]),
    field=st.integers(0, 200),
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=6,
    ),
)
@example(part="text_encoder", field=0, value=True)  # architectures
def test_whatever_a_config_says_is_one_message_or_a_base(
    micro_base: Path, tmp_path_factory: pytest.TempPathFactory, part: str, field: int, value: Any
) -> None:
    copy = tmp_path_factory.mktemp("base")
    for path in micro_base.iterdir():
        if path.is_dir() and path.name != part:
            (copy / path.name).symlink_to(path)
    shutil.copytree(micro_base / part, copy / part)
    config = json.loads((copy / part / FILES.get(part, "config.json")).read_text())
    edit(copy, part, **{sorted(config)[field % len(config)]: value})
    try:
        load_base(copy).load_sampler("ddim")
    except BaseError as error:
        assert str(copy) in str(error)


# Layouts


# Hashes


# Tokenizer, hub, stock diffusers


def test_a_tokenizer_without_its_files_is_refused(base: Path) -> None:
    (base / "tokenizer/tokenizer.json").unlink()
    with pytest.raises(BaseError, match=r"tokenizer knows \d tokens, but the text encoder's vocab_size is \d+"):
        load_base(base)


def test_a_tokenizer_of_another_base_is_refused(base: Path) -> None:
    shutil.rmtree(base / "tokenizer")
    shutil.copytree(TINY / "tokenizer", base / "tokenizer")
    tokens = len(json.loads((TINY / "tokenizer/tokenizer.json").read_text())["model"]["vocab"])
    with pytest.raises(BaseError, match=f"knows {tokens} tokens"):
        load_base(base)
    with pytest.raises(BaseError, match=f"knows {tokens} tokens"):
        convert(source=base, out=base.with_name("out"))


def test_the_length_of_a_caption_comes_from_the_text_encoder_where_the_tokenizer_says_none(base: Path) -> None:
    edit(base, "tokenizer", model_max_length=..., max_length=...)
    assert load_base(base).load_tokenizer().model_max_length == 77


def test_the_plain_snippet_of_diffusers_works_on_tiny() -> None:
    """No dtype is named; the image is that of the same networks, every one asked for in float32."""
    pipeline = StableDiffusionPipeline.from_pretrained(TINY)
    assert {part.dtype for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder)} == {torch.float32}
    image = pipeline("after a flood", num_inference_steps=1, generator=torch.Generator().manual_seed(0)).images[0]
    assert image.size == (128, 128)

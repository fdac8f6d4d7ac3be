"""Text encoders other than CLIP's, of the classes that bases in other languages name."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
    RobertaSeriesConfig,
    RobertaSeriesModelWithTransformation,
)
from transformers import BertConfig, BertModel, BertTokenizer, XLMRobertaTokenizer

from models import BaseError, load_base
from tests.worlds import unmapped

SMALL = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
CAPTION = "洪水后的城镇"


def replaced(base: Path, encoder: Any, tokenizer: Any, library: str) -> Path:
    """A base with another text encoder, named in its index as released ones name it."""
    for part, new in (("text_encoder", encoder), ("tokenizer", tokenizer)):
        shutil.rmtree(base / part)
        new.save_pretrained(base / part)
    index = json.loads((base / "model_index.json").read_text())
    index |= {
        "text_encoder": [library, type(encoder).__name__],
        "tokenizer": ["transformers", type(tokenizer).__name__],
    }
    (base / "model_index.json").write_text(json.dumps(index))
    return base


def test_taiyi_s_bert_reads_chinese(base: Path) -> None:
    """Its states are those of the stock pipeline, padded to the length of its own tokenizer."""
    vocab = {token: number for number, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CAPTION])}
    tokenizer = BertTokenizer(vocab=vocab, model_max_length=32)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=64, max_position_embeddings=40, **SMALL)
    folder = replaced(base, BertModel(config), tokenizer, "transformers")
    opened = load_base(folder)
    ids = opened.tokenize([CAPTION, ""])
    assert ids.shape == (2, 1, 32) and ids[0, 0, :9].tolist() == [2, 5, 6, 7, 8, 9, 10, 3, 0]
    pipeline = unmapped(StableDiffusionPipeline.from_pretrained(folder, safety_checker=None))
    theirs = torch.cat(pipeline.encode_prompt(CAPTION, "cpu", 1, True))
    torch.testing.assert_close(opened.encode(opened.load_text_encoder(), ids)["states"], theirs, rtol=1e-5, atol=1e-6)


def test_altdiffusion_s_roberta_is_masked_and_projected(base: Path) -> None:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *CAPTION, "<mask>"]
    tokenizer = XLMRobertaTokenizer(vocab=[(piece, -1.0) for piece in pieces], model_max_length=77)
    torch.manual_seed(0)
    config = RobertaSeriesConfig(
        vocab_size=len(tokenizer), hidden_size=32, project_dim=64, max_position_embeddings=80, **SMALL
    )
    encoder = RobertaSeriesModelWithTransformation(config).eval()
    opened = load_base(replaced(base, encoder, tokenizer, "alt_diffusion"))
    found = opened.encode(opened.load_text_encoder(), opened.tokenize([CAPTION]))["states"]
    given = tokenizer(CAPTION, padding="max_length", max_length=77, return_tensors="pt")
    assert 0 < given.attention_mask.sum() < 77
    with torch.no_grad():
        expected = encoder(given.input_ids, attention_mask=given.attention_mask)[0]
    assert expected.shape == (1, 77, 64)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_text_encoder_of_another_class_is_named(base: Path) -> None:
    path = base / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"text_encoder": ["transformers", "GemmaModel"]}))
    with pytest.raises(BaseError, match=r"GemmaModel and CLIPTextModel; known are CLIPTextModel, .*BertModel"):
        load_base(base)

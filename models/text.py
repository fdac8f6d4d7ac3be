"""Captions as text states. Longer ones than the 77 tokens of CLIP are encoded piece by piece and joined.

A line break always starts a piece; a line that is still too long is cut after every 75 tokens. Every piece has its own
start and end token, and the states of the pieces are concatenated, so that the UNet's cross-attention sees all of
them. Captions of fewer pieces are padded with empty ones.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.deprecated.alt_diffusion.modeling_roberta_series import (
    RobertaSeriesModelWithTransformation,
)
from torch import Tensor
from transformers import (
    BertModel,
    BertTokenizer,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5EncoderModel,
    T5TokenizerFast,
    XLMRobertaTokenizer,
)

from models.base_config import read_json
from models.errors import BaseError, UnfitBase

FEWEST_TOKENS = 4  # transformers makes a tokenizer of three where its files are missing


# Classes of text encoders that a base may name -> what they are, and the class of their tokenizers.
TEXT_ENCODERS: dict[str, tuple[type[PreTrainedModel], type[PreTrainedTokenizerBase]]] = {
    "CLIPTextModel": (CLIPTextModel, CLIPTokenizer),
    "CLIPTextModelWithProjection": (CLIPTextModelWithProjection, CLIPTokenizer),
    "BertModel": (BertModel, BertTokenizer),  # of Taiyi's Chinese Stable Diffusion
    "RobertaSeriesModelWithTransformation": (RobertaSeriesModelWithTransformation, XLMRobertaTokenizer),  # AltDiffusion
    "T5EncoderModel": (T5EncoderModel, T5TokenizerFast),
}


def text_class(folder: Path, part: str) -> str:
    """The class that model_index.json names for a text encoder, or else its own config.

    Raises:
        UnfitBase: neither is known here, or they contradict each other.
    """
    index, path = folder / "model_index.json", folder / part / "config.json"
    named = _listed(read_json(index).get(part))[1:] if index.is_file() else []
    own = _listed(read_json(path).get("architectures"))
    found = [str(name) for name in [*named, *own] if name is not None] or ["CLIPTextModel"]
    # CLIP's text half is also saved within the whole CLIPModel, or with a projection that nobody uses.
    if len({"CLIP" if name.startswith("CLIP") else name for name in found}) > 1 or found[0] not in TEXT_ENCODERS:
        raise UnfitBase(
            f"{path}: a base whose text encoder is {' and '.join(dict.fromkeys(found))}; known are "
            f"{', '.join(TEXT_ENCODERS)}."
        )
    return found[0]


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 (whatever a config says)
    return value if isinstance(value, list) else [value] if value else []


def open_tokenizer(
    folder: Path, vocabulary: int, positions: int, kind: type[PreTrainedTokenizerBase] = CLIPTokenizer
) -> Any:  # noqa: ANN401 (of that class)
    """The tokenizer of a text encoder that knows `vocabulary` tokens and reads `positions` of them.

    Raises:
        BaseError: it knows fewer or more (T5's knows fewer). Without its files transformers silently makes one of three
            tokens, for which all captions are the same.
    """
    try:
        tokenizer = kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises many kinds for a damaged file
        raise BaseError(f"{folder}: no tokenizer that can be read ({error}). Copy the whole folder again.") from error
    spare = vocabulary - len(tokenizer)
    if spare < 0 or (spare and kind is not T5TokenizerFast) or len(tokenizer) < FEWEST_TOKENS:
        raise BaseError(
            f"{folder}: the tokenizer knows {len(tokenizer)} tokens, but the text encoder's vocab_size is "
            f"{vocabulary}. Its files are missing (tokenizer.json, or vocab.json and merges.txt), or of another base. "
            "Copy the whole folder again."
        )
    # If the tokenizer's config does not set it, its limit is a meaningless number.
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], chunks: int = 1) -> Tensor:
    """Token ids of captions.

    Args:
        tokenizer: of the base.
        texts: B captions.
        chunks: pieces of a caption; what does not fit is truncated.

    Returns:
        (B, chunks, 77) int64; 77 is the tokenizer's `model_max_length`.
    """
    pieces = [piece for cut in _cut(tokenizer, texts, chunks) for piece in _filled(tokenizer, cut, chunks)]
    padded = [piece + [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(piece)) for piece in pieces]
    return torch.tensor(padded).view(len(texts), chunks, -1)


def encode_text(text_encoder: Any, token_ids: Tensor) -> Tensor:  # noqa: ANN401 (of TEXT_ENCODERS)
    """(B, chunks, 77) token ids -> (B, chunks * 77, D) last hidden states, of AltDiffusion projected."""
    ids, config = token_ids.flatten(0, 1), text_encoder.config
    masked = getattr(config, "use_attention_mask", False)  # as diffusers' pipelines ask
    states: Tensor = text_encoder(ids, attention_mask=(ids != config.pad_token_id).long() if masked else None)[0]
    return states.view(len(token_ids), -1, states.shape[-1])


@torch.no_grad()
def text_states(
    tokenizer: PreTrainedTokenizerBase, text_encoder: PreTrainedModel, texts: Sequence[str], chunks: int
) -> Tensor:
    """`prompt_embeds` for a diffusers pipeline, (B, chunks * 77, D), where the text encoder is."""
    return encode_text(text_encoder, tokenize(tokenizer, texts, chunks).to(text_encoder.device))


def longest(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], chunks: int) -> tuple[int, int]:
    """How many captions are truncated at `chunks` pieces, and how many pieces would hold them all."""
    if not texts:
        return 0, chunks
    needed = list(map(len, _cut(tokenizer, texts, chunks)))
    most = max(map(len, _cut(tokenizer, texts, 2))) if max(needed) > chunks else chunks
    return sum(number > chunks for number in needed), most


def maybe_truncated(texts: Sequence[str], token_ids: Tensor, chunks: int, length: int) -> list[str]:
    """Those that `longest` need look at: what was truncated fills a piece, or has more lines than there are pieces.

    `token_ids`, (B, ...), are `Base.tokenize`'s of them, `length` is the tokenizer's `model_max_length`.
    """
    pieces = token_ids.flatten(1)[:, : chunks * length].unflatten(1, (chunks, length))  # of the first tokenizer
    full = (pieces[..., -1] != pieces[..., -2]).any(1).tolist()  # elsewhere both are padding
    return [text for text, at_end in zip(texts, full, strict=True) if at_end or text.count("\n") >= chunks]


def token_places(tokenizer: PreTrainedTokenizerBase, text: str, chunks: int) -> list[tuple[int, int]]:
    """(place in `text_states`, id) of every token that is read of a caption; start, end and padding are none of it."""
    pieces = enumerate(_cut(tokenizer, [text], chunks)[0][:chunks])
    length = tokenizer.model_max_length
    return [(chunk * length + i, token) for chunk, piece in pieces for i, token in enumerate(piece, start=1)]


def _filled(tokenizer: PreTrainedTokenizerBase, cut: list[list[int]], chunks: int) -> list[list[int]]:
    """`chunks` pieces of a caption, with start and end tokens."""
    start = tokenizer.cls_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    end = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    return [[start, *piece, end] for piece in (cut + [[]] * chunks)[:chunks]]


def _cut(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], chunks: int) -> list[list[list[int]]]:
    """All pieces of every caption, however many; one call, which takes a tenth of the time of a call for each."""
    room = tokenizer.model_max_length - 2  # besides start and end
    # With one piece the base's own cut applies, and a line break is white space to it.
    lines = [text.split("\n") if chunks > 1 else [text] for text in texts]
    words = iter(tokenizer([one for each in lines for one in each], add_special_tokens=False, verbose=False).input_ids)
    return [
        [line[start : start + room] for line in islice(words, len(each)) for start in range(0, max(len(line), 1), room)]
        for each in lines
    ]

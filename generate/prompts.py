"""Prompts longer than the text encoder's context."""

from collections.abc import Sequence

from transformers import CLIPTokenizer

from generate.errors import GenerateError
from models.text import longest


def check_prompts(tokenizer: CLIPTokenizer, prompts: Sequence[str], *, chunks: int, captions: bool) -> None:
    """Report prompts that are too long for the text encoder.

    Args:
        tokenizer: of the base.
        prompts: all of a run.
        chunks: 77-token chunks that the checkpoint was trained with.
        captions: they are a dataset's own captions, which training truncated alike: only report them.

    Raises:
        GenerateError: the user's own prompt is too long.
    """
    distinct = sorted(set(prompts))
    cut, needed = longest(tokenizer, distinct, chunks)
    if not cut:
        return
    room = f"{chunks * tokenizer.model_max_length} tokens that the checkpoint reads"
    if captions:
        print(f"{cut} of {len(distinct)} captions are longer than the {room}; training truncated them alike.")
        return
    first = next(prompt for prompt in distinct if longest(tokenizer, [prompt], chunks)[0])
    tokens = len(tokenizer(first, verbose=False).input_ids)
    raise GenerateError(
        f"the prompt {first[:60]!r}... has {tokens} tokens, more than the {room}; its end would be lost. Shorten it, "
        f"or use a checkpoint trained with {needed} text chunks."
    )

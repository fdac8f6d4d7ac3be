"""Prompts that the text encoder cannot read to their end."""

from collections.abc import Sequence

from transformers import CLIPTokenizer

from generate.errors import GenerateError


def check_prompts(tokenizer: CLIPTokenizer, prompts: Sequence[str], *, captions: bool) -> None:
    """Say which prompts are too long for the text encoder, and what of them is lost.

    Args:
        tokenizer: of the base.
        prompts: all of a run.
        captions: they are a dataset's own captions, which training cut at the same place: say so and go on.

    Raises:
        GenerateError: the user's own prompt is too long.
    """
    limit = tokenizer.model_max_length
    # Without truncation the tokenizer warns of the very thing that is looked for here.
    lengths = {prompt: len(tokenizer(prompt, verbose=False).input_ids) for prompt in set(prompts)}
    long = [prompt for prompt in prompts if lengths[prompt] > limit]
    if not long:
        return
    if captions:
        print(
            f"{len(long)} of {len(prompts)} captions are longer than the {limit} tokens of the text encoder; their "
            "ends are not read, in training neither."
        )
        return
    ids = tokenizer(long[0], truncation=True, max_length=limit).input_ids
    read = tokenizer.decode(ids, skip_special_tokens=True)
    raise GenerateError(
        f"the prompt {long[0][:60]!r}... has {lengths[long[0]]} tokens; the text encoder reads {limit}. It would stop "
        f"at ...{read[-40:]!r}. Shorten it."
    )

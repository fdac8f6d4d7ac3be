"""A vision-language model of transformers in this process: images and prompts in, texts out."""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from caption.errors import CaptionError
from caption.options import Writer

T = TypeVar("T")
Answer = tuple[str, bool]  # the text, and whether the model ended it


def own_device() -> torch.device:
    """Each process of a launch has a GPU of its own."""
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu")


class ImageModel:
    """A model and its processor. Code that comes with a model is never run: such models need a server."""

    def __init__(self, writer: Writer) -> None:
        """Load both, in bfloat16 on a GPU; transformers chooses SDPA wherever the model has it."""
        self.writer, self.device = writer, own_device()
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        try:
            self.processor = AutoProcessor.from_pretrained(writer.model, revision=writer.revision)
            model = AutoModelForImageTextToText.from_pretrained(writer.model, revision=writer.revision, dtype=dtype)
        except Exception as error:  # whatever the hub, a config or a file leads to
            raise CaptionError(
                f"{writer.model}: no image-text-to-text model that transformers can load "
                f"({str(error).splitlines()[0]}). Check the name, or serve it (vLLM, SGLang) and give --server."
            ) from error
        self.model = model.to(self.device).eval()
        self.processor.tokenizer.padding_side = "left"  # the texts begin where the prompts end

    def __call__(self, batch: Sequence[tuple[Sequence[Any], str]]) -> list[Answer]:
        """One text for every prompt with its images."""
        conversations = [[message(images, prompt)] for images, prompt in batch]
        inputs = self.processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(self.device, dtype=self.model.dtype)
        new = generated(self.model, inputs, self.writer)[:, inputs["input_ids"].shape[1] :]
        texts = self.processor.batch_decode(new, skip_special_tokens=True)
        return list(zip(texts, ended(new, self.model), strict=True))


def message(images: Sequence[Any], prompt: str) -> dict[str, Any]:
    """What a user says in a chat: images, then the prompt."""
    return {
        "role": "user",
        "content": [*({"type": "image", "image": image} for image in images), {"type": "text", "text": prompt}],
    }


@torch.inference_mode()
def generated(model: Any, inputs: Any, writer: Writer) -> torch.Tensor:  # noqa: ANN401  # of transformers
    """Token ids, greedy unless a temperature is given."""
    how: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if writer.temperature:
        torch.manual_seed(writer.seed)
        how = {"do_sample": True, "temperature": writer.temperature}
    tokens: torch.Tensor = model.generate(**inputs, max_new_tokens=writer.max_new_tokens, **how)
    return tokens


def ended(new: torch.Tensor, model: Any) -> list[bool]:  # noqa: ANN401
    """Whether each text holds one of the tokens by which the model ends."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return [bool(torch.isin(row, torch.tensor([end for end in ends if end is not None])).any()) for row in new.cpu()]


class Halving:
    """Work in batches that are halved, for good, when the memory does not suffice."""

    def __init__(self, size: int) -> None:
        """Begin with batches of `size`."""
        self.size = size

    def __call__(self, work: Callable[[Sequence[T]], list[Answer]], items: Sequence[T]) -> list[Answer]:
        """The results for all items, in order.

        Raises:
            CaptionError: the memory does not suffice for one.
        """
        found: list[Answer] = []
        while len(found) < len(items):
            part = items[len(found) : len(found) + self.size]
            try:
                found += work(part)
                continue
            except torch.OutOfMemoryError as error:
                fault = str(error).splitlines()[0]
            if len(part) == 1:
                raise CaptionError(
                    f"out of memory with one caption at a time ({fault}). Use a smaller model or a server."
                )
            self.size = len(part) // 2  # outside of the handler, which keeps the tensors of the failed batch alive
            print(f"out of memory: {self.size} captions at once from here on", flush=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return found

"""Captions of satellite images by a vision-language model, checked against the labels; or captions of others, checked.

On a laptop: `pre2post caption --dataset d512 --recheck rscc.jsonl --out checked.jsonl`
On a GPU:    `pre2post caption --dataset d512 --model Qwen/Qwen2.5-VL-7B-Instruct --out vlm.jsonl`
On many:     `accelerate launch --num_processes 4 -m launch.cli caption ...`
"""

from contextlib import ExitStack
from pathlib import Path

from caption.errors import CaptionError
from caption.options import AS_LONG_AS_IT_IS, NONE, PROMPTS, Shortening, Writer
from caption.recheck import recheck as recheck_file
from data.dataset.processes import join_processes
from data.storage import locked


def caption(
    *,
    dataset: Path,
    out: Path,
    recheck: Path | None = None,
    target: str = "post",
    style: str = "sentence-facts",
    prompts: Path = PROMPTS,
    split: str = "",
    limit: int | None = None,
    writer: Writer = NONE,
    shortening: Shortening = AS_LONG_AS_IT_IS,
) -> None:
    """Make captions with a vision-language model and check them against the labels (docs/captions.md).

    Captions that pass are written to `out`, for `pre2post build --captions`; those that do not beside it, with the
    reasons. After an interruption the same command goes on where it stopped: what is made lies in a folder beside
    `out`. The order is that of the dataset, however many processes there are.

    Args:
        dataset: A folder made by `pre2post build`.
        out: The JSONL file to write.
        recheck: Instead of making captions, check those of this file, which may be any that `pre2post build --captions`
            reads. No model is needed.
        target: What to caption: any of pre, post, change, separated by commas. A change is described from both images,
            for the post image.
        style: Which prompts to use: sentence, news or paragraph; with -facts, the model is given what the labels say.
            It is the style of the captions.
        prompts: The folder of the prompts, one file for a target and style, such as post-news.txt.
        split: Which split of the dataset; by default all of them.
        limit: Caption only so many patches, evenly spread.
        writer: Which model writes.
        shortening: How captions come to fit the text encoder of a base.
    """
    if recheck:
        if writer.model or writer.server:
            raise CaptionError("--recheck needs no --model and no --server. Leave them out.")
        recheck_file(dataset, recheck, out)
        return
    if not writer.model:
        raise CaptionError("give --model, a vision-language model, or --recheck, a file of captions to check.")
    from caption.write import write_captions  # brings torch and transformers, which --recheck does without

    processes, folder = join_processes(), out.with_name(f"{out.name}.made")
    with ExitStack() as held:
        if processes.is_main:
            held.enter_context(locked(folder, out=out))
        write_captions(dataset, out, folder, processes, writer, shortening, (target, style, prompts, split, limit))

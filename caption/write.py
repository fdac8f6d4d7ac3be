"""Captions from the first prompt to the two files: made, tidied, mirrored, checked."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from caption.errors import CaptionError
from caption.jobs import Job, jobs_of
from caption.make import Team, Work, in_batches
from caption.model import Answer, ImageModel
from caption.options import Shortening, Writer
from caption.prompt import IMAGES
from caption.server import ChatClient
from caption.shorten import Length, Long, Shortener, fitted, sentences, too_long
from caption.store import Made, Store
from caption.verdicts import Verdict, judge, table, write_verdicts
from data.captions.facts import CaptionOptions, layout_of
from data.captions.length import chunks
from data.captions.short import varied_short_caption
from data.captions.sides import mirrored_wording
from data.captions.words import Phrasing
from data.dataset.processes import Processes
from data.strict_json import as_json

Which = tuple[str, str, Path, str, "int | None"]  # target, style, prompts, split, limit
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


def write_captions(
    dataset: Path,
    out: Path,
    folder: Path,
    processes: Processes,
    writer: Writer,
    shortening: Shortening,
    which: Which,
) -> None:
    """Make all captions that are missing and write those that pass to `out`.

    Raises:
        CaptionError: the server left some unanswered; the others are written.
    """
    target, style, prompts, split, limit = which
    revision = "" if writer.server else revision_of(writer)
    jobs = jobs_of(dataset, split, limit, target, style, prompts, writer, revision)
    client = ChatClient(writer) if writer.server else None
    team = Team(Store(folder, processes.index), processes)
    made = team.make(jobs, _size(writer), "captions", _opened(writer, client))
    texts = {key: tidy(made[key]) for key in (job.key for job in jobs) if key in made}
    short, cut = texts, 0
    if shortening.shorten:
        short, cut = shortened(texts, shortening, team, writer, client, revision)
    if processes.is_main:
        verdicts = []
        for job in jobs:
            if job.key in texts:
                verdicts.append(verdict(job, short[job.key], writer, revision))
                if shortening.chunks:
                    verdicts.append(verdict(job, chunks(sentences(texts[job.key])), writer, revision, "-chunks"))
        write_verdicts(out, verdicts)
        print(table(verdicts, out))
        if unended := sum(not made[key].ended for key in texts):
            print(f"{unended:,} were not ended within {writer.max_new_tokens} tokens and lost their last sentence")
        if cut:
            print(f"{cut:,} were still too long when shortened, and were cut after a sentence")
    if client and client.failed:
        raise CaptionError(
            f"{len(client.failed):,} captions were not made: {'; '.join(client.failed[:3])}. Run the same command "
            "again: it asks for these only."
        )


def shortened(
    texts: Mapping[str, str],
    shortening: Shortening,
    team: Team,
    writer: Writer,
    client: ChatClient | None,
    revision: str,
) -> tuple[dict[str, str], int]:
    """The texts by the same keys, so that all fit, and how many had to be cut."""
    length, same = Length(shortening), shortening.shorten == "same"
    by = writer.described(revision)
    asked = {key: too_long(text, shortening, length, by) for key, text in texts.items() if not length.fits(text)}

    def load() -> Work[Long]:
        return in_batches(Shortener(shortening.shorten, writer), writer.batch_size)

    size = _size(writer) if same else writer.batch_size
    made = team.make(list(asked.values()), size, "shortening", _opened(writer, client) if same else load)
    found, cut = dict(texts), 0
    for key, long in asked.items():
        answer = tidy(made[long.key]) if long.key in made else ""
        found[key], was_cut = fitted(texts[key], answer, length)
        cut += was_cut
    return found, cut


def verdict(job: Job, text: str, writer: Writer, revision: str, ending: str = "") -> Verdict:
    """The line of a caption, and what is wrong with it; `ending` is that of its style.

    Training needs one of the style for every patch and its mirrored view: where there is none, it is from the labels.
    """
    of_labels, of_labels_mirrored = label_caption(job)
    base = {**job.entry, "style": job.entry["style"] + ending}
    instead = as_json({**base, "text": of_labels, "mirrored": of_labels_mirrored, "model": "labels"}, None)
    mirrored = mirrored_wording(text)
    entry = {**base, "text": text, "mirrored": of_labels_mirrored if mirrored is None else mirrored}
    by = {"key": job.key, "model": writer.model, "revision": revision, "prompt": job.prompt.version}
    line = as_json(entry | {name: value for name, value in by.items() if value}, None)
    return judge(line, job.patch.id, dict(entry), job.patch.truth, instead)


def label_caption(job: Job) -> tuple[str, str]:
    """The builder's `placed` caption of a patch and of its mirrored view."""
    facts, phase = job.patch.truth.facts, IMAGES[job.target][-1]
    counts, layout = job.patch.truth.counts, layout_of(facts)
    options = CaptionOptions(0, counts.moderate_from, counts.severe_from) if counts else CaptionOptions()
    phrasing = Phrasing(facts.patch_id, 0)
    first, second = (
        varied_short_caption(facts, view, phase, options, phrasing) for view in (layout, layout.mirrored())
    )
    return first, second


def tidy(made: Made) -> str:
    """On one line, without quotation marks around it, and without a last sentence that was not ended."""
    text = " ".join(made.text.split()).strip("\"'“”")
    ends = [found.end() for found in _SENTENCE_END.finditer(text)]
    return text if made.ended or not ends else text[: ends[-1]]


def revision_of(writer: Writer) -> str:
    """The commit of a model of the hub; of a folder, nothing."""
    if Path(writer.model).is_dir():
        return ""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(writer.model, revision=writer.revision)
    except Exception as error:  # of the hub, of many kinds
        raise CaptionError(f"{writer.model}: cannot be had ({str(error).splitlines()[0]}).") from error
    return str(getattr(config, "_commit_hash", None) or writer.revision)


def _size(writer: Writer) -> int:
    """How many captions are asked for together."""
    return 4 * writer.concurrency if writer.server else writer.batch_size


def _opened(writer: Writer, client: ChatClient | None) -> Callable[[], Work[Any]]:
    """Loads what answers prompts with images: a server, or the model in this process."""

    def ask(batch: Sequence[Job | Long]) -> Iterator[tuple[Any, Answer]]:
        assert client
        names = [task.name for task in batch]
        return client.answers(batch, names, [(task.images, task.text) for task in batch])

    def load() -> Work[Any]:
        model = ImageModel(writer)
        return in_batches(lambda batch: model([(task.images, task.text) for task in batch]), writer.batch_size)

    return (lambda: ask) if client else load

"""Captions from the first prompt to the two files: made, tidied, mirrored, checked."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from caption.errors import CaptionError
from caption.jobs import Job, jobs_of
from caption.make import Team, Work, in_batches
from caption.model import ImageModel
from caption.options import Writer
from caption.server import ChatClient
from caption.store import Made, Store
from caption.verdicts import Verdict, judge, table, write_verdicts
from data.captions.sides import mirrored_wording
from data.dataset.processes import Processes
from data.strict_json import as_json

Which = tuple[str, str, Path, str, "int | None"]  # target, style, prompts, split, limit
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


def write_captions(dataset: Path, out: Path, folder: Path, processes: Processes, writer: Writer, which: Which) -> None:
    """Make all captions that are missing and write those that pass to `out`.

    Raises:
        CaptionError: the server left some unanswered; the others are written.
    """
    target, style, prompts, split, limit = which
    revision = "" if writer.server else revision_of(writer)
    jobs = jobs_of(dataset, split, limit, target, style, prompts, writer, revision)
    client = ChatClient(writer) if writer.server else None
    size = 4 * writer.concurrency if client else writer.batch_size
    team = Team(Store(folder, processes.index), processes)
    made = team.make(jobs, size, "captions", _opened(writer, client))
    if processes.is_main:
        verdicts = [verdict(job, made[job.key], writer, revision) for job in jobs if job.key in made]
        write_verdicts(out, verdicts)
        print(table(verdicts, out))
        if cut := sum(not made[job.key].ended for job in jobs if job.key in made):
            print(f"{cut:,} were not ended within {writer.max_new_tokens} tokens and lost their last sentence")
    if client and client.failed:
        raise CaptionError(
            f"{len(client.failed):,} captions were not made: {'; '.join(client.failed[:3])}. Run the same command "
            "again: it asks for these only."
        )


def verdict(job: Job, made: Made, writer: Writer, revision: str) -> Verdict:
    """The line of a caption, and what is wrong with it."""
    text = tidy(made)
    entry = {**job.entry, "text": text}
    if (mirrored := mirrored_wording(text)) and mirrored != text:
        entry["mirrored"] = mirrored
    by = {"key": job.key, "model": writer.model, "revision": revision, "prompt": job.prompt.version}
    line = as_json(entry | {name: value for name, value in by.items() if value}, None)
    return judge(line, job.patch.id, dict(entry), job.patch.truth)


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


def _opened(writer: Writer, client: ChatClient | None) -> Callable[[], Work[Job]]:
    def ask(batch: Sequence[Job]) -> object:
        assert client
        names = [f"{job.patch.id} ({job.target})" for job in batch]
        return client.answers(batch, names, [(job.images, job.text) for job in batch])

    def load() -> Work[Job]:
        model = ImageModel(writer)
        return in_batches(lambda batch: model([(job.images, job.text) for job in batch]), writer.batch_size)

    return (lambda: ask) if client else load  # type: ignore[return-value]

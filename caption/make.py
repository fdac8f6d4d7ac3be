"""Make what is missing, wherever an earlier run has stopped, and share the work among the processes of a launch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from caption.model import Answer, Halving
from caption.store import Made, Store
from data.dataset.processes import Processes
from data.progress import Bar

LOG_EVERY_S = 10.0


class Keyed(Protocol):
    """What a text is made of."""

    @property
    def key(self) -> str:
        """Stands for all that the text depends on."""
        ...


K = TypeVar("K", bound=Keyed)
Work = Callable[[Sequence[K]], Iterable[tuple[K, Answer]]]  # may give them one by one, in any order


@dataclass(frozen=True)
class Team:
    """Where this process writes, and its place among the others."""

    store: Store
    processes: Processes

    def make(self, tasks: Sequence[K], size: int, what: str, open_work: Callable[[], Work[K]]) -> dict[str, Made]:
        """All texts by key, once every process has made its share of those that are missing.

        Batches are cut from all tasks before any is taken to be done: whatever an earlier run has made, and however
        many processes there are, a text is made beside the same others.

        Args:
            tasks: the same in every process.
            size: of a batch.
            what: the bar says is being done.
            open_work: loads what is needed, if anything is missing.
        """
        tasks = list({task.key: task for task in tasks}.values())  # of equal images and prompts, one
        done = self.store.read()
        batches = [tasks[start : start + size] for start in range(0, len(tasks), size)]
        mine = batches[self.processes.index :: self.processes.number]
        missing = [batch for batch in ([one for one in batch if one.key not in done] for batch in mine) if batch]
        if missing:
            work, total = open_work(), sum(map(len, missing))
            with Bar(total=total, desc=what, unit="caption", disable=not self.processes.is_main) as bar:
                for batch in missing:
                    for answers in work_through(work, batch):
                        self.store.append(answers)
                        bar.update(len(answers))
        self.processes.wait()
        return self.store.read()


def work_through(work: Work[K], batch: Sequence[K]) -> Iterator[list[Made]]:
    """What comes together is written together."""
    answers = work(batch)
    if isinstance(answers, list):
        yield [Made(task.key, text, whole) for task, (text, whole) in answers]
    else:
        yield from ([Made(task.key, text, whole)] for task, (text, whole) in answers)


def in_batches(answer: Callable[[Sequence[K]], list[Answer]], size: int) -> Work[K]:
    """Work that a model does at once, in halves if the memory does not suffice."""
    halving = Halving(size)
    return lambda batch: list(zip(batch, halving(answer, batch), strict=True))

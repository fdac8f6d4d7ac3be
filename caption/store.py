"""What a model has written so far: a line per text, appended and flushed, so that a stopped run loses nothing.

Every process has a file of its own. A text is found by its key, which stands for everything that it depends on.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from data.errors import DataError
from data.storage import reraise_disk_errors
from data.strict_json import as_json


@dataclass(frozen=True)
class Made:
    """A text as the model gave it."""

    key: str
    text: str
    ended: bool  # by the model, not by the limit of tokens


class Store:
    """The texts in a folder, read by all processes, each of which appends to its own file."""

    def __init__(self, folder: Path, index: int) -> None:
        """Open it; half a line that a crash left at the end of this process's file is removed."""
        self.folder, self.path = folder, folder / f"process-{index:03d}.jsonl"
        with reraise_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)

    def read(self) -> dict[str, Made]:
        """All that is whole, of all processes, by key."""
        found = {}
        for path in sorted(self.folder.glob("process-*.jsonl")):
            for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
                try:
                    made = Made(**json.loads(line))
                except (ValueError, TypeError) as error:
                    raise DataError(f"{path}, line {number}: cannot be read ({error}). Delete this line.") from None
                found[made.key] = made
        return found

    def append(self, made: Sequence[Made]) -> None:
        """Write texts in one go, onto the disk."""
        with reraise_disk_errors(self.path), self.path.open("ab") as file:
            file.write("".join(as_json(asdict(one), None) for one in made).encode())
            file.flush()
            os.fsync(file.fileno())

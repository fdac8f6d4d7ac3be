"""Progress bars: live in a terminal, a line now and then in a log file, where carriage returns would pile up."""

import sys
import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    Tqdm = tqdm[Any]
else:
    Tqdm = tqdm  # no generic class when it runs

LOG_EVERY_S = 30.0  # seconds between the lines of a bar in a log file


class Bar(Tqdm):
    """A bar on stderr; the arguments are tqdm's."""

    def __init__(self, *args: Any, **settings: Any) -> None:  # noqa: ANN401 (tqdm's own)
        self.live = sys.stderr.isatty()
        self.last_line = settings.get("leave", True) and not settings.get("delay")
        self.silent_until = time.monotonic() + LOG_EVERY_S
        if not self.live:
            settings |= {"mininterval": LOG_EVERY_S, "miniters": 1, "leave": False}
        super().__init__(*args, **settings)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show its state; in a log file only if a line is due."""
        if self.live:
            return super().display(msg, pos)
        if msg is None and (now := time.monotonic()) >= self.silent_until:
            self.silent_until = now + LOG_EVERY_S
            self.fp.write(f"{self}\n")
            self.fp.flush()
        return None

    def clear(self, nolock: bool = False) -> None:
        """Make room for another line; a log file has it."""
        if self.live:
            super().clear(nolock)

    def close(self) -> None:
        """End it; a log file gets a last line, unless the bar is to leave none or to appear late."""
        if not (self.live or self.disable) and self.last_line:
            self.silent_until = 0.0
            self.display()
        super().close()

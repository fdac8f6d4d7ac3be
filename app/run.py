"""Generate images in a page of the browser.

On a laptop: `pre2post app`, or `pre2post app --checkpoints runs --dataset datasets/xbd512`
"""

import importlib.util
import os
import signal
import tempfile
from pathlib import Path

from app.errors import AppError
from app.models import Models
from app.picks import Picks
from generate.processes import join_processes

LOCAL = ("127.0.0.1", "localhost", "::1")
INSTALL = "python -m pip install -e '.[app]'"


def app(
    *,
    checkpoints: list[Path] = [Path("runs")],  # noqa: B006  # read only
    base: str | None = None,
    dataset: Path | None = None,
    split: str = "test",
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: Path | None = None,
    share: bool = False,
) -> None:
    """Generate images in a page of the browser, from uploads or from patches of a dataset (docs/app.md).

    Opens on this machine only. `tiny`, which ships with the project, is among the choices, so it works before
    anything is trained. Everything is written into one temporary folder, which is deleted when the command
    ends (Ctrl-C).

    Args:
        checkpoints: Runs, checkpoints, or folders of runs, to choose from.
        base: Where the base of the checkpoints is now, also offered alone; by default where the training found it, and
            `tiny`.
        dataset: A folder made by `pre2post build`; some of its patches can be picked in place of an upload.
        split: Split of the dataset.
        host: Address to listen on; 0.0.0.0 for all of the machine's, which needs --auth.
        port: Port to listen on.
        auth: A file with a line NAME:PASSWORD for each visitor. Without, everybody on this machine may enter.
        share: Also open it to the internet through a tunnel of Gradio's; needs --auth.
    """
    users = read_users(auth) if auth else None
    check_access(host, share, users)
    if importlib.util.find_spec("gradio") is None:
        raise AppError(f"the app needs Gradio, which is not installed. Install it with: {INSTALL}")
    join_processes()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the folder is deleted then too
    models, picks = Models(checkpoints, base), Picks(dataset, split)
    with tempfile.TemporaryDirectory(prefix="pre2post-app-", ignore_cleanup_errors=True) as folder:
        contain(Path(folder))
        from app.page import launched  # only the app needs the extra

        blocks = launched(models, picks, Path(folder), host=host, port=port, users=users, share=share)
        print(f"pre2post app: http://{host}:{port}  (Ctrl-C ends it)", flush=True)
        blocks.block_thread()


def contain(folder: Path) -> None:
    """Let everything that Gradio and others write lie in one folder, and nothing be reported to Gradio's makers."""
    tempfile.tempdir = str(folder)
    os.environ |= {"TMPDIR": str(folder), "GRADIO_TEMP_DIR": str(folder / "cache"), "GRADIO_ANALYTICS_ENABLED": "False"}


def check_access(host: str, share: bool, users: list[tuple[str, str]] | None) -> None:
    """Stop before the page is open to others without a password.

    Raises:
        AppError: naming the option.
    """
    open_to = "--share" if share else f"--host {host}" if host not in LOCAL else ""
    if open_to and not users:
        raise AppError(f"{open_to} opens the page to others: it needs --auth FILE, with a line NAME:PASSWORD for each.")


def read_users(file: Path) -> list[tuple[str, str]]:
    """The names and passwords of a file.

    Raises:
        AppError: it cannot be read, or a line is no NAME:PASSWORD.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AppError(f"auth {file}: cannot be read ({error}). Expected a text file of lines NAME:PASSWORD.") from None
    users = [(name.strip(), password) for name, _, password in (line.partition(":") for line in lines if line.strip())]
    for number, (name, password) in enumerate(users, start=1):
        if not (name and password):
            raise AppError(f"auth {file}: entry {number} is no NAME:PASSWORD. Write one visitor on each line.")
    if not users:
        raise AppError(f"auth {file}: empty. Expected a line NAME:PASSWORD for each visitor.")
    return users

"""One training as `python -m train` runs it: mistakes become messages, the exit status tells how it ended."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import torch

from data.errors import DataError, fault, plain
from models.checkpoint import CheckpointError
from models.errors import BaseError
from train.check import report
from train.config import Config
from train.errors import ConfigError, TrainingError
from train.loop import train
from train.lost_peer import PeerLost, first_sentence, is_lost
from train.processes.interrupt import Stopped, end_workers


def run(config: Config, problems: Sequence[str] = (), *, check_only: bool = False) -> int:
    """Run, or check only; a user error or a disk fault gives one message, not a traceback.

    `problems` of the config's words are reported with all others, and nothing is trained.
    """
    try:
        return report(config, problems) if check_only or problems else train(config)
    except PeerLost as error:
        leave(str(error), error.status)
    except (ConfigError, DataError, BaseError, CheckpointError, TrainingError) as error:
        several = "" if "\n" not in plain(error) else "everything that is wrong:\n"
        print(f"error: {several}{plain(error)}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        return stopped.status
    except torch.OutOfMemoryError as error:  # in the loop, `train.watching.memory` finds what would fit
        print(
            f"error: out of memory, not in a training step ({first_sentence(error)}). The checkpoints are "
            "unchanged. Lower train.micro_batch or validation.images, or use a larger device.",
            file=sys.stderr,
        )
        return 2
    except RuntimeError as error:
        if not is_lost(error):
            raise
        leave(f"another process was lost before the first step ({first_sentence(error)}). Nothing was trained.", 2)
    except Exception as error:
        if (text := fault(error)) is None:
            raise
        print(f"error: {text}", file=sys.stderr)
        return 2


def leave(message: str, status: int) -> NoReturn:
    """Exit at once: the rest of the process group would wait for the lost process."""
    print(f"\nerror: {message}", file=sys.stderr, flush=True)
    end_workers()
    os._exit(status)

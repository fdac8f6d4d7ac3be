"""One training of the tiny base as `python -m train.tiny` runs it."""

import sys

from data.errors import DataError, fault, plain
from models.checkpoint import CheckpointError
from train.errors import ConfigError, TrainingError
from train.processes.interrupt import Stopped
from train.tiny.config import TinyConfig
from train.tiny.train import train_tiny


def run(config: TinyConfig) -> int:
    """Run; a user error or a disk fault gives one message, not a traceback."""
    try:
        return train_tiny(config)
    except (ConfigError, DataError, CheckpointError, TrainingError) as error:
        print(f"error: {plain(error)}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        return stopped.status
    except Exception as error:
        if (text := fault(error)) is None:
            raise
        print(f"error: {text}", file=sys.stderr)
        return 2

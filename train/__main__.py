"""Train a ControlNet on pre/post pairs.

Smallest run, CPU:   python -m train --config configs/smoke.yaml
Any number of GPUs:  accelerate launch -m train --config configs/xbd_sd21_512.yaml --train.steps 20000
"""

import sys

from data.errors import DataError
from models.base import BaseError
from models.checkpoint import CheckpointError
from train.config import ConfigError, parse_config
from train.errors import TrainingError
from train.interrupt import Stopped
from train.loop import train


def main() -> int:
    """Run; a mistake of the user's is one message, not a traceback."""
    try:
        return train(parse_config())
    except (ConfigError, DataError, BaseError, CheckpointError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        return stopped.status


if __name__ == "__main__":
    sys.exit(main())

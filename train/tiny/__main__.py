"""Train the tiny base from scratch on simulated scenes.

    python -m train.tiny --config configs/tiny_base.yaml

Smallest run, CPU, a minute:  add --data.folder /tmp/tiny/data --run.out /tmp/tiny/run --autoencoder.steps 20 ...
"""

import sys

from data.errors import DataError, plain
from train.errors import ConfigError
from train.tiny.config import parse_config


def main() -> int:
    """Parse, then run: importing torch and diffusers takes seconds, which a misspelt setting should not cost."""
    try:
        config = parse_config()
    except (ConfigError, DataError) as error:
        print(f"error: {plain(error)}", file=sys.stderr)
        return 2
    from train.tiny.run import run

    return run(config)


if __name__ == "__main__":
    sys.exit(main())

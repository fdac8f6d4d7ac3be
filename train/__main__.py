"""Train a ControlNet on pre/post pairs.

Smallest run, CPU:   python -m train --config configs/smoke.yaml
Any number of GPUs:  accelerate launch -m train --config configs/xbd_sd21_512.yaml --train.steps 20000
"""

import sys

from data.errors import DataError, plain
from train.config_file import parse_config
from train.errors import ConfigError


def main() -> int:
    """Parse, then run: importing torch and diffusers takes seconds, which a misspelt setting should not cost."""
    try:
        config = parse_config()
    except (ConfigError, DataError) as error:
        print(f"error: {plain(error)}", file=sys.stderr)
        return 2
    from train.run import run

    return run(config)


if __name__ == "__main__":
    sys.exit(main())

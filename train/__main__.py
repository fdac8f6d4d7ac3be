"""Train a ControlNet on pre/post pairs.

Smallest run, CPU:   python -m train --config configs/smoke.yaml
What it would take:  python -m train --config configs/smoke.yaml --check
Any number of GPUs:  accelerate launch -m train --config configs/xbd_sd21_512.yaml --train.steps 20000
"""

import sys

from data.errors import DataError, plain
from train.config import Config
from train.config_file import parse_config
from train.errors import ConfigError

CHECK = "--check"


def later(config: Config) -> None:
    """What is wrong with values is reported together with what is wrong with dataset and base."""


def main() -> int:
    """Parse, then run: importing torch and diffusers takes seconds, which a misspelt setting should not cost."""
    words = [word for word in sys.argv[1:] if word != CHECK]
    try:
        config = parse_config(words, check=later)
    except (ConfigError, DataError) as error:
        print(f"error: {plain(error)}", file=sys.stderr)
        return 2
    from train.run import run

    return run(config, check_only=CHECK in sys.argv)


if __name__ == "__main__":
    sys.exit(main())

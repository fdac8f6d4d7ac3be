"""Train a ControlNet on pre/post pairs.

Smallest run, CPU:   python -m train --config configs/smoke.yaml
What it would take:  python -m train --config configs/smoke.yaml --check
Any number of GPUs:  accelerate launch -m train --config configs/xbd_sd21_512.yaml --train.steps 20000
"""

import sys

from data.errors import DataError, plain
from train.config_file import read_config
from train.errors import ConfigError

CHECK = "--check"


def main() -> int:
    """Parse, then run: importing torch and diffusers takes seconds, which `--help` should not cost."""
    words = [word for word in sys.argv[1:] if word != CHECK]
    try:
        config, problems = read_config(words)
        if config is None:  # nothing else can be checked
            raise ConfigError("\n".join(problems))
    except (ConfigError, DataError) as error:
        print(f"error: {plain(error)}", file=sys.stderr)
        return 2
    from train.run import run

    return run(config, problems, check_only=CHECK in sys.argv)


if __name__ == "__main__":
    sys.exit(main())

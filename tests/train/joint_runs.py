"""Run by several processes: trainings, one after the other. Argument: a JSON list of command lines."""

import json
import sys

from tests.train.conftest import run


def main() -> None:
    for argv in json.loads(sys.argv[1]):
        assert run(argv) == 0


if __name__ == "__main__":
    main()

"""The `pre2post` command: one subcommand per room, its options and help read from that room's function."""

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

from jsonargparse import ArgumentParser, set_parsing_settings

from data.errors import DataError, fault, plain
from data.home import at_home

set_parsing_settings(docstring_parse_attribute_docstrings=True)

# Subcommand -> where its function lives, and a line for `pre2post --help`. Imported only when chosen: torch is slow.
COMMANDS = {
    "build": ("data.build:build", "turn an xView2 release into a dataset of patches"),
    "inspect": ("data.report.inspect:inspect", "show what is in a dataset: report.html, with pictures"),
    "simulate": (
        "data.simulation.simulate:simulate",
        "write an xView2-format release of procedural scenes with known truth",
    ),
    "generate": ("generate.run:generate", "make post-event images with a trained ControlNet"),
    "satellite": (
        "generate.satellite:satellite",
        "make satellite images from texts and metadata, listed in a JSON file",
    ),
    "evaluate": ("evaluation.run:evaluate", "measure generated images against real ones: table and report.html"),
    "synthesize": (
        "generate.synthesize:synthesize",
        "make pairs of invented damage, with labels, for a damage model",
    ),
    "damage-model": ("evaluation.damage.training:damage_model", "train a model that finds buildings and their damage"),
    "usefulness": (
        "evaluation.damage.usefulness:usefulness",
        "do synthetic pairs help a damage model? trained on real, synthetic, both; tested on real",
    ),
    "leave-one-out": (
        "launch.leave_one_out:leave_one_out",
        "train once without each event, measure on it, gather one table",
    ),
    "convert": ("models.convert:convert", "make a clean safetensors folder of a DiffusionSat release"),
    "doctor": ("launch.doctor:doctor", "check this machine before a long run, and say what to mend"),
    "demo": ("launch.demo:demo", "the whole job on simulated scenes and the tiny base, in minutes"),
}


class Parser(ArgumentParser):
    """jsonargparse with options spelled the usual way: `--split-by`, and flags for booleans."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (argparse's own signature)
        """See argparse."""
        names = [name.replace("_", "-") if str(name).startswith("--") else name for name in args]
        if kwargs.get("type") is bool and kwargs.get("default") is False:
            kwargs = {"action": "store_true", "help": kwargs.get("help"), "dest": args[0].lstrip("-")}
        return super().add_argument(*names, **kwargs)


def main() -> int:
    """Run one subcommand; a mistake of the user's or a fault of the disk is one message, not a traceback."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(overview())
        return 0
    name = sys.argv[1]
    if name not in COMMANDS:
        print(f"error: there is no `pre2post {name}`.\n\n{overview()}", file=sys.stderr)
        return 2
    try:
        run(load(name), f"pre2post {name}", sys.argv[2:])
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except Exception as error:
        text = plain(error) if isinstance(error, user_errors()) else fault(error)
        if text is None:
            raise
        print(f"error: {text}", file=sys.stderr)
        return 2
    return 0


def overview() -> str:
    """What `pre2post --help` says."""
    rows = "\n".join(f"  {name:<13} {line}" for name, (_, line) in COMMANDS.items())
    return (
        f"usage: pre2post COMMAND [options]\n\n{rows}\n\n"
        "Training:  accelerate launch -m train --config configs/demo.yaml   (python -m train --help)\n"
        "Options of a command:  pre2post COMMAND --help"
    )


def load(name: str) -> Callable[..., None]:
    """The function behind a subcommand."""
    module, _, function = COMMANDS[name][0].partition(":")
    command: Callable[..., None] = getattr(importlib.import_module(module), function)
    return command


def run(command: Callable[..., None], prog: str, argv: list[str]) -> None:
    """Parse the options that the function's signature names, and call it.

    The fields of a parameter that is a dataclass are options like all others: `--steps`, not `--sampling.steps`.
    """
    parser = Parser(prog=prog, description=(command.__doc__ or "").partition("Args:")[0])
    names = inspect.signature(command).parameters
    groups: dict[str, Any] = {name: kind for name in names if is_dataclass(kind := command.__annotations__[name])}
    for name in names:  # one by one, so that --help has them in the order of the signature
        if name in groups:
            parser.add_class_arguments(groups[name], as_group=False)
        else:
            parser.add_function_arguments(command, as_group=False, skip={other for other in names if other != name})
    values = {name: at_home(value) for name, value in vars(parser.instantiate(parser.parse_args(argv))).items()}
    for name, kind in groups.items():
        values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
    command(**values)


def user_errors() -> tuple[type[Exception], ...]:
    """The error classes of the rooms that the command imported."""
    rooms = {
        "models.errors": "BaseError",
        "models.checkpoint": "CheckpointError",
        "models.diffusionsat.metadata": "MetadataError",
        "models.diffusionsat.conditions": "ConditionError",
        "train.errors": "ConfigError",
        "generate.errors": "GenerateError",
        "evaluation.errors": "EvaluationError",
        "launch.doctor": "DoctorError",
    }
    return (DataError, *(getattr(sys.modules[room], name) for room, name in rooms.items() if room in sys.modules))


if __name__ == "__main__":
    sys.exit(main())

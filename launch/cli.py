"""The `pre2post` command: one subcommand per room, its options and help read from that room's function.

They are read from its source: importing it would import torch and diffusers, which takes seconds.
"""

import ast
import importlib
import importlib.metadata
import inspect
import platform
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

import docstring_parser
from jsonargparse import ArgumentParser, set_parsing_settings

from data.commit import commit
from data.errors import DataError, fault, plain
from data.home import at_home
from data.option_words import mismatch

set_parsing_settings(docstring_parse_attribute_docstrings=True)

ROOT = Path(__file__).parents[1]

# Subcommand -> where its function lives, and a line for `pre2post --help`. Imported once its options are parsed.
COMMANDS = {
    "build": ("data.build:build", "turn an xView2 release into a dataset of patches"),
    "inspect": ("data.report.inspect:inspect", "write an illustrated report of a dataset: report.html"),
    "simulate": (
        "data.simulation.simulate:simulate",
        "write an xView2-format release of procedural scenes with known truth",
    ),
    "caption": ("caption.run:caption", "captions by a vision-language model, checked against the labels"),
    "runs": ("train.watching.runs:runs", "the report of a training run, or several runs compared: one table, one page"),
    "generate": ("generate.run:generate", "generate post-event images with a trained ControlNet"),
    "app": ("app.run:app", "generate in a page of the browser, from uploads or patches of a dataset"),
    "satellite": (
        "generate.satellite:satellite",
        "generate satellite images from prompts and metadata listed in a JSON file",
    ),
    "evaluate": ("evaluation.run:evaluate", "compare generated images with real ones: tables and report.html"),
    "compare": ("evaluation.compare:compare", "several checkpoints, of any families of bases, on the same patches"),
    "synthesize": ("generate.synthesize:synthesize", "generate labelled pairs with invented damage for a damage model"),
    "region": (
        "launch.region:region",
        "make labelled pairs over any region, in shards, judged: an xView2-format release",
    ),
    "damage-model": (
        "evaluation.damage.training:damage_model",
        "train a model that localises buildings and classifies their damage",
    ),
    "usefulness": (
        "evaluation.damage.usefulness:usefulness",
        "do synthetic pairs improve a damage model? trained on real, synthetic, both; tested on real",
    ),
    "leave-one-out": (
        "launch.leave_one_out:leave_one_out",
        "train once without each event, evaluate on that event, collect one table",
    ),
    "publish": ("publish.run:publish", "a checkpoint as a folder for others: weights, sampler, model card"),
    "convert": ("models.convert:convert", "convert a DiffusionSat release to a clean safetensors folder"),
    "doctor": ("launch.doctor:doctor", "check this machine before a long run, and say what to fix"),
    "demo": ("launch.demo:demo", "the whole pipeline on simulated scenes with the tiny base, in minutes"),
}


class Parser(ArgumentParser):
    """jsonargparse with options spelled the usual way: `--split-by`, and flags for booleans."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (argparse's own signature)
        """See argparse."""
        names = [name.replace("_", "-") if str(name).startswith("--") else name for name in args]
        if kwargs.get("type") is bool and kwargs.get("default") is False:
            kwargs = {"action": "store_true", "help": kwargs.get("help"), "dest": args[0].lstrip("-")}
        return super().add_argument(*names, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """One line instead of the list of all options and the type hints."""
        options = [option for action in self._actions for option in action.option_strings]
        print(f"error: {plain_words(message, options)}\n`{self.prog} --help` explains the options.", file=sys.stderr)
        raise SystemExit(2)


def plain_words(message: str, options: Sequence[str]) -> str:
    """What is wrong with the options, in the user's words instead of Python's."""
    if found := re.match(r'Parser key "([\w.]+)":', message):
        given, expected = mismatch(message) or ("", "")
        if given:
            return f"--{found[1].replace('_', '-')} is {given}; expected {expected}."
    if found := re.fullmatch(r"the following arguments are required: (.*)", message):
        return f"{', '.join(f'--{name}' for name in found[1].replace('_', '-').split(', '))} must be given."
    if found := re.match(r"unrecognized arguments: (\S+)", message):
        near = get_close_matches(found[1].partition("=")[0], options, n=1)
        return f"{found[1]}: no such option.{f' Did you mean {near[0]}?' if near else ''}"
    return " ".join(message.split())


def main() -> int:
    """Run one subcommand; a user error or a disk fault is one message, not a traceback."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(overview())
        return 0
    name = sys.argv[1]
    if name == "--version":
        print(version())
        return 0
    if name not in COMMANDS:
        print(f"error: there is no `pre2post {name}`.\n\n{overview()}", file=sys.stderr)
        return 2
    try:
        run(name, sys.argv[2:])
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
        "Training:  python -m train --config configs/xbd_sd21_512.yaml --check   (python -m train --help)\n"
        "Options of a command:  pre2post COMMAND --help; the version: pre2post --version"
    )


def version() -> str:
    """What `pre2post --version` says: for a bug report, or to find the code of a result."""
    found = importlib.metadata.version
    return f"pre2post {found('pre2post')} ({commit()}), Python {platform.python_version()}, torch {found('torch')}"


def load(name: str) -> Callable[..., None]:
    """The function behind a subcommand."""
    module, _, function = COMMANDS[name][0].partition(":")
    command: Callable[..., None] = getattr(importlib.import_module(module), function)
    return command


def signature(name: str) -> Callable[..., None]:
    """The function behind a subcommand without its body, and of its module's imports only what its options name."""
    module, _, function = COMMANDS[name][0].partition(":")
    source = (ROOT / module.replace(".", "/")).with_suffix(".py")
    statements = ast.parse(source.read_text(encoding="utf-8")).body
    command = next(one for one in statements if isinstance(one, ast.FunctionDef) and one.name == function)
    del command.body[1:]  # what follows the docstring
    named = {node.id for node in ast.walk(command) if isinstance(node, ast.Name)}
    imports = [one for one in statements if isinstance(one, ast.ImportFrom)]
    for one in imports:
        one.names = [alias for alias in one.names if alias.name in named]
    found: dict[str, Any] = {"__name__": __name__}  # jsonargparse would import the module that is named here
    exec(compile(ast.Module([*(one for one in imports if one.names), command], []), source, "exec"), found)
    bare: Callable[..., None] = found[function]
    return bare


def run(name: str, argv: list[str]) -> None:
    """Parse the options that the function's signature names, and call it.

    The fields of a parameter that is a dataclass are options like all others: `--steps`, not `--sampling.steps`.
    """
    command = signature(name)
    parser = Parser(prog=f"pre2post {name}", description=(command.__doc__ or "").partition("Args:")[0])
    names = inspect.signature(command).parameters
    groups: dict[str, Any] = {one: kind for one in names if is_dataclass(kind := command.__annotations__[one])}
    for one in names:  # one by one, so that --help has them in the order of the signature
        if one in groups:
            parser.add_class_arguments(groups[one], as_group=False)
        elif several := item_type(command.__annotations__[one]):
            about = {part.arg_name: part.description for part in docstring_parser.parse(command.__doc__ or "").params}
            given = names[one]
            if given.kind is given.POSITIONAL_OR_KEYWORD:  # `runs one two`
                parser.add_argument(one, nargs="+", type=several, help=about[one])
                continue
            usual = {"required": True} if given.default is given.empty else {"default": given.default}
            parser.add_argument(f"--{one}", nargs="+", type=several, help=about[one], **usual)
        else:
            parser.add_function_arguments(command, as_group=False, skip={other for other in names if other != one})
    values = {one: at_home(value) for one, value in vars(parser.instantiate(parser.parse_args(argv))).items()}
    for one, kind in groups.items():
        values[one] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
    load(name)(**values)


def item_type(annotation: Any) -> type | None:  # noqa: ANN401 (a type hint)
    """Of the items of an option that is a list; None of any other."""
    lists = [kind for kind in (annotation, *get_args(annotation)) if get_origin(kind) is list]
    return get_args(lists[0])[0] if lists else None


def user_errors() -> tuple[type[Exception], ...]:
    """The error classes of the rooms that the command imported."""
    rooms = {
        "models.errors": "BaseError",
        "models.checkpoint": "CheckpointError",
        "models.diffusionsat.metadata": "MetadataError",
        "models.diffusionsat.conditions": "ConditionError",
        "train.errors": "ConfigError",
        "caption.errors": "CaptionError",
        "generate.errors": "GenerateError",
        "app.errors": "AppError",
        "evaluation.errors": "EvaluationError",
        "publish.errors": "PublishError",
        "launch.doctor": "DoctorError",
    }
    return (DataError, *(getattr(sys.modules[room], name) for room, name in rooms.items() if room in sys.modules))


if __name__ == "__main__":
    sys.exit(main())

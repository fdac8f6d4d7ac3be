"""The reference of all commands, options and settings, from the code that `--help` reads; see docs/conf.py."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

import docstring_parser

from launch.cli import COMMANDS, signature
from train.config import Config, StageConfig
from train.tiny.config import TinyConfig


def reference() -> str:
    """Sections in MyST Markdown: a heading per command, an `option` directive per option."""
    parts = ["\n## Commands\n", *(command(name) for name in COMMANDS)]
    parts += ["\n## Settings of a training\n\n`python -m train --config FILE.yaml --group.name VALUE`\n"]
    parts += [*settings(Config, "python -m train")]
    parts += [section("An item of `train.curriculum`", StageConfig, "train.curriculum", "")]
    parts += ["\n## Settings of a tiny base\n\n`python -m train.tiny --config FILE.yaml --group.name VALUE`\n"]
    return "\n".join([*parts, *settings(TinyConfig, "python -m train.tiny")])


def command(name: str) -> str:
    """A subcommand of `pre2post`: what it does, then its options in the order of `--help`."""
    function = signature(name)
    text = docstring_parser.parse(function.__doc__ or "")
    said = {param.arg_name: param.description or "" for param in text.params}
    options = []
    for word, parameter in inspect.signature(function).parameters.items():
        if is_dataclass(parameter.annotation):
            options += list(of_dataclass(parameter.annotation, "--"))  # type: ignore[arg-type]
        else:
            default = MISSING if parameter.default is parameter.empty else parameter.default
            named = parameter.kind is parameter.KEYWORD_ONLY  # else words without a name: `runs one two`
            options.append(option(f"--{word}" if named else word, parameter.annotation, default, said[word]))
    intro = "\n\n".join(filter(None, (text.short_description, text.long_description)))
    return "\n".join([f"### pre2post {name}\n\n{intro}\n", program(f"pre2post {name}"), *options])


def settings(schema: type, run: str) -> Iterator[str]:
    """A section per group of a config."""
    for group, kind in get_type_hints(schema).items():
        yield section(f"`{group}`", kind, run, f"--{group}.")


def section(heading: str, kind: type, run: str, prefix: str) -> str:
    """A dataclass: its docstring, then its fields."""
    return "\n".join([f"### {heading}\n\n{inspect.getdoc(kind)}\n", program(run), *of_dataclass(kind, prefix)])


def of_dataclass(kind: type, prefix: str) -> Iterator[str]:
    """Its fields as options, each with the string below it."""
    said: dict[str, str] = {}
    for one in reversed(kind.__mro__[:-1]):
        said |= {param.arg_name: param.description or "" for param in docstring_parser.parse_from_object(one).params}
    hints = get_type_hints(kind)
    for field in fields(kind):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        yield option(prefix + field.name, hints[field.name], default, said[field.name])


def program(name: str) -> str:
    """What the options below belong to."""
    return f"```{{program}} {name}\n```"


def option(name: str, kind: Any, default: Any, text: str) -> str:  # noqa: ANN401 (a type hint, and any value of it)
    """An `option` directive: name, type, what it is for, default."""
    name = name.replace("_", "-") if "." not in name and name.startswith("--") else name
    usual = "Required." if default is MISSING else f"Default: `{plain(default)}`."
    head = f"{name} {type_name(kind)}"
    if default is False and "." not in name:
        head, usual = name, "Off by default."
    return f"````{{option}} {head}\n\n{text}\n\n{usual}\n````"


def type_name(kind: Any) -> str:  # noqa: ANN401 (a type hint)
    """`Literal['a', 'b'] | None` as `a | b`, as a user types it."""
    name = inspect.formatannotation(kind).replace("typing.", "").replace("pathlib.", "").replace(" | None", "")
    name = re.sub(r"Literal\[(.*?)\]", lambda found: " | ".join(re.findall(r"'([^']*)'", found[1])), name)
    name = re.sub(r"\btrain(?:\.\w+)*\.(\w+)", r"\1", name)
    return name.replace(", ", ",")  # to Sphinx `--a, --b` are two names of one option


def plain(value: Any) -> str:  # noqa: ANN401 (any value of an option)
    """As in YAML, in one line."""
    words = {None: "null", True: "true", False: "false", "": '""'}
    return words[value] if isinstance(value, bool | str | None) and value in words else str(value)

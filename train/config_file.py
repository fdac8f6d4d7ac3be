"""Parsing a config: YAML files and dotted overrides; all unknown names and wrong types are reported together."""

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from data.home import at_home
from data.option_words import mismatch
from train.config import Config
from train.config_checks import check_config, nearest
from train.errors import ConfigError

Parsed = TypeVar("Parsed")
Settings = dict[str, dict[str, Any]]
PRINT = "--print_config"

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class Read(NamedTuple):
    """What the words say, without those that are wrong."""

    settings: Settings | None  # None = one without a default is missing
    problems: list[str]  # unknown names, with the nearest known one; wrong types; what is missing


def parse_config(argv: list[str] | None = None, check: Callable[[Config], None] = check_config) -> Config:
    """Read `--config FILE.yaml` and dotted overrides; see `parse_as`."""
    return checked(*read_config(argv), check)


def read_config(argv: list[str] | None = None) -> tuple[Config | None, list[str]]:
    """The same with what is wrong with names and types, which is to be reported with the rest; see `read_as`."""
    return read_as(
        Config,
        prog="python -m train",
        description="Train a ControlNet that turns pre-event patches into post-event ones. "
        "Run the same command again to resume. With --check nothing is trained: everything that can be wrong is "
        "checked, then come the start card and an estimate of memory, hours and disk. "
        "Many GPUs: accelerate launch -m train --config FILE.",
        argv=argv,
    )


def parse_as(
    schema: type[Parsed], check: Callable[[Parsed], None], *, prog: str, description: str, argv: list[str] | None
) -> Parsed:
    """Read `--config FILE.yaml` and dotted overrides into a dataclass of dataclasses.

    Raises:
        ConfigError: naming every unknown key (with the nearest known one), every value of the wrong type, and every
            value inconsistent with others, as found by `check`.
    """
    return checked(*read_as(schema, prog=prog, description=description, argv=argv), check)


def checked(config: Parsed | None, problems: list[str], check: Callable[[Parsed], None]) -> Parsed:
    """A config without problems, or all of them as one ConfigError."""
    if config is not None:
        try:
            check(config)
        except ConfigError as error:
            problems = [*problems, str(error)]
    if config is None or problems:
        raise ConfigError("\n".join(problems))
    return config


def read_as(
    schema: type[Parsed], *, prog: str, description: str, argv: list[str] | None
) -> tuple[Parsed | None, list[str]]:
    """The config that the words give, without those that are wrong, and what is wrong with them.

    Returns:
        None for the config if a setting without a default is missing.
    """
    parser = ArgumentParser(prog=prog, description=description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the settings below")
    parser.add_class_arguments(schema, as_group=False)
    argv = sys.argv[1:] if argv is None else argv
    argv = [re.sub(r"^(--config=)?~/", lambda found: f"{found[1] or ''}{Path.home()}/", word) for word in argv]
    if {"-h", "--help"} & set(argv):
        parser.print_help()
        raise SystemExit(0)
    wanted = [word for word in argv if word.partition("=")[0] != PRINT]
    settings, problems = checked_words(schema, wanted)
    if wanted != argv:
        parser.parse_args(argv)  # prints and exits
    if settings is None:
        return None, problems
    try:
        parsed = parser.instantiate(parser.parse_object(settings))
    except Exception as error:  # jsonargparse raises its own and YAML's errors; all are for the user to fix
        raise ConfigError(str(error)) from error
    return schema(**{key: at_home(value) for key, value in vars(parsed).items() if key != "config"}), problems


def checked_words(schema: type, argv: Sequence[str]) -> Read:
    """Every setting in config files and on the command line, later ones override earlier ones.

    Args:
        schema: dataclass of dataclasses.
        argv: `--config FILE`, `--group.name VALUE`, with `=` or a space.

    Raises:
        ConfigError: a word that is neither, or a file that is none of settings.
    """
    types = {f"{group}.{name}": kind for group, part in get_type_hints(schema).items() for name, kind in _types(part)}
    problems: list[str] = []
    given: dict[str, Any] = {}
    wrong, complete = set(), True
    for key, value in _given(argv):
        # `--data.caption_styles.short 1` sets one entry of a mapping.
        parent = key.rpartition(".")[0]
        if key not in types and get_origin(types.get(parent)) is not dict:
            problems.append(f"{key}: no such setting.{nearest(key, types)}")
        elif key in types and (fault := _fault(types[key], value)):
            problems.append(f"{key} {fault}")
            wrong.add(key)
        elif key in types:
            given[key] = value
        else:
            old = given[parent] if parent in given else _default(schema, parent)
            old = yaml.safe_load(old) if isinstance(old, str) else old
            given[parent] = {**old, key.rpartition(".")[2]: value}
    for group, part in get_type_hints(schema).items():
        for field in dataclasses.fields(part):
            name = f"{group}.{field.name}"
            if not (field.default is field.default_factory is dataclasses.MISSING) or name in given:
                continue
            complete = False
            if name not in wrong:
                problems.append(f"{name} is not set. Set it in the file, or pass --{name} VALUE.")
    settings: Settings = {}
    for key, value in given.items():
        group, _, name = key.partition(".")
        settings.setdefault(group, {})[name] = value
    return Read(settings if complete else None, problems)


def _default(schema: type, key: str) -> Any:  # noqa: ANN401 (of the setting's type)
    group, _, name = key.partition(".")
    (field,) = (field for field in dataclasses.fields(get_type_hints(schema)[group]) if field.name == name)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _types(part: type) -> list[tuple[str, Any]]:
    return list(get_type_hints(part).items())


def _given(argv: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Every setting in the files and on the command line; the values of the latter are strings."""
    words = iter(argv)
    for word in words:
        key, equals, value = word[2:].partition("=")
        if not word.startswith("--"):
            raise ConfigError(f"{word}: not a setting. Settings have the form --group.name VALUE.")
        value = value if equals else next(words, "--")
        if not equals and value.startswith("--"):
            raise ConfigError(f"{key}: has no value. Pass --{key} VALUE.")
        if key == "config":
            yield from _in_file(Path(value))
        else:
            yield key, value


def _in_file(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Name a YAML file after --config.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file ({error}).") from None
    if not isinstance(content, dict | None):
        raise ConfigError(
            f"{path}: is a {type(content).__name__}, not settings in groups. Expected e.g. `train: {{steps: 1000}}`; "
            "see the files in configs/."
        )
    for group, settings in (content or {}).items():
        if isinstance(settings, dict):
            yield from ((f"{group}.{name}", value) for name, value in settings.items())
        else:
            yield str(group), settings


def _fault(kind: Any, value: Any) -> str:  # noqa: ANN401 (a type hint, and the user's value)
    """What is wrong with a value, in one line; empty if it has the right type."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    try:
        if isinstance(value, str):
            parser.parse_args([f"--value={value}"])
        else:
            parser.parse_object({"value": value})
    except Exception as error:  # jsonargparse raises several kinds; all name the expected type
        if found := mismatch(str(error)):
            return f"is {found[0] or value}; expected {found[1]}."
        return "is wrong: " + " ".join(str(error).replace('Parser key "value":', "").split())
    return ""

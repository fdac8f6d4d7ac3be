"""The reference of options says what the code and `--help` say."""

import ast
import re
from functools import cache

import pytest

from docs.options import reference
from launch.cli import COMMANDS, run
from tests.test_docs import options_of
from tests.test_house import ROOT

PROGRAM = re.compile(r"^```\{program\} (.*)\n```$", re.MULTILINE)
OPTION = re.compile(
    r"^````\{option\} (\S+)(?: ([^\n]*))?\n\n(.*?)\n\n(Required\.|Off by default\.|Default: `([^\n]*)`\.)\n````$",
    re.M | re.S,
)


@cache
def listed() -> dict[str, dict[str, tuple[str, str, str]]]:
    """Program -> option -> type, text, default, as the page has them."""
    _, *parts = PROGRAM.split(reference())
    found: dict[str, dict[str, tuple[str, str, str]]] = {}
    for program, part in zip(parts[::2], parts[1::2], strict=True):
        options = {name: (kind, " ".join(text.split()), usual) for name, kind, text, _, usual in OPTION.findall(part)}
        assert len(options) == part.count("{option}")
        found.setdefault(program, {}).update(options)
    return found


def test_every_option_is_listed_once_with_its_command() -> None:
    for program, options in listed().items():
        name = program.removeprefix("pre2post ").removeprefix("python -m ")
        if name != "train.curriculum":
            own = {"--help", "--config", "--print_config", "--check"} if program.startswith("python") else {"--help"}
            assert {"--" + option.removeprefix("--") for option in options} == options_of(name) - own, program
    assert reference().count("{option}") == sum(map(len, listed().values()))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_says_what_help_says(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """jsonargparse reads the docstrings on its own: its lines hold text, and type and default in brackets."""
    monkeypatch.setenv("COLUMNS", "10000")
    with pytest.raises(SystemExit):
        run(name, ["--help"])
    entries = re.split(r"\n  (?=\S)", capsys.readouterr().out)[1:]
    printed = {entry.split()[0]: " ".join(entry.split()) for entry in entries}
    for option, (_, text, usual) in listed()[f"pre2post {name}"].items():
        assert text in printed[option], option
        _, stated, default = printed[option].rpartition("default: ")
        flag = default == "False)"  # which has no value on the page either
        assert usual == ("" if flag or not stated else default.removesuffix(")").strip() or '""'), option


def literal(node: ast.expr) -> object:
    """A default as written: a value, or that of `field(default_factory=...)`."""
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    if node.args:  # Path("cache")
        return ast.literal_eval(node.args[0])
    made = node.keywords[0].value
    return ast.literal_eval(made.body) if isinstance(made, ast.Lambda) else {"list": [], "dict": {}}[ast.unparse(made)]


def test_settings_have_the_text_below_them_and_their_default() -> None:
    """Read from the source of train/config.py as text."""
    page = listed()["python -m train"]
    classes = [
        node for node in ast.parse((ROOT / "train/config.py").read_text()).body if isinstance(node, ast.ClassDef)
    ]
    (config,) = (one for one in classes if one.name == "Config")
    groups = {ast.unparse(one.annotation): one.target.id for one in config.body if isinstance(one, ast.AnnAssign)}  # type: ignore[union-attr]
    seen = 0
    for one in classes:
        for field, text in zip(one.body, one.body[1:], strict=False):
            if one.name not in groups or not isinstance(field, ast.AnnAssign):
                continue
            _, said, usual = page[f"--{groups[one.name]}.{ast.unparse(field.target)}"]
            assert isinstance(text, ast.Expr) and said == " ".join(ast.literal_eval(text.value).split())
            words = {"None": "null", "True": "true", "False": "false"}
            default = "" if field.value is None else str(literal(field.value))
            assert usual == words.get(default, default)
            seen += 1
    assert seen == len(page)

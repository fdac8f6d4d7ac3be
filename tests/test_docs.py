"""What the pages say exists: links, files, commands, options and settings."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

from launch.cli import COMMANDS, load
from tests.test_house import ROOT
from train.config import Config
from train.tiny.config import TinyConfig

ROOMS = (
    "data",
    "models",
    "caption",
    "train",
    "generate",
    "app",
    "evaluation",
    "publish",
    "launch",
    "tests",
    "benchmarks",
    "configs",
    "docs",
)
HIDDEN = {"runs", "out", "cache", "wandb"}  # what a working tree holds beside the repository, and names with a dot
PAGES = [
    page
    for page in sorted(ROOT.rglob("*.md"))
    if not any(part.startswith(".") or part in HIDDEN for part in page.relative_to(ROOT).parts)
]
TEXTS = [*PAGES, *sorted((ROOT / "configs").glob("*.yaml"))]
GONE = {"train.tiny_base"}  # named with the commit that has it
ENDINGS = {"json", "yaml", "py"}  # run.json is a file
ELSEWHERE = {"--shutdown-timeout", "--options", "--group.name"}  # torchrun's; any option at all
LINK = re.compile(r"\]\(([^()\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
FILE = re.compile(rf"(?<![\w./-])(?:{'|'.join(ROOMS)})/[\w/.-]*\.(?:py|md|yaml|sbatch|jpg)\b")
FOLDER = re.compile(r"(?<![\w./-])tests(?:/\w+)+/?(?![\w./*])")
END = re.compile(r"\n|\s&&\s|;\s|\s\|\s|\s#\s")  # of a command
SETTING = re.compile(r"(?<![\w./-])([a-z_]+)\.([a-z_]+)\b(?![./(])")

AMERICAN = re.compile(
    r"(?i)\b(?:colors?|gray|behavior|centers?|centered|neighbors?|neighboring|license|meters?|labeled|labeling|favor\w*"
    r"|(?:normal|initial|local|recogn|summar|standard|real|minim|maxim|organ|penal|general|synchron)iz(?:e|ed|es|ing"
    r"|ation))\b"
)


def named(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", paths, ids=lambda path: str(path.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@named(PAGES)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_in_the_navigation() -> None:
    """Read as text: building the site needs an extra."""
    (sections,) = re.findall(r"^SECTIONS = (\{.*?^\})", (ROOT / "docs/conf.py").read_text(), re.MULTILINE | re.DOTALL)
    listed = [page for pages in ast.literal_eval(sections).values() for page in pages]
    pages = [str(page.relative_to(ROOT).with_suffix("")) for page in PAGES]
    assert {page for page in pages if page.startswith("docs/")} <= set(listed), (
        "add the page to SECTIONS of docs/conf.py"
    )
    assert set(listed) <= set(pages) and len(set(listed)) == len(listed)


@named(TEXTS)
def test_files_exist(page: Path) -> None:
    text = page.read_text()
    assert [name for name in {*FILE.findall(text), *FOLDER.findall(text)} if not (ROOT / name).exists()] == []


def spans(page: Path) -> list[str]:
    """Code within lines of prose."""
    return [" ".join(span.split()) for span in INLINE.findall(FENCED.sub("", page.read_text()))]


def commands(page: Path) -> Iterator[str]:
    """Every command line in fenced or indented code, in spans, and in the comments of a config."""
    text = re.sub(r"\\\n", " ", page.read_text())
    blocks = FENCED.findall(text)
    blocks += re.findall(r"^(?:    |#   )(.*)$", FENCED.sub("", text), re.MULTILINE)
    for block in [*blocks, *spans(page)]:
        yield from END.split(block)


def called(command: str) -> tuple[str, list[str]] | None:
    """The module or subcommand that a line runs, with its options; None if it is nobody's here."""
    runs = list(re.finditer(r"(?:\bpre2post|-m launch\.cli) ([a-z][a-z-]*)|-m ([\w.]+)", command))
    if not runs or (runs[-1][2] and runs[-1][2].split(".")[0] not in ROOMS):
        return None
    return runs[-1][1] or runs[-1][2], re.findall(r"(?<!\S)(--[\w.-]*\w)", command[runs[-1].end() :])


def settings(schema: type, prefix: str = "") -> set[str]:
    """Dotted names of a dataclass of dataclasses."""
    found = set()
    hints = get_type_hints(schema)
    for field in fields(schema):
        kind = hints[field.name]
        found |= settings(kind, f"{prefix}{field.name}.") if is_dataclass(kind) else {prefix + field.name}  # type: ignore[arg-type]
    return found


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def options_of(name: str) -> set[str]:
    """Options of a subcommand of `pre2post` or of a module, without importing the module."""
    if name in COMMANDS:
        command = load(name)
        hints = get_type_hints(command)
        nested = {field.name for kind in hints.values() if is_dataclass(kind) for field in fields(kind)}
        names = {word for word in inspect.signature(command).parameters if not is_dataclass(hints[word])} | nested
        return {"--" + word.replace("_", "-") for word in names} | {"--help"}
    if name in ("train", "train.tiny"):
        schema = Config if name == "train" else TinyConfig
        return (
            {"--" + word for word in settings(schema)}
            | {"--config", "--help", "--print_config"}
            | ({"--check"} if name == "train" else set())
        )
    path = ROOT / name.replace(".", "/")
    source = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    tree = ast.parse(source)
    known = set(re.findall(r"add_argument\(\s*\"(--[\w-]+)\"", source)) | {"--help"}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if ast.unparse(call.func) == "auto_cli":
            called_by_it = ast.unparse(call.args[0])
            function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == called_by_it)
            known |= {f"--{word.arg}" for word in [*function.args.args, *function.args.kwonlyargs]}
    return known


@named(TEXTS)
def test_commands_and_their_options_exist(page: Path) -> None:
    for command in commands(page):
        run = called(command)
        if run and run[0] not in GONE:
            name, options = run
            assert name in COMMANDS or is_module(name), command
            assert set(options) <= options_of(name), command


def test_options_named_alone_belong_to_some_command() -> None:
    names = {run[0] for page in TEXTS for command in commands(page) if (run := called(command))} - GONE
    known = set().union(ELSEWHERE, *map(options_of, {*COMMANDS, *names}))
    for page in PAGES:
        for span in spans(page):
            if (option := re.match(r"--[\w.-]*\w", span)) and not span.endswith(".*"):
                assert option[0] in known, f"{page.name}: {span}"


@named(PAGES)
def test_settings_exist(page: Path) -> None:
    known = settings(Config) | settings(TinyConfig)
    sections = {name.split(".")[0] for name in known}
    for span in spans(page):
        for section, name in SETTING.findall(span):
            if section in sections and f"{section}.{name}" not in known:
                whole = f"{section}.{name}"
                assert name in ENDINGS or whole in GONE or is_module(whole), whole


@named(PAGES)
def test_spelling_is_british(page: Path) -> None:
    """Only in prose: names in code are those of libraries, those in front of a model card the hub's."""
    prose = INLINE.sub("", FENCED.sub("", FRONT.sub("", page.read_text())))
    assert AMERICAN.findall(prose) == []

"""The tree of docs/design.md: every folder of a room with what its package says of itself, and its modules.

python -m tests.tree     # writes it
"""

import ast
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "design.md"
ROOMS = ("data", "models", "caption", "train", "generate", "app", "evaluation", "publish", "launch", "benchmarks")
BEGIN, END = "<!-- tree -->\n```\n", "```\n<!-- /tree -->"


def tree() -> str:
    """As it is on disk."""
    lines: list[str] = []
    for room in ROOMS:
        packages = sorted(path.parent for path in (ROOT / room).rglob("__init__.py"))
        for folder in packages:
            depth = len(folder.relative_to(ROOT).parts) - 1
            said = (ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "").splitlines()[0]
            lines.append(f"{'  ' * depth}{folder.name + '/':<{18 - 2 * depth}} {said}")
            modules = " ".join(sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__"))
            indent = "  " * (depth + 1)
            lines += wrap(modules, 120, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines) + "\n"


def printed() -> str:
    """As the page has it."""
    return PAGE.read_text().split(BEGIN)[1].split(END)[0]


if __name__ == "__main__":
    text = PAGE.read_text()
    PAGE.write_text(text.replace(BEGIN + printed() + END, BEGIN + tree() + END))

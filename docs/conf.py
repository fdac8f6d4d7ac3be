"""The site: the Markdown pages of the repository, as they are, built by Sphinx. `make docs` runs it."""

import re
from pathlib import Path

from sphinx.application import Sphinx

from docs.options import reference

ROOT = Path(__file__).parents[1]
HOME, CHINESE = "README", "README.zh-CN"
# The navigation: every page of the site, in order. tests/test_docs.py finds a page of docs/ that is missing here.
SECTIONS = {
    "Start": ["docs/tutorials/lab", "docs/tutorials/agency", "docs/tutorials/contributor", "docs/first-slice"],
    "Data": ["docs/dataset", "docs/xbd", "docs/sources", "docs/labels", "docs/pair-quality", "docs/captions"],
    "Training": [
        "docs/training",
        "docs/recipes",
        "docs/validation",
        "docs/resume",
        "docs/scaling",
        "docs/speed",
        "docs/families",
        "docs/tasks",
        "docs/diffusionsat",
        "docs/tiny-base",
    ],
    "Images and measures": [
        "docs/generate",
        "docs/app",
        "docs/publish",
        "docs/evaluate",
        "docs/protocols",
        "docs/prompt-study",
        "docs/word-maps",
        "docs/usefulness",
        "docs/region",
    ],
    "Reference": ["docs/options", "benchmarks/RESULTS", "CHANGELOG"],
    "Developing": ["CONTRIBUTING", "docs/design", "docs/decisions"],
    "中文": ["README.zh-CN", "docs/zh/lab", "docs/zh/agency", "docs/zh/contributor"],
}
PAGES = [HOME, *(page for pages in SECTIONS.values() for page in pages)]
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:)([^()\s#]+)\)")

project = html_title = "pre2post"
author = "pre2post contributors"
extensions = ["myst_parser"]
root_doc = HOME
include_patterns = [f"{page}.md" for page in PAGES]
exclude_patterns = [".*", "out", "runs", "cache", "wandb", "real"]  # not walked through
myst_heading_anchors = 4  # named as GitHub names them
highlight_language = "text"
smartquotes = False  # would make a dash of the -- of an option
html_favicon = "icon.svg"
html_static_path = html_css_files = ["site.css"]

html_theme = "furo"  # fonts of the system, nothing from other hosts
html_show_copyright = html_show_sourcelink = html_copy_source = False


def as_on_the_site(app: Sphinx, page: str, source: list[str]) -> None:
    """A page gets what GitHub does not need: the navigation, the reference; links to what is no page here lose it."""

    def link(found: re.Match[str]) -> str:
        target = (ROOT / page).parent.joinpath(found[2]).resolve()
        elsewhere = target.suffix == ".md" and str(target.relative_to(ROOT).with_suffix("")) not in PAGES
        return found[1] if target.is_dir() or (elsewhere and target.exists()) else found[0]  # a dead link is reported

    text = LINK.sub(link, source[0])
    if page == HOME:
        text += "".join(
            f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(f"/{one}" for one in pages) + "\n```\n"
            for caption, pages in SECTIONS.items()
        )
    source[0] = text + reference() if page == "docs/options" else text


def language_of(app: Sphinx, page: str, template: str, context: dict[str, object], tree: object) -> None:
    """Chinese pages say that they are."""
    if page == CHINESE or page.startswith("docs/zh/"):
        context["language"] = "zh-CN"


def front_door(app: Sphinx, error: Exception | None) -> None:
    """`index.html` leads to the README's page, whose name its links keep."""
    if error is None:
        (app.outdir / "index.html").write_text(f'<meta http-equiv="refresh" content="0; url={HOME}.html">\n')


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("source-read", as_on_the_site)
    app.connect("html-page-context", language_of)
    app.connect("build-finished", front_door)

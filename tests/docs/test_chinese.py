"""README and tutorials in Chinese keep in step with the English ones: headings, commands, names, links and numbers."""

import re

import pytest

from tests.test_docs import FENCED, INLINE, LINK
from tests.test_house import ROOT

PAIRS = {
    "README.md": "README.zh-CN.md",
    **{
        f"docs/tutorials/{path.name}": f"docs/zh/{path.name}" for path in sorted((ROOT / "docs/tutorials").glob("*.md"))
    },
}
HEADING = re.compile(r"^(#+) ", re.MULTILINE)
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
both = pytest.mark.parametrize(("english", "chinese"), PAIRS.items())


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    """Lines of code; comments may be translated, and alignment is theirs."""
    lines = "\n".join(FENCED.findall(read(page))).splitlines()
    return [" ".join(re.sub(r"(^|\s+)#\s.*", "", line).split()) for line in lines]


def sections(page: str) -> list[dict[str, list[str]]]:
    """What must be equal in every section, in whatever order a sentence of the language has it."""
    parts = HEADING.split(FENCED.sub("", read(page)))
    found = []
    for level, text in zip(["", *parts[1::2]], parts[::2], strict=True):
        words = LINK.sub("]", text)
        found.append(
            {
                "level": [level],
                "names": sorted(" ".join(name.split()) for name in INLINE.findall(words)),
                "links": sorted(
                    PAIRS.get(link, link) for link in LINK.findall(text)
                ),  # of pages in both, the Chinese one
                "numbers": sorted(NUMBER.findall(INLINE.sub("", words))),
            }
        )
    return found


@both
def test_they_have_the_same_commands(english: str, chinese: str) -> None:
    assert commands(chinese) == commands(english)


@both
def test_they_have_the_same_headings_names_links_and_numbers(english: str, chinese: str) -> None:
    there, here = sections(english), sections(chinese)
    assert [one["level"] for one in here] == [one["level"] for one in there]
    for one, other in zip(here, there, strict=True):
        assert one == other


def test_every_chinese_page_has_an_english_one() -> None:
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs/zh").glob("*.md")}
    assert pages == set(PAIRS.values()) - {"README.zh-CN.md"}


@both
def test_chinese_pages_are_chinese(english: str, chinese: str) -> None:
    """A heading or a paragraph that was left in English would agree in everything else."""
    for paragraph in re.split(r"\n\s*\n", INLINE.sub("", FENCED.sub("", read(chinese)))):
        words = re.sub(r"[|\-:\s]", "", LINK.sub("]", paragraph))
        assert not words or re.search(r"[\u4e00-\u9fff]", words) or len(words) < 40, paragraph


@both
def test_a_chinese_paragraph_is_one_line(english: str, chinese: str) -> None:
    """Browsers show a line break as a space, which Chinese does not have."""
    assert not re.findall(r"[\u3000-\uffef]\n *[\u3000-\uffef].*", FENCED.sub("", read(chinese)))

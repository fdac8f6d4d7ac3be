"""The prompts that ship, and those of users."""

import re
from pathlib import Path

import pytest

from caption.errors import CaptionError
from caption.jobs import parsed_targets
from caption.options import PROMPTS
from caption.patches import patches_of
from caption.prompt import TARGETS, read_prompt, rendered
from data.sources.events import EVENTS

STYLES = {"sentence", "news", "paragraph"}
TOLD = re.compile(r"(?i)disaster|hurricane|wind|flood|fire|quake|tsunami|volcan|damage|destr|event|before|after")


def test_every_style_is_there_as_text_and_with_facts() -> None:
    names = {path.stem for path in PROMPTS.glob("*.txt")}
    styles = {f"{target}-{style}{facts}" for target in ("pre", "post") for style in STYLES for facts in ("", "-facts")}
    assert names >= styles | {
        f"change-{style}{facts}" for style in ("sentence", "paragraph") for facts in ("", "-facts")
    }


def test_a_pre_prompt_names_neither_event_nor_disaster(dataset: Path) -> None:
    for path in PROMPTS.glob("pre-*.txt"):
        prompt = read_prompt(PROMPTS, "pre", path.stem.removeprefix("pre-"))
        for patch in patches_of(dataset):
            text = rendered(prompt, "pre", patch.truth)
            assert not TOLD.search(text), text
            assert not any(event.place and event.place in text for event in EVENTS.values())


def test_a_post_prompt_has_the_facts(dataset: Path) -> None:
    """In the first patch one of two houses is destroyed."""
    patch = next(iter(patches_of(dataset, "train")))
    text = rendered(read_prompt(PROMPTS, "post", "sentence-facts"), "post", patch.truth)
    assert "taken after hurricane winds" in text and "one is destroyed and one is undamaged" in text
    assert "destroyed" not in rendered(read_prompt(PROMPTS, "post", "sentence"), "post", patch.truth)


def test_the_version_follows_the_text(tmp_path: Path) -> None:
    versions = set()
    for text in ("one", "two", "two "):
        (tmp_path / "post-mine.txt").write_text(text)
        versions.add(read_prompt(tmp_path, "post", "mine").version)
    assert len(versions) == 2 and all(re.fullmatch(r"post-mine@[0-9a-f]{12}", version) for version in versions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Describe it, taken before {disaster}.", r"pre-mine.txt: no field \{disaster\} here; known are facts"),
        ("{fact}", r"no field \{fact\}"),
        ("{", r"pre-mine.txt: .*Write a brace that is meant as \{\{ or \}\}"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pre-mine.txt").write_text(text)
    with pytest.raises(CaptionError, match=message):
        read_prompt(tmp_path, "pre", "mine")


def test_a_style_that_is_missing_is_named_with_those_that_are_there() -> None:
    with pytest.raises(
        CaptionError, match=r"post-haiku.txt: no such prompt\. For post there is news, news-facts, paragraph"
    ):
        read_prompt(PROMPTS, "post", "haiku")


def test_targets() -> None:
    assert parsed_targets("post, pre") == ["pre", "post"] and parsed_targets(",".join(TARGETS)) == list(TARGETS)
    for text in ("", "after"):
        with pytest.raises(CaptionError, match="expected any of pre, post, change"):
            parsed_targets(text)

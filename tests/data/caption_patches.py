"""Patches for caption tests: what is said of them depends on these numbers only."""

from collections.abc import Sequence
from datetime import date

from data.captions.facts import CaptionFacts, Capture, House
from data.schema import DAMAGE_VALUES
from data.sources.events import EVENTS

Spot = tuple[float, float, str]  # x and y as shares of the patch, from west and north; damage


def patch_with(spots: Sequence[Spot], event: str = "hurricane-harvey") -> CaptionFacts:
    """A labelled patch of 512 px at 0.5 m, 256 m wide, with houses of 10 x 10 m."""
    damages = [damage for _, _, damage in spots]
    return CaptionFacts(
        event=EVENTS[event],
        buildings=len(spots),
        classes={name: damages.count(name) for name in DAMAGE_VALUES},
        only_cut=False,
        patch_id=f"{event}_00000000_0000_0000_512",
        size_px=512,
        pixel_size_m=0.5,
        latitude=29.7,
        houses=tuple(House(x, y, 400.0, damage) for x, y, damage in spots),
        built_share=len(spots) * 100 / 256**2,
        captures={
            "pre": Capture(date(2017, 2, 16), "GEOEYE01", 7.6, 48.4),
            "post": Capture(date(2017, 8, 31), "WORLDVIEW02", 29.5, 62.1),
        },
    )


def grid_of(counts: Sequence[int]) -> list[Spot]:
    """As many houses per class of DAMAGE_VALUES as asked, in rows over the patch."""
    damages = [name for name, number in zip(DAMAGE_VALUES, counts, strict=True) for _ in range(number)]
    side = max(1, round(len(damages) ** 0.5 + 0.5))
    return [((i % side + 0.5) / side, (i // side + 0.5) / side, damage) for i, damage in enumerate(damages)]

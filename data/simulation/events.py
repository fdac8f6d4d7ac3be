"""The invented disasters of the simulated release: where, when, seen by which sensor, in which colours.

No name here is an event of xBD, so a mix-up with the real data shows at once.
"""

from dataclasses import dataclass

Colour = tuple[float, float, float]  # RGB, 0..255, as seen in full sun

DISASTER_TYPES = ("flooding", "wind", "fire", "earthquake", "tsunami", "volcano")


@dataclass(frozen=True, kw_only=True)
class Climate:
    """The colours and habits of a landscape."""

    grass: Colour
    dry: Colour  # drained or sunburnt grass
    soil: Colour
    crops: tuple[Colour, ...]
    forest: tuple[Colour, ...]  # crown colours
    water: Colour  # deep
    shallow: Colour
    road: Colour
    roofs: tuple[tuple[Colour, float], ...]  # colour, and how weak the building under it is (0 strong .. 1 weak)
    farmland: float  # share of open ground that is tilled, 0..1


GREY, DARK, BROWN, WHITE = (128.0, 128.0, 130.0), (86.0, 86.0, 92.0), (118.0, 94.0, 78.0), (205.0, 207.0, 208.0)
TILE, OLD_TILE, RUST, BLUE = (166.0, 92.0, 66.0), (142.0, 98.0, 78.0), (138.0, 88.0, 66.0), (94.0, 122.0, 158.0)
TAN = (172.0, 154.0, 128.0)

TEMPERATE = Climate(
    grass=(92, 108, 66), dry=(136, 128, 92), soil=(140, 120, 94),
    crops=((88, 116, 58), (158, 144, 98), (128, 112, 84), (108, 124, 66)),
    forest=((50, 74, 40), (62, 84, 44), (44, 66, 42), (76, 90, 50)),
    water=(40, 56, 58), shallow=(74, 84, 74), road=(112, 112, 112),
    roofs=((GREY, 0.5), (DARK, 0.4), (BROWN, 0.6), (WHITE, 0.8), (OLD_TILE, 0.5)), farmland=0.65,
)  # fmt: skip
SUBTROPICAL = Climate(
    grass=(86, 112, 64), dry=(142, 134, 96), soil=(158, 132, 102),
    crops=((84, 118, 60), (150, 140, 92), (130, 104, 78)),
    forest=((46, 76, 44), (56, 86, 48), (66, 92, 50), (42, 68, 46)),
    water=(34, 52, 48), shallow=(70, 86, 70), road=(120, 120, 118),
    roofs=((GREY, 0.6), (DARK, 0.4), (WHITE, 0.9), (BROWN, 0.6), (TAN, 0.5)), farmland=0.45,
)  # fmt: skip
MEDITERRANEAN = Climate(
    grass=(112, 112, 72), dry=(168, 148, 106), soil=(176, 150, 116),
    crops=((118, 124, 70), (186, 164, 116), (156, 126, 92)),
    forest=((62, 76, 46), (74, 84, 50), (54, 68, 42)),
    water=(32, 60, 78), shallow=(82, 116, 116), road=(128, 126, 122),
    roofs=((TILE, 0.7), (OLD_TILE, 0.9), (TAN, 0.5), (WHITE, 0.3), (GREY, 0.3)), farmland=0.5,
)  # fmt: skip
TROPICAL = Climate(
    grass=(82, 118, 58), dry=(128, 132, 78), soil=(150, 108, 80),
    crops=((78, 122, 54), (112, 132, 68), (94, 110, 64), (136, 112, 80)),
    forest=((40, 78, 38), (54, 92, 42), (66, 102, 46), (44, 70, 40)),
    water=(28, 66, 74), shallow=(80, 122, 110), road=(124, 118, 110),
    roofs=((RUST, 0.9), (WHITE, 0.7), (TILE, 0.6), (BLUE, 0.6), (GREY, 0.5)), farmland=0.6,
)  # fmt: skip
HIGHLAND = Climate(
    grass=(100, 112, 68), dry=(146, 132, 94), soil=(142, 114, 90),
    crops=((96, 118, 64), (152, 138, 90), (118, 96, 76), (120, 128, 74)),
    forest=((48, 72, 44), (58, 80, 46), (40, 62, 42)),
    water=(48, 70, 70), shallow=(98, 106, 92), road=(122, 116, 108),
    roofs=((TILE, 0.6), (RUST, 0.9), (WHITE, 0.6), (GREY, 0.4), (OLD_TILE, 0.8)), farmland=0.55,
)  # fmt: skip
ARID = Climate(
    grass=(134, 124, 86), dry=(178, 156, 118), soil=(184, 156, 122),
    crops=((104, 118, 66), (170, 148, 106), (150, 124, 94)),
    forest=((74, 82, 54), (84, 90, 58), (64, 74, 50)),
    water=(44, 76, 82), shallow=(112, 124, 108), road=(132, 128, 122),
    roofs=((TAN, 0.9), (GREY, 0.5), (WHITE, 0.4), (OLD_TILE, 0.8), (TAN, 0.7)), farmland=0.35,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Event:
    """One invented disaster; its scenes share the region, the climate and the two acquisitions."""

    name: str
    disaster_type: str
    climate: Climate
    lon: float  # degrees east, centre of the region
    lat: float  # degrees north
    pre: tuple[str, str]  # sensor, UTC time of capture
    post: tuple[str, str]
    tone_pre: Colour = (1.0, 1.0, 1.0)  # gain per channel of the pre acquisition


def _event(
    name: str, climate: Climate, lon: float, lat: float, pre: tuple[str, str], post: tuple[str, str], tone: Colour
) -> Event:
    kind = next(kind for kind in DISASTER_TYPES if name.endswith(kind))
    return Event(name=name, disaster_type=kind, climate=climate, lon=lon, lat=lat, pre=pre, post=post, tone_pre=tone)


WV2, WV3, GEOEYE = "WORLDVIEW02", "WORLDVIEW03_VNIR", "GEOEYE01"

# Ordered so that event k has disaster type k % 6.
EVENTS: tuple[Event, ...] = (
    _event("larkmere-flooding", TEMPERATE, -91.62, 38.71, (GEOEYE, "2017-04-12T16:48"), (WV2, "2018-05-23T16:55"),
           (0.88, 0.94, 0.84)),
    _event("harrow-plain-wind", SUBTROPICAL, -88.94, 32.67, (WV2, "2016-10-03T16:41"), (GEOEYE, "2017-04-21T16:37"),
           (0.86, 0.92, 0.86)),
    _event("redgum-ridge-fire", MEDITERRANEAN, 146.38, -36.55, (WV3, "2018-11-08T00:22"), (WV2, "2019-02-17T00:14"),
           (0.92, 0.92, 0.88)),
    _event("monte-alvo-earthquake", MEDITERRANEAN, 13.42, 42.86, (WV3, "2015-09-19T09:58"),
           (WV2, "2016-06-11T10:06"), (0.96, 0.95, 0.94)),
    _event("pelican-bay-tsunami", TROPICAL, 121.53, 18.21, (WV2, "2017-03-02T02:31"), (GEOEYE, "2018-01-14T02:38"),
           (0.88, 0.96, 0.92)),
    _event("cerro-umbra-volcano", HIGHLAND, -78.47, -1.22, (WV3, "2016-12-20T15:39"), (WV3, "2017-08-09T15:45"),
           (0.94, 0.96, 0.93)),
    _event("sandoval-delta-flooding", TROPICAL, 105.74, 11.38, (WV3, "2015-02-07T03:35"), (WV3, "2015-10-19T03:28"),
           (0.90, 0.96, 0.86)),
    _event("cape-dorring-wind", SUBTROPICAL, -81.73, 29.56, (GEOEYE, "2018-03-15T15:59"), (WV2, "2018-09-29T16:12"),
           (0.84, 0.92, 0.84)),
    _event("juniper-creek-fire", TEMPERATE, -121.34, 40.18, (GEOEYE, "2016-06-27T19:06"), (GEOEYE, "2016-09-30T19:15"),
           (0.92, 0.94, 0.86)),
    _event("sierra-cobre-earthquake", ARID, -70.42, -29.83, (WV2, "2014-08-23T14:52"), (WV3, "2015-05-16T14:57"),
           (0.96, 0.94, 0.90)),
    _event("karoa-coast-tsunami", SUBTROPICAL, 177.98, -38.63, (WV3, "2018-10-25T22:12"), (WV2, "2019-04-06T22:19"),
           (0.86, 0.94, 0.90)),
    _event("gunung-sela-volcano", TROPICAL, 109.93, -7.34, (WV2, "2017-06-18T03:01"), (GEOEYE, "2018-02-27T02:54"),
           (0.93, 0.96, 0.92)),
    _event("willowford-flooding", TEMPERATE, 16.92, 51.27, (WV2, "2016-08-14T10:03"), (WV3, "2017-06-20T09:57"),
           (0.92, 0.96, 0.88)),
    _event("tallgrass-county-wind", TEMPERATE, -97.41, 36.12, (WV3, "2015-07-09T17:25"), (WV2, "2016-05-12T17:19"),
           (0.94, 0.94, 0.88)),
    _event("serra-do-pinho-fire", MEDITERRANEAN, -7.83, 40.62, (WV2, "2017-05-30T11:27"), (WV3, "2017-08-25T11:33"),
           (0.94, 0.94, 0.92)),
    _event("thimra-valley-earthquake", HIGHLAND, 83.92, 28.41, (GEOEYE, "2016-11-13T05:08"),
           (GEOEYE, "2017-04-30T05:15"), (0.94, 0.94, 0.90)),
    _event("isla-verada-tsunami", ARID, -75.21, -14.84, (GEOEYE, "2015-12-05T15:18"), (WV3, "2016-07-22T15:24"),
           (0.94, 0.95, 0.94)),
    _event("mount-askel-volcano", TEMPERATE, -121.87, 45.93, (GEOEYE, "2017-09-04T19:14"), (WV2, "2018-06-16T19:08"),
           (0.90, 0.94, 0.88)),
)  # fmt: skip

"""Which patches a build leaves out, and why. By default those in which nothing can be compared."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from data.errors import DataError

WET = ("flooding", "tsunami")
MAYBE_WATER = "It may be muddy water."
# With more, hardly anything that captions and masks describe is visible.
MAX_NODATA = 0.75


@dataclass(frozen=True, kw_only=True)
class Screening:
    """Limits on the quality columns; None = no limit. Unmeasurable quantities do not exclude a patch."""

    max_nodata: float = MAX_NODATA
    """Leave out patches with a larger share of pixels without data, 0 to 1, in either image. With 1, only patches in
    which nothing is visible are left out."""
    max_shift: float | None = None
    """Leave out patches whose post image is shifted farther from pre, in pixels. Patches whose shift cannot be
    determined (a flood, a closed forest) are kept."""
    max_cloud: float | None = None
    """Leave out patches with cloud over a larger share of either image, 0 to 1. Not for floods: muddy water is mistaken
    for cloud. Thin veils are mostly missed (docs/pair-quality.md)."""
    align: bool = False
    """Move the post image of a scene onto pre by the estimated shift, to a fraction of a pixel, where the estimate is
    confident. Polygons and damage masks are drawn on pre and do not move."""

    def settings(self) -> dict[str, Any]:
        """For dataset.json."""
        return asdict(self)

    def __post_init__(self) -> None:
        """Stop on a limit that is not a sensible number."""
        for name, most in (("max_nodata", 1.0), ("max_cloud", 1.0), ("max_shift", math.inf)):
            limit = getattr(self, name)
            if limit is not None and not 0 <= limit <= most:
                expected = "0 to 1, a share of the patch" if most == 1 else "a number of pixels, 0 or more"
                raise DataError(f"{name} is {limit}; expected {expected}. Leave it out for no limit.")

    def reason(self, columns: dict[str, Any], disaster_type: str = "") -> str:
        """Why a patch with these quality columns is left out; "" if it is not."""
        nodata, shift = columns["nodata_fraction"], math.hypot(*columns["shift_px"])
        phase = max(("pre", "post"), key=lambda phase: _known(columns[f"cloud_{phase}"]))
        cloud = columns[f"cloud_{phase}"]
        if nodata >= 1:
            return "no data anywhere in it, in one image or the other."
        if nodata > self.max_nodata:
            return f"no data in {nodata:.1%} of it, --max-nodata is {self.max_nodata:g}."
        if self.max_cloud is not None and cloud > self.max_cloud:
            reason = f"cloud over {cloud:.1%} of the {phase} image, --max-cloud is {self.max_cloud:g}."
            return f"{reason} {MAYBE_WATER}" if phase == "post" and disaster_type in WET else reason
        if self.max_shift is not None and shift > self.max_shift:
            return f"post lies {shift:.1f} px from pre, --max-shift is {self.max_shift:g}."
        return ""


COMPARABLE = Screening()


def _known(value: float) -> float:
    return -1.0 if math.isnan(value) else value

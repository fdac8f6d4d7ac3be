"""Patches that show nothing because they are dark: night, deep shadow, a failed exposure."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.progress import Bar
from data.report.gallery import opened_png, readable, rows_in
from data.report.pairs import MUCH_NODATA

# 95 % of the pixels are darker: on a screen that is black, 0.7 % of the light of white in sRGB. Of 984 patches of 31
# locations of xBD, 3 are, all of one dim corner; dense forest lies above.
DARK = 20
DARK_SHARE = 95  # percent; the lamps of a city at night are few


def dark_patches(folder: Path, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Ids of the patches of which one image or the other is dark, and not for lack of data.

    Only those that may be are decoded: the haze of a dark image is less than DARK, or unknown.
    """
    asked = {
        row["patch_id"]: row
        for row in rows
        if row["nodata_fraction"] <= MUCH_NODATA
        and not min(row["haze_pre"], row["haze_post"], key=lambda haze: -1 if math.isnan(haze) else haze) * 255 >= DARK
    }
    with Bar(total=len(asked), desc="dark patches", unit="patch", delay=2, leave=False) as bar:
        found = []
        for full in rows_in(folder, asked, ["patch_id", "pre", "post"]):
            name = full["patch_id"]
            with readable(folder / asked[name]["file"], name):
                found += [name] * any(_is_dark(full[phase]["bytes"]) for phase in ("pre", "post"))
            bar.update()
    return sorted(found)


def _is_dark(png: bytes) -> bool:
    return float(np.percentile(np.asarray(opened_png(png).convert("L")), DARK_SHARE)) < DARK

"""The quality charts of the report."""

import math
from typing import Any

from data.report.charts import above_zero, histogram

# Ends of the histograms; larger values are counted in the last bar.
LARGEST_SHIFT_PX = 16.0
LARGEST_GAP = 100.0
LARGEST_HAZE = 0.6


def quality_charts(rows: list[dict[str, Any]]) -> list[str]:
    """Histograms over the patches."""
    shifts = [math.hypot(*row["shift_px"]) for row in rows if row["shift_source"]]
    seen = [row for row in rows if not math.isnan(row["cloud_pre"] + row["cloud_post"])]
    known = f"known for {len(shifts):,} of {len(rows):,} patches. Buildings lean with the view, so small ones are usual"
    gaps = _known(rows, "radiometric_gap")
    return [
        above_zero("Pixels without data", "share of a patch", [row["nodata_fraction"] for row in rows]),
        histogram("Shift between pre and post", f"pixels; {known}", shifts, 0, LARGEST_SHIFT_PX),
        above_zero("Cloud", "share of the cloudier image", [max(row["cloud_pre"], row["cloud_post"]) for row in seen]),
        histogram("Haze, post", "brightness of what should be dark", _known(rows, "haze_post"), 0, LARGEST_HAZE),
        histogram("Sharpness, pre", "share of detail that a slight blur removes", _known(rows, "sharpness_pre"), 0, 1),
        histogram("Sharpness, post", "the same after the event", _known(rows, "sharpness_post"), 0, 1),
        histogram(
            "Radiometric gap", "mean difference of the tones of pre and post, 8-bit values", gaps, 0, LARGEST_GAP
        ),
    ]


def _known(rows: list[dict[str, Any]], column: str) -> list[float]:
    return [row[column] for row in rows if not math.isnan(row[column])]

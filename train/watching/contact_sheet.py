"""A contact sheet: every row shows a patch as pre | generated | real."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from data.examples.similarity import Pixels

GAP_PX = 4
HEADER_PX = 16
COLUMNS = ("pre", "generated", "real")


def contact_sheet(rows: Sequence[Sequence[Pixels]], columns: Sequence[str] = COLUMNS) -> NDArray[np.uint8]:
    """Stack patches on white, with the column names above.

    Args:
        rows: for each patch, its images in the order of `columns`, all square and of one size.
        columns: their names.
    """
    side = rows[0][0].shape[0]
    cell = side + GAP_PX
    sheet = Image.new("RGB", (len(columns) * cell - GAP_PX, HEADER_PX + len(rows) * cell - GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(columns):
        draw.text((column * cell, 2), title, fill="black")
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (column * cell, HEADER_PX + row * cell))
    return np.asarray(sheet)

"""Where a patch lies in its scene."""

from typing import NamedTuple, TypeAlias

from datasets import Dataset

# Height and width of the scene as delivered, px; top and left of the image in the scene, and the image's own height
# and width, px of the image.
Place: TypeAlias = tuple[float, float, float, float, float, float]


class Spot(NamedTuple):
    """A patch in its scene; px of the scene."""

    height: int  # of the scene, as far as the patches of a dataset show it
    width: int
    top: int
    left: int
    size: int  # side of the patch

    def shown(self, resolution: int, mirrored: bool = False) -> Place:
        """The place of the patch resized to a resolution (px), in the scene mirrored with it."""
        left = self.width - self.left - self.size if mirrored else self.left
        scale = resolution / self.size
        return self.height, self.width, self.top * scale, left * scale, resolution, resolution


def spots_of(dataset: Dataset) -> list[Spot]:
    """Of every patch. A scene reaches as far as its patches do."""
    columns = ("scene_id", "row", "col", "size")
    rows = list(zip(*(dataset[name][:] for name in columns), strict=True))
    height, width = dict[str, int](), dict[str, int]()
    for scene, row, col, size in rows:
        height[scene] = max(height.get(scene, 0), row + size)
        width[scene] = max(width.get(scene, 0), col + size)
    return [Spot(height[scene], width[scene], row, col, size) for scene, row, col, size in rows]


def whole(height: int, width: int) -> Place:
    """Of an image that is its own scene."""
    return height, width, 0, 0, height, width

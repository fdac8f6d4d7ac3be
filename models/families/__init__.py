"""Families of bases, each in one file: what is different between Stable Diffusion, DiffusionSat and others."""

from pathlib import Path

from models.base_config import read_json
from models.errors import BaseError, UnfitBase
from models.families.diffusionsat import DiffusionSat
from models.families.family import Family
from models.families.sdxl import Sdxl
from models.families.stable_diffusion import StableDiffusion
from models.families.stable_diffusion_3 import StableDiffusion3
from models.families.text2earth import Text2Earth

# The first whose `is_of` holds: Stable Diffusion takes what no other one claims.
FAMILIES: tuple[Family, ...] = (StableDiffusion3(), Sdxl(), DiffusionSat(), Text2Earth(), StableDiffusion())


def family_of(folder: Path) -> Family:
    """The family of a base folder, from its config files.

    Raises:
        UnfitBase: there is none for it; the message says what it is.
    """
    if (family := next((family for family in FAMILIES if family.is_of(folder)), None)) is not None:
        return family
    kind = read_json(folder / "transformer" / "config.json").get("_class_name", "of no known class")
    raise UnfitBase(f"{folder / 'transformer'}: a diffusion transformer ({kind}) of a family that is not known here.")


def check_config(folder: Path, *, instruct: bool = False) -> None:
    """Stop unless the parts of a base match and are supported by training and generation.

    Args:
        folder: of the base.
        instruct: an InstructPix2Pix model is wanted: its UNet reads two images' latents.

    Raises:
        BaseError: naming what kind of base it is, or the file and the field that is wrong.
    """
    try:
        family_of(folder).check(folder, instruct=instruct)
    except UnfitBase as error:
        raise BaseError(
            f"{error} It cannot be used here. Name a base of {', '.join(family.name for family in FAMILIES)}, or tiny."
        ) from None

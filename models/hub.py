"""Bases from the Hugging Face hub: only the files that are used here, and never a pickle."""

from pathlib import Path

from huggingface_hub import list_repo_files, snapshot_download

from models.errors import BaseError
from models.families import check_config, family_of
from models.weight_files import find_layout


def from_hub(name: str, *, download: bool, instruct: bool) -> Path:
    """The folder of a base in the hub client's cache; config files come first, and no weights of an unsuitable base.

    Args:
        name: OWNER/NAME on the hub.
        download: whether the hub may be queried.
        instruct: see `check_config`.

    Raises:
        BaseError: the base is unsuitable or unavailable.
    """
    reason: Exception | None = None
    if download:
        try:
            files = list_repo_files(name)
            configs = [file for file in files if file.count("/") == 1 and file.endswith((".json", ".txt", ".model"))]
            configs += [file for file in files if file == "model_index.json"]
            folder = Path(snapshot_download(name, allow_patterns=configs))
            check_config(folder, instruct=instruct)
            family = family_of(folder)
            parts = ("vae", *family.text_encoders, family.network)
            snapshot_download(
                name, allow_patterns=configs + [file for part in parts for file in _weights_of(part, files)]
            )
        except BaseError:
            raise
        except Exception as error:  # the hub client raises many kinds, which mean the same to the user
            reason = error
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except Exception as error:  # as above
        asked = "on the Hugging Face hub" if download else "in the cache of the Hugging Face hub"
        reason = reason or error
        raise BaseError(
            f"{name}: neither a folder here nor a base {asked} ({type(reason).__name__}: {reason}). Check the "
            "spelling, or download it where there is a network and pass the folder."
        ) from reason


def _weights_of(part: str, files: list[str]) -> list[str]:
    """Among the files of a repository, the weights of one part that are used here."""
    names = [file.removeprefix(f"{part}/") for file in files if file.startswith(f"{part}/")]
    layout = find_layout(names)
    if layout is None:
        return []
    wanted = layout.shards(names) if layout.sharded else [layout.file]
    return [f"{part}/{name}" for name in wanted]

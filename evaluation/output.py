"""The folder of an evaluation: images/METHOD/PATCH.png with their manifests, then results.json, .tex and report.html.

The images come first and are kept: an interrupted evaluation continues with them. The rest is written at the end.
"""

from collections.abc import Container
from pathlib import Path

from data.storage import entries, partial_name
from evaluation.errors import EvaluationError
from generate.make import file_name
from generate.output import check_folder

RESULTS = "results.json"
LATEX = "results.tex"
REPORT = "report.html"
IMAGES = "images"
WRITTEN_LAST = (RESULTS, LATEX, REPORT)


def image_file(patch_id: str, method: str, sample: int = 0) -> str:
    """Path of a generated image in the folder."""
    return f"{IMAGES}/{method}/{file_name(patch_id, sample)}"


def check_out(out: Path, rows: Container[str], overwrite: bool) -> None:
    """Stop if writing to `out` would affect anything but an evaluation of ours that may be continued or replaced.

    Args:
        out: the folder to write.
        rows: whose images it may hold.
        overwrite: replace what was measured before.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise EvaluationError(f"out {out} is a file. Name a folder that does not exist yet.")
    ours = {IMAGES, *WRITTEN_LAST, *map(partial_name, WRITTEN_LAST)}
    foreign = [path for path in entries(out) if path.name not in ours]
    foreign += [path for path in (out / IMAGES).glob("*") if path.name not in rows]
    if foreign:
        names = ", ".join(sorted(path.name for path in foreign)[:3])
        raise EvaluationError(f"out {out} holds {names}: not (only) an evaluation of these rows. Name another folder.")
    for folder in (out / IMAGES).glob("*"):
        check_folder(folder)
    if (out / RESULTS).exists() and not overwrite:
        raise EvaluationError(
            f"out {out} holds a finished evaluation. Add --overwrite to measure again (images that would come out the "
            "same are kept), or name another folder."
        )


def forget_results(out: Path) -> None:
    """Delete what was measured on images about to be replaced, results.json first: its presence marks completion."""
    for name in WRITTEN_LAST:
        (out / name).unlink(missing_ok=True)

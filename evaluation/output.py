"""The folder of an evaluation: results.json, report.html, images/PATCH_generated.png and images/PATCH_base.png."""

from pathlib import Path

from evaluation.errors import EvaluationError

RESULTS = "results.json"
REPORT = "report.html"
IMAGES = "images"
GENERATED_METHODS = ("generated", "base")


def image_file(patch_id: str, method: str) -> str:
    """Path of a generated image in the folder."""
    return f"{IMAGES}/{patch_id}_{method}.png"


def check_out(out: Path, overwrite: bool) -> None:
    """Stop if writing to `out` would touch anything but an earlier evaluation that may be replaced."""
    if not out.exists():
        return
    if not out.is_dir():
        raise EvaluationError(f"out {out} is a file. Name a folder that does not exist yet.")
    names = {path.name for path in out.iterdir()}
    if not names:
        return
    endings = tuple(f"_{method}.png" for method in GENERATED_METHODS)
    foreign = sorted(names - {RESULTS, REPORT, IMAGES})
    foreign += sorted(path.name for path in (out / IMAGES).glob("*") if not path.name.endswith(endings))
    if foreign or RESULTS not in names:
        why = f"holds {', '.join(foreign[:3])}" if foreign else f"has no {RESULTS}"
        raise EvaluationError(f"out {out} {why}: not (only) an evaluation of ours. Name another folder.")
    if not overwrite:
        raise EvaluationError(
            f"out {out} holds an earlier evaluation. Add --overwrite to replace it, or name another folder."
        )

"""Check captions of others against the labels, or make captions with a vision-language model.

On a laptop: `pre2post caption --dataset d512 --recheck rscc.jsonl --out checked.jsonl`
"""

from pathlib import Path

from caption.recheck import recheck as recheck_file


def caption(*, dataset: Path, out: Path, recheck: Path) -> None:
    """Check captions of others against the labels of a built dataset (docs/captions.md).

    Args:
        dataset: A folder made by `pre2post build`.
        out: The JSONL file to write: the captions that pass, for `pre2post build --captions`. Those that do not are
            written beside it, with the reasons.
        recheck: The file of captions, in any form that `pre2post build --captions` reads.
    """
    recheck_file(dataset, recheck, out)

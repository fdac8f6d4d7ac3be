"""`results.json`: every number, per patch and in summary; one that does not exist is null."""

from pathlib import Path

from data.storage import write_text
from data.strict_json import as_json
from evaluation.damage.fidelity import fidelity
from evaluation.output import RESULTS
from evaluation.report.terminal import differences, interval_sentence
from evaluation.results import Evaluation

FORMAT = 3


def write_results(folder: Path, evaluation: Evaluation) -> None:
    """Write results.json."""
    groups = {"by_disaster_type": evaluation.by_disaster_type(), "by_event": evaluation.by_event()}
    content = {
        "format": FORMAT,
        **evaluation.settings,
        "rows": evaluation.rows(),
        "notes": evaluation.notes,
        "not_measured": evaluation.gaps,
        "rows_without_images": evaluation.absent,
        "summary": evaluation.summary(),
        **{f"{row}_less_{than}": less for (row, than), less in differences(evaluation).items()},
        "intervals": interval_sentence(evaluation),
        "sets": evaluation.sets,
        "damage": fidelity(evaluation),
        "damage_by_disaster_type": {
            key: fidelity(evaluation, part) for key, part in groups["by_disaster_type"].items()
        },
        **{name: {key: evaluation.summary(part) for key, part in parts.items()} for name, parts in groups.items()},
        "published": list(evaluation.published),
        "per_patch": [vars(patch) for patch in evaluation.patches],
    }
    write_text(folder / RESULTS, as_json(content))

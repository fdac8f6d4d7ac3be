"""The report as one HTML page: no scripts, nothing loaded from elsewhere."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from data.captions.file import caption_notes
from data.dataset.card import count_cells, event_totals
from data.dataset.summary import polygon_words
from data.pages.document import document, facts, figures, html_table
from data.quality.leaks import leak_note, leak_table
from data.report.charts import legend, stacked_bar

STYLE = Path(__file__).with_name("report.css")
MOST_ROWS = 50  # of a table; dataset.json has them all


def page(
    manifest: Mapping[str, Any], warnings: list[str], pairs: str, charts: list[str], maps: str, gallery: str, worst: str
) -> str:
    """The whole page.

    Args:
        manifest: dataset.json.
        warnings: plain sentences, what to look at before training.
        pairs: the table of what is known of each event's pairs.
        charts: figures.
        maps: of the world and of each event.
        gallery: pictures of damaged patches.
        worst: pictures of the worst pairs.
    """
    build = manifest["build"]
    title = f"{build['source']}: {build['size']} px patches"
    events = event_totals(manifest["events"])
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    provenance = [
        ("pre2post", manifest["pre2post_version"]),
        ("split by", build["split_by"]),
        ("seed", build["seed"]),
        ("fingerprint", manifest["fingerprint"][:12]),
    ]
    body = [
        f"<header><h1>{escape(title)}</h1>{facts(provenance)}</header>",
        f'<ul class="warnings">{items}</ul>' if items else "",
        _figures(manifest),
        f"<h2>Splits</h2>{legend()}{_count_table(manifest['splits'])}",
        f"<h2>Events</h2>{_count_table(events, _where(manifest['events']))}",
        f"<h2>Pairs</h2><p>Medians over patches; what the files do not say is a dash.</p>{pairs}",
        f"<h2>Places</h2>{maps}",
        f'<h2>Distributions</h2><div class="charts">{"".join(charts)}</div>',
        _leaks(manifest),
        _left_out(manifest),
        f'<h2>Damaged patches</h2><p>The most damaged of every event.</p>{legend()}<div class="pairs">{gallery}</div>',
    ]
    if worst:
        body.append(
            "<h2>Worst pairs</h2><p>By shift, cloud, missing data and difference of tones: look whether they should "
            f'be left out (docs/pair-quality.md).</p><div class="pairs">{worst}</div>'
        )
    return document(title, body, STYLE.read_text(encoding="utf-8"), "pre2post inspect")


def _figures(manifest: Mapping[str, Any]) -> str:
    parts = manifest["splits"].values()
    return figures(
        (f"{number:,}", what)
        for number, what in (
            (sum(part["scenes"] for part in parts), "scenes"),
            (sum(part["patches"] for part in parts), "patches"),
            (sum(sum(part["buildings"].values()) for part in parts), "buildings"),
            (len(manifest["events"]), "events"),
            (len(manifest["scenes_without_labels"]), "scenes without labels"),
            (len(manifest["quarantine"]), "scenes quarantined"),
        )
    )


def _count_table(counts: Mapping[str, Any], notes: dict[str, str] | None = None) -> str:
    names = list(next(iter(counts.values()))["buildings"])
    heads = ["", *(["split"] if notes else []), "scenes", "patches", *(name.replace("_", "-") for name in names), ""]
    rows = []
    for key, part in counts.items():
        cells = [escape(key), *([escape(notes[key])] if notes else []), *count_cells(part)]
        rows.append([*cells, stacked_bar(part["buildings"])])
    return html_table(heads, rows, "counts")


def _where(events: Mapping[str, Any]) -> dict[str, str]:
    return {event: ", ".join(entry["splits"]) for event, entry in events.items()}


def _leaks(manifest: Mapping[str, Any]) -> str:
    leaks = manifest["leaks"]
    checked = (
        f"Checked by footprint: {leaks['scenes_with_footprint']:,} scenes, of which {leaks['overlapping_pairs']:,} "
        f"pairs share ground. By picture: all patches; {leaks['scenes_without_footprint']:,} scenes by picture only."
    )
    found = leak_note(manifest) or "No sign of a place in two splits."
    rows = [[escape(cell) for cell in cells] for cells in leak_table(leaks)]
    table = capped(["this", "shares its place with, or looks like", "known by"], rows) if rows else ""
    return f"<h2>Leaks between splits</h2><p>{escape(found)}</p><p>{checked}</p>{table}"


def _left_out(manifest: Mapping[str, Any]) -> str:
    twins = manifest["near_duplicates"]["listed"]
    lists = [  # heads, entries, their fields; earlier versions wrote no remarks
        (["quarantined", "reason"], manifest["quarantine"], ["scene_id", "reason"]),
        (["built, but", "remark"], manifest.get("remarks", []), ["scene_id", "remark"]),
        (["patch left out", "reason"], manifest["left_out"], ["patch_id", "reason"]),
        (["same picture", "split", "as", "split"], twins, ["patch_id", "split", "looks_like", "its_split"]),
    ]
    tables = "".join(
        capped(heads, [[escape(entry[field]) for field in fields] for entry in entries])
        for heads, entries, fields in lists
        if entries
    )
    known = [
        ("quarantined", str(len(manifest["quarantine"]))),
        ("patches left out", f"{len(manifest['left_out']):,}"),
        ("patches that look like one of another scene", f"{manifest['near_duplicates']['patches']:,}"),
        ("scenes moved onto pre", f"{manifest['registration']['scenes_moved']:,}"),
        ("scenes without labels", _names(manifest["scenes_without_labels"])),
        ("scenes with one label", _names(manifest["scenes_with_one_label"])),
        ("scenes per source of location", ", ".join(f"{k} {n:,}" for k, n in manifest["location_sources"].items())),
        ("buildings in the margin", f"{manifest['margin_buildings']:,}"),
        ("polygons", polygon_words(manifest["polygons"])),
        ("places not used", _names(manifest["georeference"]["not_used"])),
        ("scenes in two split folders", _names(manifest.get("scenes_in_two_splits", []))),
        ("files not read", _names(manifest["unrecognised_files"])),
        *((what, _names(names)) for what, names in caption_notes(manifest.get("captions_file")).items()),
    ]
    head = "<h2>Left out and incomplete</h2>"
    return head + tables + html_table(["", ""], [[escape(name), escape(value)] for name, value in known], "text")


def _names(names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more if names else "none"


def capped(heads: list[str], rows: list[list[str]]) -> str:
    """A table of words with its first rows, and how many more there are."""
    more = f"<p>{len(rows) - MOST_ROWS:,} more in dataset.json.</p>" if len(rows) > MOST_ROWS else ""
    return html_table(heads, rows[:MOST_ROWS], "text") + more

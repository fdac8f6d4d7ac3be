"""The report as one HTML page: no scripts, nothing loaded from elsewhere."""

from collections.abc import Mapping
from html import escape
from typing import Any

from data.captions.file import caption_notes
from data.dataset.card import count_cells, event_totals
from data.dataset.summary import polygon_words
from data.quality.leaks import leak_note, leak_table
from data.report.charts import legend, stacked_bar

STYLE = """
:root { --ink: #1d2430; --soft: #667085; --line: #e4e7ec; --ground: #f6f7f9; --accent: #3b6ea8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 28px; letter-spacing: -0.01em; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 44px 0 12px; }
h3 { font-size: 14px; margin: 0; overflow-wrap: anywhere; }
p { margin: 0; color: var(--soft); } code { font-size: 12px; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 24px; }
.figures div, figure, article, .card { background: #fff; border: 1px solid var(--line); border-radius: 10px; }
.figures div { padding: 14px 16px; } .figures b { display: block; font-size: 24px; letter-spacing: -0.02em; }
.figures span { color: var(--soft); font-size: 13px; }
.card { padding: 6px 16px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 500; color: var(--soft); font-size: 13px; white-space: nowrap; }
td, th { padding: 8px 8px; border-bottom: 1px solid var(--line); } tr:last-child td { border-bottom: 0; }
td { text-align: right; } td:first-child, th:first-child { text-align: left; font-weight: 500; padding-left: 0;
  white-space: nowrap; }
td:last-child { width: 30%; min-width: 160px; padding-right: 0; } .text td { text-align: left; width: auto; }
.bar { display: flex; height: 12px; border-radius: 6px; overflow: hidden; background: #edeff2; }
.bar i { display: block; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; margin-bottom: 10px; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 12px; }
figure { margin: 0; padding: 16px; } figure p { font-size: 13px; margin-bottom: 10px; } .none { padding: 24px 0; }
svg { display: block; width: 100%; } rect { fill: var(--accent); } line { stroke: var(--line); }
text { font-size: 10px; fill: var(--soft); }
.world { margin-bottom: 12px; } .small { font-size: 4px; } circle { fill: #c9302c; } .world line { stroke-width: 0.4; }
.scene { fill-opacity: 0.35; stroke-width: 2; vector-effect: non-scaling-stroke; } .bar-line { stroke: var(--soft); }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(500px, 1fr)); gap: 14px; }
article { padding: 10px 10px 14px; } article h3 { margin: 10px 4px 4px; } article p { margin: 0 4px; font-size: 13px; }
article b { color: var(--ink); font-weight: 600; margin-right: 4px; }
em { font-style: normal; font-weight: 500; font-size: 12px; color: var(--accent); background: #eaf1f8; padding: 1px 8px;
  border-radius: 9px; margin-left: 4px; }
.trio { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px; }
.trio img { width: 100%; border-radius: 6px; display: block; }
.over { position: relative; } .over svg { position: absolute; inset: 0; } .over path { fill-opacity: 0.55; }
.missing { display: grid; place-items: center; background: var(--ground); border-radius: 6px; color: var(--soft);
  font-size: 13px; }
@media (max-width: 560px) { .gallery { grid-template-columns: 1fr; } }
"""


def page(manifest: Mapping[str, Any], charts: list[str], maps: str, gallery: str) -> str:
    """The whole page."""
    build = manifest["build"]
    title = f"{build['source']}: {build['size']} px patches"
    events = event_totals(manifest["events"])
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>pre2post {escape(manifest['pre2post_version'])}, split by {escape(build['split_by'])}, "
        f"seed {escape(str(build['seed']))}, fingerprint <code>{escape(manifest['fingerprint'][:12])}</code></p>",
        _figures(manifest),
        f"<h2>Splits</h2>{legend()}{_count_table(manifest['splits'])}",
        f"<h2>Events</h2>{_count_table(events, _where(manifest['events']))}",
        f"<h2>Places</h2>{maps}",
        f'<h2>Distributions</h2><div class="charts">{"".join(charts)}</div>',
        _leaks(manifest),
        _left_out(manifest),
        f'<h2>Pictures</h2>{legend()}<div class="gallery">{gallery}</div>',
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n'
        f"<body><main>\n{chr(10).join(body)}\n</main></body></html>\n"
    )


def _figures(manifest: Mapping[str, Any]) -> str:
    parts = manifest["splits"].values()
    figures = [
        (sum(part["scenes"] for part in parts), "scenes"),
        (sum(part["patches"] for part in parts), "patches"),
        (sum(sum(part["buildings"].values()) for part in parts), "buildings"),
        (len(manifest["events"]), "events"),
        (len(manifest["scenes_without_labels"]), "scenes without labels"),
        (len(manifest["quarantine"]), "scenes quarantined"),
    ]
    return f'<div class="figures">{"".join(f"<div><b>{n:,}</b><span>{what}</span></div>" for n, what in figures)}</div>'


def _count_table(counts: Mapping[str, Any], notes: dict[str, str] | None = None) -> str:
    names = list(next(iter(counts.values()))["buildings"])
    heads = ["", *(["split"] if notes else []), "scenes", "patches", *(name.replace("_", "-") for name in names), ""]
    rows = []
    for key, part in counts.items():
        cells = [escape(key), *([escape(notes[key])] if notes else []), *count_cells(part)]
        rows.append([*cells, stacked_bar(part["buildings"])])
    return _table(heads, rows)


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
    table = _table(["this", "shares its place with, or looks like", "known by"], rows, "text") if rows else ""
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
        _table(heads, [[escape(entry[field]) for field in fields] for entry in entries], "text")
        for heads, entries, fields in lists
        if entries
    )
    facts = [
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
    return head + tables + _table(["", ""], [[escape(name), escape(value)] for name, value in facts], "text")


def _names(names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more if names else "none"


def _table(heads: list[str], rows: list[list[str]], kind: str = "") -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads) if any(heads) else ""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="card"><table class="{kind}"><tr>{head}</tr>{body}</table></div>'

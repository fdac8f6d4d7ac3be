"""What goes with a complete set: the datasheet, the report with pictures, the STAC collection."""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.examples.invented_damage import CLASSES
from data.imagery.encode import data_uri
from data.pages.document import document, figures, html_table
from data.storage import locked, whole, write_text
from data.strict_json import as_json
from generate.region.plan import Plan
from generate.region.records import Record, all_records
from generate.region.release import SPLIT, STAC
from generate.region.summary import MAP_POINTS, Summary, class_shares, near_duplicates, summarise
from generate.stamp import SYNTHETIC

COLOURS = np.array([(20, 20, 24), (92, 184, 92), (240, 214, 74), (240, 150, 50), (214, 52, 52)], np.uint8)
SEVERITIES = ("slight", "moderate", "severe")
PICTURE_PX = 256
STYLE = (
    ".pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(380px,100%),1fr));gap:14px;margin-top:14px}"
    ".pairs img{width:32.5%;margin-right:.8%;border-radius:4px}.chart{max-width:680px}"
)


def finish(out: Path, plan: Plan, made_of: Mapping[str, Any]) -> None:
    """Write README.md, report.html and stac/collection.json; the same bytes whoever finishes a set."""
    with locked(out, name=".set.lock", wait=True):
        found = summarise(all_records(out, plan.shards), plan.pairs)
        tables = list(_tables(plan, found))
        write_text(out / "README.md", "\n".join(_datasheet(plan, made_of, found, tables)) + "\n")
        write_text(out / "report.html", _report(out, plan, found, tables))
        _write_collection(out, plan, found)


Table = tuple[str, list[str], list[list[str]]]  # title, header, rows


def _tables(plan: Plan, found: Summary) -> Iterator[Table]:
    columns = ["kept", "remade", "dropped", "no place"]
    for title, groups in (("By region", found.by_region), ("By disaster", found.by_disaster)):
        rows = [[name, *(f"{counts[column]:,}" for column in columns)] for name, counts in sorted(groups.items())]
        yield title, ["", "kept", "of these remade", "dropped", "no suitable place"], rows
    shares, wanted = class_shares(found), plan.classes.shares()
    rows = [
        [name, *(f"{counts[name]:,}" for _, counts in sorted(found.classes.items())), f"{share:.1%}", f"{aim:.1%}"]
        for name, share, aim in zip(CLASSES, shares, wanted, strict=True)
    ]
    yield "Buildings by class", ["", *sorted(found.classes), "share", "plan"], rows
    rows = [[name, f"{found.severities[i]:,}"] for i, name in enumerate(SEVERITIES)]
    yield "Severity of the tiles", ["", "pairs"], rows
    reasons = [*found.passed_over.items(), *((f"judge: {name}", number) for name, number in found.faults.items())]
    if reasons:
        yield "Places passed over, images rejected", ["", "times"], [[n, f"{count:,}"] for n, count in sorted(reasons)]


def _datasheet(plan: Plan, made_of: Mapping[str, Any], found: Summary, tables: list[Table]) -> Iterator[str]:
    image, judge = made_of["image"], made_of["judge"]
    yield f"# {plan.name}: {found.kept:,} synthetic pairs\n"
    yield f"**{SYNTHETIC}** The damage was invented for the footprints of real places.\n"
    yield (
        f"{found.tiles:,} tiles of {plan.tile_px} px were planned; {found.kept:,} pairs are in the set, in the layout "
        f"and label format of xView2 (`{SPLIT}/images`, `labels`, `targets`), with a STAC item each. "
        f"{near_duplicates(found.hashes):,} post images look like an earlier one (perceptual hash).\n"
    )
    yield "## Sources and licences\n"
    yield "| region | imagery | licence | footprints | licence | attribution |\n|---|---|---|---|---|---|"
    for region in plan.regions:
        cells = (
            region.imagery,
            region.imagery_licence,
            region.footprints,
            region.footprints_licence,
            region.attribution,
        )
        yield f"| {region.name} | " + " | ".join(cells) + " |"
    yield (
        f"\nPre images are {_changes(plan)}. Pairs made from them are under the most "
        "restrictive of these licences and of the checkpoint's. No image of xBD is redistributed here: xBD at most "
        "taught the checkpoint, and whoever publishes this set states its licence (CC BY-NC-SA 4.0) where that is so.\n"
    )
    yield "## How it was made\n"
    yield (
        f"Checkpoint `{image['checkpoint_sha256'][:16]}`, step {image['step']}, base UNet "
        f"`{image['base_unet_sha256'][:16]}`; {image['steps']} steps of {image['scheduler']}, guidance "
        f"{image['guidance_scale']:g}; noise seed {image['seed']}, plan seed {plan.seed}. `set.json` has all settings; "
        "each post image, label and STAC item carries its prompt, seed, source image and window.\n"
    )
    if judge:
        yield (
            f"Every pair was judged before it was kept: damage seen where asked at {judge['least_seen']:.3f} or more, "
            f"change outside of buildings at most {judge['most_outside']:.2f}; thresholds from "
            f"{judge['calibration_scenes']} real scenes, of which they reject at most {judge['false_rejection']:.0%}.\n"
        )
    else:
        yield "No judge looked at these pairs: some will not show the damage that their labels say.\n"
    yield "## Contents\n"
    for title, header, rows in tables:
        yield f"**{title}**\n"
        yield "| " + " | ".join(header) + " |\n|" + "---|" + "---:|" * (len(header) - 1)
        yield from ("| " + " | ".join(row) + " |" for row in rows)
        yield ""
    yield "## Intended use\n"
    yield (
        "Training damage models together with real pairs, and pre-training for places without any. Not for the "
        "assessment of damage, for maps of hazard, for news, or for any statement on what happened at a place.\n"
    )
    yield "## Known failures\n"
    yield (
        "- The force is drawn, not modelled: it knows no relief, water or building material.\n"
        "- Footprints that are older or newer than the image, or shifted against it, damage ground beside houses.\n"
        "- Damage looks like that of the events that the checkpoint has seen; other roofs and climates are guesses.\n"
        "- A gain over real pairs alone must be shown for each use (docs/usefulness.md of pre2post).\n"
    )


def _changes(plan: Plan) -> str:
    """What was done to the pixels of the sources."""
    stretched = [region.name for region in plan.regions if region.stretch]
    done = []
    if plan.gsd_m is not None:
        done.append(f"resampled (cubic) where their pixels were not of {plan.gsd_m:g} m")
    if stretched:
        done.append(f"brought to 8 bits by the plan's ranges ({', '.join(stretched)})")
    cut = "those of the sources, unchanged but for being cut"
    return f"cut from the sources, {' and '.join(done)}" if done else cut


def _report(out: Path, plan: Plan, found: Summary, tables: list[Table]) -> str:
    body = [
        f'<header><h1>{escape(plan.name)}</h1></header><ul class="warnings"><li>{escape(SYNTHETIC)}</li></ul>',
        figures([(f"{found.kept:,}", "pairs"), (f"{found.tiles:,}", "tiles planned")]),
        "<h2>Pairs</h2><p>Damage asked for: green none, yellow minor, orange major, red destroyed.</p>"
        f'<div class="pairs">{"".join(_pair(out, scene_id) for scene_id in found.examples)}</div>',
        f"<h2>Where</h2>{_map(found)}",
        *(
            f"<h2>{escape(title)}</h2>{html_table(header, [[escape(cell) for cell in row] for row in rows])}"
            for title, header, rows in tables
        ),
    ]
    return document(plan.name, body, STYLE, "pre2post region")


def _pair(out: Path, scene_id: str) -> str:
    shown = []
    for phase in ("pre", "post"):
        with Image.open(out / f"{SPLIT}/images/{scene_id}_{phase}_disaster.png", formats=("PNG",)) as image:
            shown.append((f"{phase} image", np.asarray(image.convert("RGB").resize((PICTURE_PX, PICTURE_PX)))))
    with Image.open(out / f"{SPLIT}/targets/{scene_id}_post_disaster_target.png", formats=("PNG",)) as image:
        classes = np.asarray(image.resize((PICTURE_PX, PICTURE_PX), Image.Resampling.NEAREST))
    shown.append(("damage asked for", COLOURS[np.minimum(classes, 4)]))
    pictures = "".join(
        f'<img alt="{name} of {escape(scene_id)}" src="{data_uri(pixels, "jpeg", quality=85)}">'
        for name, pixels in shown
    )
    caption = f"{escape(scene_id)}: pre, post (synthetic), damage asked for"
    return f"<figure>{pictures}<figcaption>{caption}</figcaption></figure>"


def _map(found: Summary) -> str:
    """Kept pairs as points, longitude to the right and latitude up, each axis over the ground of the set."""
    if not found.places:
        return "<p>No pair was kept.</p>"
    places = np.array(found.places)[:: max(1, len(found.places) // MAP_POINTS)]
    low, span = places.min(axis=0), np.maximum(np.ptp(places, axis=0), 1e-9)
    points = "".join(
        f'<circle cx="{10 + 580 * x:.1f}" cy="{290 - 280 * y:.1f}" r="2"/>' for x, y in ((places - low) / span).tolist()
    )
    west, south = low
    east, north = low + span
    words = f"{west:.4f} to {east:.4f} degrees east, {south:.4f} to {north:.4f} degrees north"
    frame = '<svg viewBox="0 0 600 300" role="img" aria-label="places of the pairs" fill="#d9822b" stroke="none">'
    return f'<div class="chart">{frame}{points}</svg><p>{words}</p></div>'


def _write_collection(out: Path, plan: Plan, found: Summary) -> None:
    """With a link to every item, written as they are read."""
    places = np.array(found.places) if found.places else np.array([[-180.0, -90.0], [180.0, 90.0]])
    days = sorted(region.taken for region in plan.regions)
    head = {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": plan.name,
        "description": SYNTHETIC,
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[*places.min(axis=0).tolist(), *places.max(axis=0).tolist()]]},
            "temporal": {"interval": [[f"{days[0]}T00:00:00Z", f"{days[-1]}T00:00:00Z"]]},
        },
    }
    with whole(out / STAC / "collection.json") as path, path.open("w", encoding="utf-8") as file:
        file.write(as_json(head, None).rstrip().removesuffix("}") + ', "links": [')
        for number, name in enumerate(_kept(all_records(out, plan.shards))):
            link = {"rel": "item", "href": f"{name}.json", "type": "application/geo+json"}
            file.write((",\n" if number else "\n") + as_json(link, None).rstrip())
        file.write("\n]}\n")


def _kept(records: Iterator[Record]) -> Iterator[str]:
    return (record["scene_id"] for record in records if record["outcome"] == "kept")

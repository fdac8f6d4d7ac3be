"""A report as one HTML page: light and dark, on paper and on a phone; nothing is loaded from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("style.css")


def document(title: str, body: Iterable[str], style: str = "", made_by: str = "pre2post") -> str:
    """The whole page.

    Args:
        title: plain text.
        body: HTML, one entry per block.
        style: CSS of this page, after that of all pages.
        made_by: the command, which knows its own pages by it.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f'<meta name="generator" content="{escape(made_by)}"><title>{escape(title)}</title>'
        f"<style>{STYLE.read_text(encoding='utf-8')}{style}</style></head>\n"
        f"<body><main>\n{chr(10).join(body)}\n</main></body></html>\n"
    )


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values in small print, for the header."""
    return f"<dl>{''.join(f'<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>' for name, value in pairs)}</dl>"


def figures(pairs: Iterable[tuple[str, str]]) -> str:
    """A row of large numbers, each with what it counts."""
    cells = "".join(f"<div><b>{escape(big)}</b><span>{escape(what)}</span></div>" for big, what in pairs)
    return f'<div class="figures">{cells}</div>'


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table on a card that scrolls by itself where it is wider than the screen; the first cell of a row is its head.

    Args:
        heads: plain text; without any there is no head.
        rows: HTML.
        kind: a class of the table: `text` for words.
    """
    head = f"<thead><tr>{''.join(f'<th>{escape(name)}</th>' for name in heads)}</tr></thead>" if any(heads) else ""
    body = "".join(f"<tr><th>{row[0]}</th>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>" for row in rows)
    return f'<div class="card" tabindex="0"><table class="{kind}">{head}<tbody>{body}</tbody></table></div>'

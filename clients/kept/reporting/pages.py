"""An HTML page of headings, sentences, tables and plots. All text is escaped; nothing is loaded, so nothing tells that it was read."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

_STYLE: Final = """
body{font:15px/1.5 sans-serif;color:#222;max-width:780px;margin:2em auto;padding:0 1em}
h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em}
table{border-collapse:collapse;margin:1em 0;width:100%}
th,td{padding:.25em .6em;border-bottom:1px solid #ccc;text-align:right}
th:first-child,td:first-child{text-align:left}
svg{width:100%;height:auto;margin:1em 0}
footer{margin-top:3em;color:#555;font-size:.9em}
@media print{body{margin:0}svg,table{break-inside:avoid}}
"""


def heading(text: str) -> str:
    """Begins a part."""
    return f"<h2>{escape(text)}</h2>"


def sentence(text: str) -> str:
    """A paragraph."""
    return f"<p>{escape(text)}</p>"


def table(titles: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> str:
    """A table, or what is said when there is no row."""
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_shown(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    if not body:
        return sentence(empty)
    return f"<table><tr>{''.join(f'<th>{escape(title)}</th>' for title in titles)}</tr>{body}</table>"


def page(title: str, parts: Iterable[str], footer: str) -> str:
    """The whole file."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"{''.join(parts)}<footer>{escape(footer)}</footer></body></html>\n"
    )


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.3f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)

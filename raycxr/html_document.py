"""HTML as we write it for people: one page with everything in it, to open in any browser or send by mail."""

from __future__ import annotations

import base64
from html import escape

# Follows the reader's light or dark setting; `#8884` is a line that shows on both.
STYLE = """
:root { color-scheme: light dark; --muted: #6b6b6b; }
@media (prefers-color-scheme: dark) { :root { --muted: #a3a3a3; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.about { color: var(--muted); margin-top: .2rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
td small { color: var(--muted); font-weight: 400; display: block; }
img { max-width: 100%; border-radius: 6px; } .scroll { overflow-x: auto; }
"""


def html_document(title: str, body: str, style: str = "") -> str:
    """Return a whole page.

    Parameters
    ----------
    title : str
        Plain text, escaped here.
    body : str
        HTML.
    style : str
        CSS of this page, after that of all pages.
    """
    return (
        "<!doctype html>\n<html lang='en'>\n<head><meta charset='utf-8'>\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style></head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def picture_uri(picture: bytes, kind: str) -> str:
    """Address that holds a picture itself; `kind` is png or jpeg."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"

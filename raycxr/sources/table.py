"""Tables of a source: comma-separated text with named columns."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib

from raycxr.errors import DataError
from raycxr.number_text import count
from raycxr.storage.location import Location

_GZIP = b"\x1f\x8b"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,80}")
_SHOWN_LETTERS = 20
_SHOWN_COLUMNS = 5


def read_table(place: Location, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Read some columns of a table (RFC 4180, UTF-8 with or without byte order mark, plain or gzip).

    Parameters
    ----------
    columns : tuple of str
        Names of the columns wanted; spaces around the names in the file count for nothing.

    Returns
    -------
    list of tuple of str
        The values of every row in the order of `columns`, without spaces around them. Empty lines are left out.

    Raises
    ------
    DataError
        If the file is not UTF-8, lacks a column or any row, or has a row that is cut off.
    """
    expected = f"expected there: UTF-8 text with the columns {', '.join(columns)}"
    text = _decode(place, expected)
    # Masks of many runs are longer than the limit, which is there to find missing quotes; `strict` does, too.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise DataError(f"{place} has no column {', '.join(missing)}; {_found(header, columns)}", expected)
        positions = [header.index(name) for name in columns]
        for row in reader:
            if not row:
                continue
            if len(row) <= max(positions):
                raise DataError(f"{place} is cut off in line {reader.line_num}: {count(len(row), 'column')}", expected)
            rows.append(tuple(row[position].strip() for position in positions))
    except csv.Error as error:
        raise DataError(f"{place} is no table: line {reader.line_num}: {error}", expected) from None
    if not rows:
        raise DataError(f"{place} has no row", expected)
    return rows


def told(value: str, otherwise: str) -> str:
    """Return a file name or an id as it stands in a table, and where it is neither, something else to tell the user.

    What stands in a table that is damaged, or another than expected, may be long, or the name of a patient.
    """
    return value if _NAME.fullmatch(value) else otherwise


def _found(header: list[str], columns: tuple[str, ...]) -> str:
    """Tell what stands in the first line; only where it is a header, since it may be a row."""
    if not header:
        return "it has nothing"
    if not set(header) & set(columns):
        return f"its first line, of {count(len(header), 'column')}, has none of these names"
    return "it has " + ", ".join(repr(name[:_SHOWN_LETTERS])[1:-1] for name in header[:_SHOWN_COLUMNS])


def _decode(place: Location, expected: str) -> str:
    data = place.read_bytes()
    if data.startswith(_GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{place} cannot be decompressed: {error}", "replace it by an undamaged copy") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{place} is not UTF-8 text (byte {error.start})", expected) from None

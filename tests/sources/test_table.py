from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from raycxr.errors import DataError
from raycxr.sources.table import read_table
from raycxr.storage.location import Location

TEXT = "id, value,other\n a ,1 2,x\n\nb,-1,y\n"
ROWS = [("1 2", "a"), ("-1", "b")]


def read(folder: Path, data: bytes) -> list[tuple[str, ...]]:
    (folder / "table.csv").write_bytes(data)
    return read_table(Location(folder / "table.csv"), ("value", "id"))


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        gzip.compress(TEXT.encode()),
        b'"id"," value","other"\n"a","1 2","x, ""y"""\nb,-1,y',
    ],
    ids=["plain", "byte order mark", "Windows", "gzip", "quoted"],
)
def test_the_columns_are_found_by_name(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, data) == ROWS


def test_a_value_longer_than_the_usual_limit_is_read(tmp_path: Path) -> None:
    long = " ".join(["12 3"] * 50_000)
    assert read(tmp_path, f"id,value\na,{long}\n".encode()) == [(long, "a")]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ("id,value\nä,1".encode("latin-1"), "is not UTF-8 text (byte 9)"),
        (TEXT.encode("utf-16"), "is not UTF-8 text (byte 0)"),
        (b"name,value\na,1", "has no column id; it has name, value"),
        (b"", "has no column value, id; it has nothing"),
        (b"Doe^Jane,MRN-4711\nDoe^Jack,MRN-4712", "has no column value, id; its first line, of 2 columns, has none of"),
        (b'id,"a\x1b[2J\nb",c\n1,2,3', r"has no column value; it has id, a\x1b[2J\nb, c"),
        (b"id," + b"x" * 5000, f"has no column value; it has id, {'x' * 20}"),
        (b"id,value\n", "has no row"),
        (b"id,value\na,1\nb", "is cut off in line 3: 1 column"),
        (b'id,value\na,"1\nb,2\n', "is no table: line 3"),
        (gzip.compress(TEXT.encode())[:-9], "cannot be decompressed"),
        (gzip.compress(TEXT.encode())[:12] + b"\xff" * 40, "cannot be decompressed"),
    ],
)
def test_damaged_tables_are_named_with_what_was_expected(tmp_path: Path, data: bytes, fault: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, data)
    assert caught.value.message.startswith(f"{tmp_path / 'table.csv'} {fault}")
    assert "\n" not in str(caught.value)
    assert len(caught.value.message) < len(str(tmp_path)) + 150
    assert str(caught.value).isprintable()
    assert "Doe" not in str(caught.value)
    assert "columns value, id" in caught.value.remedy or "undamaged" in caught.value.remedy

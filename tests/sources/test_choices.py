"""Every name that a configuration may give leads to its source, and no key is ignored in silence."""

from __future__ import annotations

from typing import get_args

import pytest

from raycxr.config.ingest import IngestSection
from raycxr.errors import ConfigurationError
from raycxr.sources.choices import build_source
from raycxr.sources.patient_key import KEY_VARIABLE

NAMES = get_args(IngestSection.model_fields["source"].annotation)
VALUES = {"inverted": True, "modalities": ["CR"], "structure": "heart", "mask_suffix": "_m", "patient_pattern": r"(\d)"}


def section(source: str, **values: object) -> IngestSection:
    return IngestSection.model_validate({"source": source, "images": "s3://films/a", "out": "data", **values})


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_its_source(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a key that no one knows")
    source = build_source(section(name))
    assert type(source).__name__.removesuffix("Source").lower() == name.replace("-", "")
    assert 1 <= len(source.structures) <= 8


@pytest.mark.parametrize(
    ("name", "key"),
    [("siim-dicom", "inverted"), ("shenzhen", "modalities"), ("jsrt", "structure"), ("tb-mirror", "mask_suffix")],
)
def test_a_key_of_another_source_is_refused(name: str, key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_source(section(name, **{key: VALUES[key]}))
    assert caught.value.message == f"ingest.{key} means nothing to the source {name}"


@pytest.mark.parametrize("name", ["jsrt", "pairs", "siim-png", "montgomery", "shenzhen", "tb-mirror"])
def test_pictures_may_be_inverted(name: str) -> None:
    assert build_source(section(name, inverted=True)) != build_source(section(name))

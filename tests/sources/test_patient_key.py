from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raycxr.errors import ConfigurationError, StorageError
from raycxr.sources.patient_key import KEY_VARIABLE, _make_key, hash_patient, load_patient_key

KEY = b"0123456789abcdef"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def key_file(home: Path) -> Path:
    return home / ".config" / "raycxr" / "patient.key"


def test_the_variable_comes_first_and_makes_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "correct horse battery staple\n")
    assert load_patient_key() == b"correct horse battery staple"
    assert not key_file(home).exists()


def test_a_key_is_made_once_for_its_owner_alone(home: Path) -> None:
    key = load_patient_key()
    assert len(bytes.fromhex(key.decode())) == 32
    assert stat.S_IMODE(key_file(home).stat().st_mode) == 0o600
    assert load_patient_key() == key
    assert [path.name for path in key_file(home).parent.iterdir()] == ["patient.key"]


def test_the_text_of_the_file_is_the_same_key_in_the_variable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = load_patient_key()
    monkeypatch.setenv(KEY_VARIABLE, key_file(home).read_text())
    assert load_patient_key() == key


def test_processes_that_start_together_agree_on_one_key(home: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = pool.starmap(load_patient_key, [()] * 8, chunksize=1)
    assert len(set(keys)) == 1
    assert keys[0] == key_file(home).read_bytes().strip()


@pytest.mark.parametrize("text", ["", "short", "  \n"])
def test_a_weak_key_is_refused_without_showing_it(home: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(KEY_VARIABLE, text)
    with pytest.raises(ConfigurationError, match=rf"\${KEY_VARIABLE} holds a key of \d characters") as caught:
        load_patient_key()
    assert "short " not in str(caught.value)
    monkeypatch.delenv(KEY_VARIABLE)
    key_file(home).parent.mkdir(parents=True)
    key_file(home).write_text(text)
    with pytest.raises(ConfigurationError, match=f"{key_file(home)} holds a key of"):
        load_patient_key()


def test_a_file_in_the_way_is_named(home: Path) -> None:
    (home / ".config").write_text("")
    with pytest.raises(StorageError, match=f"cannot read or make {key_file(home)}") as caught:
        load_patient_key()
    assert caught.value.remedy == f"set ${KEY_VARIABLE}"


def test_the_winner_of_a_race_keeps_its_key(home: Path) -> None:
    key = load_patient_key()
    _make_key(key_file(home))
    assert load_patient_key() == key
    assert [path.name for path in key_file(home).parent.iterdir()] == ["patient.key"]


def test_the_hash_is_that_of_rfc_2104() -> None:
    # Test case 2 of RFC 4231.
    assert hash_patient(b"Jefe", "what do ya want for nothing?") == "5bdcc146bf60754e"


@given(st.text(), st.text())
def test_patients_differ_and_a_patient_stays_one(one: str, other: str) -> None:
    assert (hash_patient(KEY, one) == hash_patient(KEY, other)) == (one.strip() == other.strip())
    assert hash_patient(KEY, f" {one} ") == hash_patient(KEY, one)
    assert hash_patient(KEY, one) != hash_patient(KEY + b"!", one)
    assert len(hash_patient(KEY, one)) == 16

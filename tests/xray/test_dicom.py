"""What is taken from a DICOM file: grey levels, distances, and nothing that tells who it is."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing
from pydicom.sequence import Sequence

from raycxr.errors import DataError, RefusedFilmError
from raycxr.xray.dicom import decode_dicom

FILM = np.add.outer(50 * np.arange(40), 40 * np.arange(50)).astype(np.uint16)
SIGNED = (FILM.astype(np.int32) - 2048).astype(np.int16)


def lut(values: list[int], first: int = 0, bits: int = 16) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.LUTData = values
    item["LUTDescriptor"].VR = "US"
    item["LUTData"].VR = "US"
    item.ModalityLUTType = "US"
    return Sequence([item])


def test_plain_values_stay(write_dicom: Callable[..., bytes]) -> None:
    film = decode_dicom(write_dicom(FILM))
    assert film.pixels.dtype == np.uint16
    np.testing.assert_array_equal(film.pixels, FILM)
    np.testing.assert_array_equal(decode_dicom(write_dicom(SIGNED)).pixels, FILM)


def test_monochrome1_is_inverted(write_dicom: Callable[..., bytes]) -> None:
    data = write_dicom(FILM, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(decode_dicom(data).pixels, 4095 - FILM)


def test_bits_beside_the_stored_ones_are_dropped(write_dicom: Callable[..., bytes]) -> None:
    np.testing.assert_array_equal(decode_dicom(write_dicom(FILM | 0xF000)).pixels, FILM)
    np.testing.assert_array_equal(decode_dicom(write_dicom(FILM << 4, HighBit=15)).pixels, FILM)
    few = decode_dicom(write_dicom(FILM >> 5, BitsStored=7, HighBit=6)).pixels
    assert few.dtype == np.uint8
    np.testing.assert_array_equal(few, FILM >> 5)


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(2000, 1500), (100, 400), (2048.5, 4096), (1000, 1)])
def test_windows_as_pydicom_applies_them(
    write_dicom: Callable[..., bytes], function: str | None, centre: float, width: float
) -> None:
    elements = {"WindowCenter": [centre, 7], "WindowWidth": [width, 9]}
    if function:
        elements["VOILUTFunction"] = function  # type: ignore[assignment]
    data = write_dicom(FILM, bits=12, frame=None, **elements)
    reference = Dataset()
    reference.PhotometricInterpretation, reference.BitsStored, reference.PixelRepresentation = "MONOCHROME2", 12, 0
    for name, value in elements.items():
        setattr(reference, name, value)
    with pydicom.config.disable_value_validation():
        expected = apply_windowing(FILM, reference)
    np.testing.assert_allclose(decode_dicom(data).pixels, expected, atol=0.51)


def test_a_window_counts_in_rescaled_values(write_dicom: Callable[..., bytes]) -> None:
    data = write_dicom(FILM, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=3900.5, WindowWidth=2001)
    expected = np.clip((FILM * 2.0 - 100 - 2900) / 2000, 0, 1) * 4095
    np.testing.assert_allclose(decode_dicom(data).pixels, expected, atol=0.51)


def test_rescaling_alone_changes_nothing_but_its_sign_does(write_dicom: Callable[..., bytes]) -> None:
    same = decode_dicom(write_dicom(FILM, RescaleSlope=3, RescaleIntercept=-900)).pixels
    np.testing.assert_array_equal(same, FILM)
    turned = decode_dicom(write_dicom(FILM, RescaleSlope=-1, RescaleIntercept=4095)).pixels
    np.testing.assert_array_equal(turned, 4095 - FILM)


def test_lookup_tables(write_dicom: Callable[..., bytes]) -> None:
    squares = [value * value // 256 for value in range(4096)]
    expected = np.rint(np.asarray(squares)[FILM] / squares[-1] * 4095)
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        np.testing.assert_array_equal(decode_dicom(write_dicom(FILM, **{name: lut(squares, bits=16)})).pixels, expected)
    # The LUT comes before the window.
    both = write_dicom(FILM, VOILUTSequence=lut(squares), WindowCenter=5, WindowWidth=3)
    np.testing.assert_array_equal(decode_dicom(both).pixels, expected)


def packed_lut(values: list[int], bits: int) -> Sequence:
    item = lut(values, bits=bits)[0]
    item.LUTData = np.asarray(values, np.uint8).tobytes()
    item["LUTData"].VR = "OW"
    return Sequence([item])


def test_lookup_tables_of_few_bits(write_dicom: Callable[..., bytes]) -> None:
    """Entries of 8 bits are packed two to a word; entries of 10 or 12 bits are not."""
    eight = (FILM >> 4).astype(np.uint8)
    squares = [value * value // 255 for value in range(256)]
    expected = np.asarray(squares)[eight]
    packed = write_dicom(eight, bits=8, VOILUTSequence=packed_lut(squares, 8))
    np.testing.assert_array_equal(decode_dicom(packed).pixels, expected)
    for bits in (10, 12):
        entries = [value * (2**bits - 1) // 4095 for value in range(4096)]
        for name in ("VOILUTSequence", "ModalityLUTSequence"):
            pixels = decode_dicom(write_dicom(FILM, **{name: lut(entries, bits=bits)})).pixels
            np.testing.assert_allclose(pixels, np.rint(np.asarray(entries)[FILM] / entries[-1] * 4095), atol=1)


def test_lookup_tables_that_begin_below_zero(write_dicom: Callable[..., bytes]) -> None:
    entries = [value // 2 for value in range(4096)]
    data = write_dicom(SIGNED, VOILUTSequence=lut(entries, first=65536 - 2048))
    np.testing.assert_allclose(decode_dicom(data).pixels, np.asarray(entries)[FILM] / 2047 * 4095, atol=1)


def test_padding_of_signed_films_written_as_unsigned(write_dicom: Callable[..., bytes]) -> None:
    film = SIGNED.copy()
    film[:5] = -2000
    data = write_dicom(film, PixelPaddingValue=-2000)
    tag = b"\x28\x00\x20\x01"
    assert tag + b"SS" in data
    pixels = decode_dicom(data.replace(tag + b"SS", tag + b"US")).pixels
    assert (pixels[:5] == 0).all()
    assert (pixels[5:, 1:] > 0).all()


def test_a_window_without_width_counts_for_nothing(write_dicom: Callable[..., bytes]) -> None:
    for width in (0, -5):
        np.testing.assert_array_equal(decode_dicom(write_dicom(FILM, WindowCenter=100, WindowWidth=width)).pixels, FILM)


def test_padding_is_black(write_dicom: Callable[..., bytes]) -> None:
    film = FILM + 10
    film[:5] = 3
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        data = write_dicom(film, PixelPaddingValue=3, PhotometricInterpretation=photometric)
        pixels = decode_dicom(data).pixels
        assert (pixels[:5] == 0).all()
        assert (pixels[5:] > 0).all()
    ranged = decode_dicom(write_dicom(film, PixelPaddingValue=0, PixelPaddingRangeLimit=99)).pixels
    np.testing.assert_array_equal(ranged, np.where(film <= 99, 0, film))


def test_distances(write_dicom: Callable[..., bytes]) -> None:
    assert decode_dicom(write_dicom(FILM)).pixel_mm is None
    assert decode_dicom(write_dicom(FILM, ImagerPixelSpacing=[0.14, 0.14])).pixel_mm == 0.14
    both = write_dicom(FILM, ImagerPixelSpacing=[0.14, 0.14], PixelSpacing=[0.13, 0.13])
    assert decode_dicom(both).pixel_mm == 0.13
    assert decode_dicom(write_dicom(FILM, PixelSpacing=[0, 0])).pixel_mm is None
    for elements in ({"PixelSpacing": [0.14, 0.28]}, {"PixelAspectRatio": [1, 2]}):
        with pytest.raises(DataError, match="not square"):
            decode_dicom(write_dicom(FILM, **elements))


def test_identity_is_handed_over_but_never_shown(write_dicom: Callable[..., bytes]) -> None:
    film = decode_dicom(write_dicom(FILM))
    assert (film.patient_id, film.modality, film.body_part) == ("MRN-4711", "DX", "CHEST")
    assert "4711" not in repr(film)
    bare = decode_dicom(write_dicom(FILM, PatientID="", Modality=None, BodyPartExamined=None))
    assert (bare.patient_id, bare.modality, bare.body_part) == (None, None, None)


@pytest.mark.parametrize(
    ("reason", "elements"),
    [
        ("no_pixel_data", {"PixelData": None}),
        ("no_pixel_data", {"PixelData": b""}),
        ("multi_frame", {"NumberOfFrames": 2}),
        ("coloured", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}),
        ("coloured", {"PhotometricInterpretation": "PALETTE COLOR"}),
        ("coloured", {"PhotometricInterpretation": "Doe^Jane"}),
    ],
)
def test_what_is_no_radiograph_is_refused(
    write_dicom: Callable[..., bytes], reason: str, elements: dict[str, object]
) -> None:
    with pytest.raises(RefusedFilmError) as caught:
        decode_dicom(write_dicom(FILM, **elements))
    assert caught.value.reason == reason
    assert "Doe" not in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).reason == reason


@pytest.mark.parametrize("data", [b"", b"a text\n" * 100, b"\x89PNG", bytes(4000), bytes(128) + b"DIC"])
def test_what_is_no_dicom_is_refused(data: bytes) -> None:
    with pytest.raises(RefusedFilmError) as caught:
        decode_dicom(data)
    assert caught.value.reason == "not_dicom"


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"Rows": 0}, "no size"),
        ({"Rows": 60000, "Columns": 60000}, "60000x60000 pixels"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "bits per pixel"),
        ({"BitsStored": 17}, "bits per pixel"),
        ({"VOILUTSequence": lut([5] * 4096)}, "every value the same"),
        ({"PixelData": None, "FloatPixelData": bytes(8000)}, "floating-point"),
    ],
)
def test_contradictions_are_told(write_dicom: Callable[..., bytes], elements: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_dicom(write_dicom(FILM, **elements))


def test_a_truncated_file_is_refused_at_every_length(write_dicom: Callable[..., bytes]) -> None:
    data = write_dicom(FILM)
    for length in range(0, len(data), 37):
        with pytest.raises(DataError) as caught:
            decode_dicom(data[:length])
        assert not any(word in str(caught.value) for word in ("Doe", "4711", "19500607"))


def test_nothing_is_said_on_the_way(write_dicom: Callable[..., bytes], capfd: pytest.CaptureFixture[str]) -> None:
    """pydicom warns of invalid values by quoting them."""
    with pydicom.config.disable_value_validation():
        data = write_dicom(FILM, PatientID="MRN-4711" * 20, PatientBirthDate="7 June 1950", WindowWidth=888888)
    with pytest.raises(DataError, match="header is damaged"):
        decode_dicom(data.replace(b"888888", b"Smith "))
    assert capfd.readouterr() == ("", "")

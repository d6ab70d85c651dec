from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from raycxr.errors import DataError
from raycxr.xray.picture import decode_picture, encode_gif, encode_png

RAMP: NDArray[np.uint8] = (np.add.outer(np.arange(40), 3 * np.arange(30)) % 251).astype(np.uint8)


def saved(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_png_round_trip(image: np.ndarray) -> None:
    decoded = decode_picture(encode_png(image))
    assert decoded.dtype == image.dtype
    np.testing.assert_array_equal(decoded, image)


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_gif_round_trip(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_picture(encode_gif(mask)), np.where(mask, 255, 0))


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGB", "RGBA"])
def test_grey_in_any_png_mode(mode: str) -> None:
    data = saved(Image.fromarray(RAMP).convert(mode), "PNG")
    np.testing.assert_array_equal(decode_picture(data), RAMP)


def test_sixteen_bit_rgb_keeps_its_depth() -> None:
    deep = RAMP.astype(np.uint16) * np.uint16(257)
    data = cv2.imencode(".png", np.dstack([deep] * 3))[1].tobytes()
    np.testing.assert_array_equal(decode_picture(data), deep)


def test_one_bit_png_is_spread_over_the_range() -> None:
    mask = RAMP > 100
    np.testing.assert_array_equal(decode_picture(saved(Image.fromarray(mask), "PNG")), np.where(mask, 255, 0))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_close_to_the_original(mode: str) -> None:
    smooth = cv2.GaussianBlur(RAMP, (0, 0), 5)
    decoded = decode_picture(saved(Image.fromarray(smooth).convert(mode), "JPEG"))
    assert decoded.shape == smooth.shape
    assert np.abs(decoded.astype(int) - smooth).max() < 12


def test_figure_with_equal_channels_decodes() -> None:
    figure = np.full((288, 432, 4), 255, np.uint8)
    figure[40:200, 50:300, :3] = 90
    decoded = decode_picture(saved(Image.fromarray(figure), "PNG"))
    np.testing.assert_array_equal(decoded, figure[..., 0])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF"])
def test_coloured_pictures_are_refused(form: str) -> None:
    colour = np.dstack([RAMP, RAMP[::-1], RAMP[:, ::-1]])
    with pytest.raises(DataError, match="coloured"):
        decode_picture(saved(Image.fromarray(colour), form))


def test_transparent_pictures_are_refused() -> None:
    glass = np.dstack([RAMP] * 4)
    with pytest.raises(DataError, match="transparent"):
        decode_picture(saved(Image.fromarray(glass), "PNG"))


def test_animations_are_refused() -> None:
    buffer = io.BytesIO()
    frames = [Image.fromarray(RAMP), Image.fromarray(RAMP[::-1].copy())]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="2 frames"):
        decode_picture(buffer.getvalue())


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", b"BM" + bytes(100)])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="not a picture"):
        decode_picture(data)


FILES = {
    "png": encode_png(RAMP),
    "png of 16 bits": encode_png(RAMP.astype(np.uint16) * np.uint16(200)),
    "png with palette": saved(Image.fromarray(RAMP).convert("P"), "PNG"),
    "jpeg": saved(Image.fromarray(RAMP), "JPEG"),
    "gif": encode_gif(RAMP > 100),
}


@settings(max_examples=150)
@given(st.data(), st.sampled_from(sorted(FILES)))
def test_a_truncated_file_never_gives_half_a_picture(data: st.DataObject, kind: str) -> None:
    whole = FILES[kind]
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        decoded = decode_picture(part)
    except DataError:
        return
    # Only an end mark may be missing; every pixel was there.
    assert len(whole) - len(part) <= 2
    np.testing.assert_array_equal(decoded, decode_picture(whole))


@pytest.mark.parametrize("kind", ["png", "png of 16 bits", "png with palette"])
@settings(max_examples=60)
@given(data=st.data())
def test_a_flipped_bit_in_a_png_is_noticed(kind: str, data: st.DataObject) -> None:
    broken = bytearray(FILES[kind])
    broken[data.draw(st.integers(0, len(broken) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DataError):
        decode_picture(bytes(broken))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"IEND", b"")],
        [(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0)), (b"IEND", b"")],
        [(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"12")), (b"IEND", b"")],
        [(b"IHDR", struct.pack(">IIBBBBB", 50000, 50000, 8, 0, 0, 0, 0)), (b"IDAT", b"1"), (b"IEND", b"")],
        [(b"IHDR", b""), (b"IEND", b"")],
    ],
)
def test_png_of_sound_chunks_without_a_picture(chunks: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(DataError, match="PNG"):
        decode_picture(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks))


def test_damaged_pixels_of_a_gif_are_noticed() -> None:
    whole = FILES["gif"]
    with pytest.raises(DataError, match="damaged"):
        decode_picture(whole[: len(whole) // 2])

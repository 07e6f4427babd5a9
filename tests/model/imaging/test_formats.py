"""Recognition of accepted, damaged and other files by their first bytes."""

from __future__ import annotations

import numpy as np
import pytest

from model.imaging.formats import FORMAT_NAMES, CorruptImageError, UnsupportedImageError
from tests.model.imaging.test_decode import encode
from tests.model.imaging.test_decode_refused import PHOTO, SAMPLES, refusal


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_in_its_first_bytes_is_damaged_not_foreign(name: str) -> None:
    for length in (1, 2, 3, 4, 6, 8, 11, 12, 14, 16, 20, 30):
        error = refusal(SAMPLES[name][:length])
        assert type(error) is CorruptImageError
        assert name.split()[0].replace("MPO", "JPEG") in str(error)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "a PDF"),
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heicmiaf" + bytes(500), "a HEIC photo"),
        (b"\0\0\0\x24ftyphevc\0\0\0\0msf1hevc" + bytes(500), "a HEIC photo"),
        (b"\0\0\0\x24ftypmif1\0\0\0\0mif1heic" + bytes(500), "a HEIF photo"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2mp41" + bytes(500), "a video"),
        (b"RIFF\0\x10\0\0AVI LIST" + bytes(500), "a video"),
        (encode(PHOTO, "TIFF"), "a TIFF"),
        (encode(PHOTO, "TIFF", big_tiff=False, compression="tiff_lzw"), "a TIFF"),
        (encode(PHOTO, "JPEG2000"), "a JPEG 2000 image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a -->\n<svg width="9"/>', "an SVG drawing"),
        (b"\n <!DOCTYPE html><html><body><svg/></body></html>", "an HTML or XML document"),
        (b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(100), "a ZIP archive"),
        (b"8BPS\0\x01" + bytes(100), "a Photoshop file"),
        (b"Just a few words about a rose.", "not an image"),
        (b"{}", "not an image"),
        (encode(PHOTO, "ICO"), "not an image"),
        (np.random.default_rng(0).bytes(5000), "not an image"),
    ],
)
def test_a_file_of_another_kind_is_named(data: bytes, kind: str) -> None:
    error = refusal(data)
    assert type(error) is UnsupportedImageError
    assert kind in str(error)
    assert FORMAT_NAMES in str(error)

"""Recognition of accepted, damaged and other files by their first bytes."""

from __future__ import annotations

import numpy as np
import pytest

from model.imaging.formats import FORMAT_NAMES, CorruptImageError, UnsupportedImageError
from tests.model.imaging.test_decode import encode
from tests.model.imaging.test_decode_refused import PHOTO, SAMPLES, refusal


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_of_a_few_bytes_is_damaged_not_unsupported(name: str) -> None:
    for length in (1, 2, 3, 4, 6, 8, 11, 12, 14, 16, 20, 30):
        error = refusal(SAMPLES[name][:length])
        assert type(error) is CorruptImageError
        assert name.split()[0].replace("MPO", "JPEG") in str(error)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "PDF"),
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heicmiaf" + bytes(500), "HEIC"),
        (b"\0\0\0\x24ftyphevc\0\0\0\0msf1hevc" + bytes(500), "HEIC"),
        (b"\0\0\0\x24ftypmif1\0\0\0\0mif1heic" + bytes(500), "HEIC"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2mp41" + bytes(500), "video"),
        (b"RIFF\0\x10\0\0AVI LIST" + bytes(500), "video"),
        (encode(PHOTO, "TIFF"), "TIFF"),
        (encode(PHOTO, "TIFF", big_tiff=False, compression="tiff_lzw"), "TIFF"),
        (encode(PHOTO, "JPEG2000"), "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "JPEG XL"),
        (b"\xff\x0a\xfa\x1f" + bytes(100), "JPEG XL"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a -->\n<svg width="9"/>', "SVG"),
        (b"\n <!DOCTYPE html><html><body><svg/></body></html>", "HTML"),
        (b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(100), "ZIP"),
        (b"8BPS\0\x01" + bytes(100), "Photoshop"),
        (b"Just a few words about a rose.", ""),
        (b"{}", ""),
        (encode(PHOTO, "ICO"), ""),
        (np.random.default_rng(0).bytes(5000), ""),
    ],
)
def test_an_unsupported_file_is_named(data: bytes, kind: str) -> None:
    error = refusal(data)
    assert isinstance(error, UnsupportedImageError)
    assert kind in str(error)
    assert FORMAT_NAMES in str(error)

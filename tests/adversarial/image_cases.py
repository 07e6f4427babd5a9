"""Invalid or unusual image files in valid requests."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import partial

from PIL import Image

from tests.adversarial.cases import (
    ACCEPTED,
    DAMAGED,
    EITHER,
    FORMATS,
    LARGE,
    MIB,
    NOISE,
    REFUSED,
    SIDE,
    SMALL,
    UNSUPPORTED,
    Case,
    file,
    gif_with,
    jpeg_with,
    photo,
    png_chunk,
    png_with,
    segment,
    upload,
)
from tests.model.imaging.test_decode import encode
from tests.model.imaging.test_heif import heic
from tests.model.imaging.test_limits import claiming


def image_cases() -> Iterator[Case]:
    for cases in (_cut, _damaged, _misnamed, _surrounded, _sizes):
        yield from cases()
    for cases in (_polyglots, _modes, _animated, _variants, _foreign):
        yield from cases()


def _cut() -> Iterator[Case]:
    for name in FORMATS:
        data = file(name)
        for part in (1, 6, 20, len(data) // 10, len(data) // 2, 9 * len(data) // 10):
            yield upload(f"{name} cut to {part} bytes", data[:part], DAMAGED)
        yield upload(f"{name} without its last byte", data[:-1], EITHER)
        yield upload(f"{name} without its first byte", data[1:], REFUSED)


def _damaged() -> Iterator[Case]:
    for name in FORMATS:
        data = file(name)
        positions = {"head": 8, "second part": 30, "middle": len(data) // 2, "end": len(data) - 20}
        for position, at in positions.items():
            yield upload(
                f"{name} with noise in its {position}",
                data[:at] + NOISE[:16] + data[at + 16 :],
                EITHER,
            )
        yield upload(f"{name} with zeros after its header", data[:24] + bytes(5000), REFUSED)
        yield upload(f"{name} with its middle twice", data[: len(data) // 2] + data[99:], EITHER)
        yield upload(f"{name} with noise after its header", data[:24] + NOISE[:50_000], EITHER)


def _misnamed() -> Iterator[Case]:
    for name in FORMATS:
        data = file(name)
        for kind in ("image/tiff", "image/svg+xml", "application/octet-stream", "IMAGE/ANY; q=1"):
            yield upload(f"{name} as {kind}", data, ACCEPTED, kind)
        for kind in ("text/plain", "application/pdf"):
            yield upload(f"{name} as {kind}", data, UNSUPPORTED, kind)


def _surrounded() -> Iterator[Case]:
    for name in FORMATS:
        data = file(name)
        # AVIF parsers read boxes to the end of the file.
        allowed = EITHER if name == "AVIF" else ACCEPTED
        yield upload(f"{name} followed by noise", data + NOISE, allowed)
        yield upload(f"{name} followed by a program", data + b"\x7fELF" + NOISE[:5000], allowed)
        yield upload(f"{name} after an empty line", b"\r\n" + data, REFUSED)
        yield upload(f"{name} in base64", b"data:image/any;base64,/9j/4AAQSkZJRg" * 99, UNSUPPORTED)


def _sizes() -> Iterator[Case]:
    for name in FORMATS:
        # Pillow takes a GIF's size from its frame, not from its header.
        nothing = EITHER if name == "GIF" else REFUSED
        yield upload(f"{name} that claims gigapixels", claiming(name, 16_383, 16_383), LARGE)
        yield upload(f"{name} that claims no pixels", claiming(name, 0, 0), nothing)
        yield upload(f"{name} that claims no height", claiming(name, SIDE, 0), nothing)
        yield upload(f"{name} that claims a larger size", claiming(name, 300, 300), EITHER)
        yield upload(f"{name} that claims a smaller size", claiming(name, 40, 40), EITHER)
        for size in ((1, 1), (1, 400), (400, 1), (15, 16)):
            yield upload(f"{name} of {size[0]}×{size[1]}", file(name, size=size), SMALL)
        yield upload(f"{name} of 16×2000", file(name, size=(16, 2000)), ACCEPTED)
    for name in ("PNG", "BMP"):
        for side in (2**31 - 1, 2**31, 2**32 - 1):
            yield upload(f"{name} that claims {side} a side", claiming(name, side, side), REFUSED)
    yield upload(
        "PNG that decompresses to 400 megapixels",
        lambda: _grayscale_png((20_000, 20_000), 1, bytes(20_000 * 2501)),
        LARGE,
    )
    yield upload(
        "PNG of 16 megapixels in a few kB",
        lambda: encode(Image.new("1", (4000, 4000)), "PNG"),
        ACCEPTED,
    )
    yield upload(
        "WebP of 9 transparent megapixels in some bytes",
        lambda: encode(Image.new("RGBA", (3000, 3000)), "WEBP", lossless=True, quality=0, method=0),
        ACCEPTED,
    )
    row = bytes(SIDE + 1)
    yield upload("PNG of pixels for one row", _grayscale_png((SIDE, SIDE), 8, row), EITHER)
    yield upload("PNG of far too many rows", _grayscale_png((SIDE, SIDE), 8, 9999 * row), EITHER)


def _grayscale_png(size: tuple[int, int], depth: int, lines: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", *size, depth, 0, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + pixels + png_chunk(b"IEND")


def _polyglots() -> Iterator[Case]:
    page = b"<html><script>alert(1)</script></html>"
    archive = b"PK\x03\x04" + NOISE[:400] + b"PK\x05\x06" + bytes(18)
    yield upload("JPEG followed by HTML", file("JPEG") + page, ACCEPTED)
    yield upload("JPEG with a page in a comment", jpeg_with(segment(0xFE, page)), ACCEPTED)
    yield upload("JPEG with PHP in its EXIF", jpeg_with(segment(0xE1, b"<?php x(); ?>")), ACCEPTED)
    yield upload("GIF and a script", file("GIF") + b"=1;/**/alert(1)", ACCEPTED)
    yield upload("GIF with a script in a comment", gif_with(b"!\xfe\x06*/x();\0"), ACCEPTED)
    yield upload("PNG and an archive", file("PNG") + archive, ACCEPTED)
    yield upload("an archive and a PNG", archive + file("PNG"), UNSUPPORTED)
    yield upload("PDF and a JPEG", b"%PDF-1.7\n" + file("JPEG"), UNSUPPORTED)
    yield upload("a page and a JPEG", page + file("JPEG"), UNSUPPORTED)
    yield upload("two JPEGs", 2 * file("JPEG"), ACCEPTED)
    yield upload("a PNG in the head of a JPEG", file("JPEG")[:20] + file("PNG"), REFUSED)


def _modes() -> Iterator[Case]:
    by_format = {
        "JPEG": ("L", "CMYK", "YCbCr"),
        "PNG": ("1", "L", "LA", "P", "RGBA", "I;16"),
        "WEBP": ("RGBA", "L"),
        "GIF": ("1", "L", "P"),
        "AVIF": ("RGBA", "L"),
        "BMP": ("1", "L", "P"),
    }
    for name, modes in by_format.items():
        for mode in modes:
            yield upload(f"{name} in mode {mode}", file(name, mode), ACCEPTED)
    for name in ("PNG", "GIF"):
        for shade in (0, 255):
            transparent = encode(photo("P"), name, transparency=shade)
            yield upload(f"{name} with shade {shade} transparent", transparent, ACCEPTED)


def _animated() -> Iterator[Case]:
    for name, frames in (("GIF", 50), ("PNG", 50), ("WEBP", 50), ("AVIF", 10)):
        others = [photo(size=(32, 32), seed=seed) for seed in range(frames)]
        animation = partial(
            encode, others[0], name, save_all=True, append_images=others[1:], **FORMATS[name]
        )
        yield upload(f"{name} of {frames} frames", animation, ACCEPTED)


def _variants() -> Iterator[Case]:
    """Return whole files that few decoders take."""
    jpeg, png, avif = file("JPEG"), file("PNG"), bytearray(file("AVIF"))
    progressive = encode(photo(), "JPEG", progressive=True)
    for name, data in (("JPEG", jpeg), ("progressive JPEG", progressive)):
        yield upload(f"{name} without its end marker", data[:-2], ACCEPTED)
        yield upload(f"{name} with half an end marker", data[:-1], ACCEPTED)
        yield upload(f"{name} without its last 40 bytes", data[:-40], DAMAGED)
    frame = jpeg.index(b"\xff\xc0")
    twelve_bits = jpeg[: frame + 1] + b"\xc1" + jpeg[frame + 2 : frame + 4] + b"\x0c"
    yield upload("JPEG of 12 bits", twelve_bits + jpeg[frame + 5 :], UNSUPPORTED)
    lossless = jpeg[: frame + 1] + b"\xc3" + jpeg[frame + 2 :]
    yield upload("JPEG of a lossless frame", lossless, UNSUPPORTED)
    yield upload("JPEG that claims 108 megapixels", claiming("JPEG", 12_000, 9000), EITHER)
    frame = progressive.index(b"\xff\xc2") + 5
    claimed = progressive[:frame] + struct.pack(">HH", 9000, 12_000) + progressive[frame + 4 :]
    yield upload("progressive JPEG that claims 108 megapixels", claimed, LARGE)
    broken = png_chunk(b"zTXt", b"Title\0\7text")
    yield upload("PNG with a broken text", png_with(broken), ACCEPTED)
    yield upload(
        "PNG with a broken text after its pixels", png[:-12] + broken + png[-12:], ACCEPTED
    )
    yield upload("PNG with a wrong checksum in a text", png_with(broken[:-1] + b"x"), ACCEPTED)
    control = struct.pack(">IIIIIHHBB", 9, 99, 99, 9, 9, 1, 10, 0, 0)
    animation = png_chunk(b"acTL", struct.pack(">II", 3, 0)), png_chunk(b"fcTL", control)
    yield upload("APNG with frames out of sequence", png_with(*animation), ACCEPTED)
    yield upload("PNG for iOS", png[:8] + png_chunk(b"CgBI", bytes(4)) + png[8:], EITHER)
    yield upload("BMP without a file header", file("DIB"), ACCEPTED)
    yield upload("BMP of 10 bits per channel", _bit_fields(), ACCEPTED)
    yield upload("BMP of 10 bits per channel, cut", _bit_fields()[:-99], DAMAGED)
    avif[avif.index(b"nclx") + 9] = 13
    yield upload("AVIF of an unsupported matrix", bytes(avif), UNSUPPORTED)


def _bit_fields() -> bytes:
    masks = struct.pack("<3I", 0x3FF00000, 0x000FFC00, 0x000003FF)
    body = NOISE[: 4 * SIDE * SIDE]
    head = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 32, 3, len(body), 0, 0, 0, 0) + masks
    start = 14 + len(head)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + body


def _foreign() -> Iterator[Case]:
    for name in ("TIFF", "ICO", "PDF", "EPS", "JPEG2000", "PPM", "TGA", "SGI", "PCX", "DDS"):
        yield upload(f"a {name} file", file(name), UNSUPPORTED)
    compressed = encode(photo("L"), "TIFF", compression="tiff_lzw")
    entities = b'<!DOCTYPE x [<!ENTITY a "aaaa">' + b'<!ENTITY b "&a;&a;">' * 999 + b"]><svg/>"
    files = {
        "a compressed TIFF": compressed,
        "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "an SVG of entities": entities,
        "a Photoshop file": b"8BPS\0\x01" + bytes(500),
        "a whole HEIC": heic(),
        "a HEIC": b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(500),
        "a video": b"\0\0\0\x20ftypisom\0\0\x02\0" + bytes(500),
        "an audio file": b"RIFF\0\x10\0\0WAVEfmt " + bytes(500),
        "a gzip file": b"\x1f\x8b\x08" + NOISE[:500],
        "a program": b"\x7fELF\x02\x01\x01" + bytes(500),
        "JSON": b'{"image": "x"}',
        "noise": NOISE[:500_000],
        "zeros": bytes(5 * MIB),
        "two zeros and an end": b"\0\0\xff\xd9",
        "words": b"A rose is a rose. " * 5000,
    }
    for what, data in files.items():
        yield upload(what, data, UNSUPPORTED)
    yield upload("nothing", b"", DAMAGED)
    yield upload("more than the limit", bytes(33 * MIB), LARGE)

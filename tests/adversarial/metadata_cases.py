"""Image files with valid pixels and adversarial metadata or chunk structure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial

from tests.adversarial.cases import (
    ACCEPTED,
    DAMAGED,
    EITHER,
    FORMATS,
    KIB,
    LARGE,
    MIB,
    NOISE,
    SIDE,
    Case,
    entry,
    gif_with,
    jpeg_with,
    photo,
    png_chunk,
    png_with,
    run_lengths,
    segment,
    tiff,
    upload,
)
from tests.model.imaging.test_decode import encode


def metadata_cases() -> Iterator[Case]:
    for cases in (_blocks, _costly, _orientations):
        yield from cases()


def _blocks() -> Iterator[Case]:
    exif = b"Exif\0\0" + tiff(entry(0x010F, 7, 60_000, 26)) + bytes(60_000)
    yield upload("JPEG with 60 kB of EXIF", jpeg_with(segment(0xE1, exif)), ACCEPTED)
    large = tiff(entry(0x0112, 3, 1, 6), entry(0x011A, 5, 1_000_000, 38)) + bytes(8_000_000)
    for name in ("PNG", "WEBP"):
        yield upload(
            f"{name} with a million fractions in its EXIF",
            partial(encode, photo(), name, exif=large),
            ACCEPTED,
        )
    many = tiff(*(entry(tag, 1, 400, 8) for tag in range(65_535)))
    yield upload("PNG with 65,535 entries of EXIF", png_with(png_chunk(b"eXIf", many)), ACCEPTED)
    for name in ("JPEG", "PNG", "WEBP", "AVIF"):
        for kind, profile in (("noise", NOISE), ("zeros", bytes(2 * MIB)), ("a word", b"ICC")):
            profiled = partial(
                encode, photo(), name, icc_profile=profile[: 900 * KIB], **FORMATS[name]
            )
            yield upload(f"{name} with a color profile of {kind}", profiled, ACCEPTED)
        xmp = b"<x:xmpmeta>" + b"<a>" * 20_000
        if name != "PNG":
            described = partial(encode, photo(), name, xmp=xmp, **FORMATS[name])
            yield upload(f"{name} with 60 kB of open XMP", described, ACCEPTED)
    packed = zlib.compress(bytes(50 * MIB))
    for chunk, head in ((b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")):
        bomb = png_with(png_chunk(chunk, head + packed))
        yield upload(f"PNG with {chunk.decode()} that decompresses to 50 MiB", bomb, EITHER)


def _costly() -> Iterator[Case]:
    """Return files that cost a decoder minutes or gigabytes without a structure check."""
    mib = png_chunk(b"zTXt", b"\0\0" + zlib.compress(bytes(MIB)))
    yield upload("PNG with 1,000 compressed texts without a key", png_with(mib * 1000), ACCEPTED)
    tiny = png_chunk(b"tEXt")
    yield upload("PNG of 200,000 empty chunks", png_with(tiny * 200_000), DAMAGED)
    yield upload("PNG of empty pixel chunks", png_with(png_chunk(b"IDAT") * 200_000), DAMAGED)
    yield upload("JPEG of 400 kB of fill bytes", jpeg_with(b"\xff" * 400_000), DAMAGED)
    yield upload("JPEG of 200,000 restarts", jpeg_with(b"\xff\xd0" * 200_000), DAMAGED)
    yield upload("JPEG of a million ends", jpeg_with(b"\xff\xd9" * MIB), DAMAGED)
    yield upload("JPEG of 500,000 empty comments", jpeg_with(segment(0xFE) * 500_000), DAMAGED)
    exif = segment(0xE1, b"Exif\0\0x") * 100_000
    yield upload("JPEG of 100,000 EXIF blocks", jpeg_with(exif), DAMAGED)
    yield upload("JPEG of 100,000 EXIF blocks after an end", jpeg_with(b"\xff\xd9", exif), DAMAGED)
    scans = encode(photo("L"), "JPEG", progressive=True)
    last = scans[scans.rindex(b"\xff\xc4") : -2]
    yield upload("JPEG of 2,000 scans", scans[:-2] + 2000 * last + b"\xff\xd9", DAMAGED)
    yield upload("GIF of a million comments", gif_with(b"!\xfe" + b"\1x" * MIB + b"\0"), DAMAGED)
    yield upload("GIF of a million tiny blocks", gif_with(b"!\xff" + b"\1x" * MIB + b"\0"), DAMAGED)
    padded = b"\1\5\0\0" * 8000 + b"\0\1"
    yield upload("BMP that ends 8,000 lines early", run_lengths(8000, 8000, padded), LARGE)
    yield upload("BMP of empty runs", run_lengths(900, 900, bytes(4 * MIB)), DAMAGED)
    yield upload("BMP in run lengths", run_lengths(SIDE, SIDE, b"\x40\5\0\0" * SIDE), ACCEPTED)


def _orientations() -> Iterator[Case]:
    for orientation in (*range(10), 255, 65_535):
        exif = b"Exif\0\0" + tiff(entry(0x0112, 3, 1, orientation))
        yield upload(
            f"JPEG with orientation {orientation}", jpeg_with(segment(0xE1, exif)), ACCEPTED
        )
    damaged = {
        "with an IFD offset beyond the file": tiff(start=2**31),
        "with an IFD inside its header": tiff(start=0),
        "with a wrong entry count": tiff(count=65_535),
        "of an entry of 4 GB": tiff(entry(0x0112, 3, 2**31, 8)),
        "of an unknown type": tiff(entry(0x0112, 99, 1, 6)),
        "with a zero denominator": tiff(entry(0x0112, 5, 1, 26)) + bytes(8),
        "with text for a number": tiff(entry(0x0112, 2, 4, 0x414141)),
        "with a recursive IFD": tiff(entry(0x8769, 4, 1, 8), entry(0x0112, 3, 1, 6)),
        "of noise": b"II*\0" + NOISE[:500],
        "of nothing": b"",
    }
    for what, exif in damaged.items():
        body = segment(0xE1, b"Exif\0\0" + exif)
        yield upload(f"JPEG with EXIF {what}", jpeg_with(body), ACCEPTED)
        yield upload(f"PNG with EXIF {what}", png_with(png_chunk(b"eXIf", exif)), ACCEPTED)

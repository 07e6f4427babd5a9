"""Benchmark of the conversion to sRGB: CPU time from a photo's bytes to the network's input.

Photos with a profile are compared with the same photo without one, in one thread without a server.

python -m benchmarks.color_profiles
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from pathlib import Path
from typing import Final

from PIL import Image, ImageCms

from benchmarks.environments import ROOT
from benchmarks.photos import photo
from benchmarks.results_file import print_rounds, write_csv
from model.imaging.decode import decode_image
from model.imaging.transforms import EvaluationTransform
from tests.model.imaging.profiles import DISPLAY_P3, cmyk_profile, rgb_profile

_TRANSFORM: Final = EvaluationTransform(288, 288, "bicubic", (0, 0, 0), (1, 1, 1))
_SIDES: Final = {"500_pixels": 500, "12_megapixels": 4000}


def variants(side: int) -> dict[str, bytes]:
    """Return JPEGs of one photo, of a longest side in pixels, by the kind of their profile."""
    image = Image.open(io.BytesIO(photo(side))).convert("RGB")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "none": _jpeg(image, None),
        "srgb": _jpeg(image, srgb),
        "display_p3": _jpeg(image, rgb_profile(DISPLAY_P3, 2.2)),
        "cmyk_none": _jpeg(image.convert("CMYK"), None),
        "cmyk": _jpeg(image.convert("CMYK"), cmyk_profile()),
    }


def measure(photos: dict[str, dict[str, bytes]], seconds: float) -> dict[str, float]:
    """Return one measurement of each kind, taken in turn, in milliseconds and as a ratio."""
    found: dict[str, float] = {}
    for size, files in photos.items():
        times = {name: preprocess_ms(data, seconds) for name, data in files.items()}
        found |= {f"{size}_{name}_cpu_ms": each for name, each in times.items()}
        for name, base in (("srgb", "none"), ("display_p3", "none"), ("cmyk", "cmyk_none")):
            found[f"{size}_{name}_over_{base}"] = times[name] / times[base]
    return found


def preprocess_ms(data: bytes, seconds: float) -> float:
    """Return the median CPU time from a photo's bytes to the network's input in milliseconds."""
    decode_image(data, target_side=_TRANSFORM.resize)  # builds the transform of its profile
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.process_time()
        _TRANSFORM(decode_image(data, target_side=_TRANSFORM.resize))
        times.append(time.process_time() - started)
    return statistics.median(times) * 1000


def _jpeg(image: Image.Image, profile: bytes | None) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85, icc_profile=profile)
    return file.getvalue()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure the cost of color profiles.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="duration of each measurement")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    photos = {name: variants(side) for name, side in _SIDES.items()}
    rows = [measure(photos, options.seconds) for _ in range(options.rounds)]
    write_csv(options.output / "color_profiles.csv", rows)
    print_rounds(rows)


if __name__ == "__main__":
    main()

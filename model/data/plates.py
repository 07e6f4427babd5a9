"""Pictures of the flowers made from a list of downloads, by default plates.json.

plates.json lists botanical plates in the public domain and one photo under CC BY 2.0.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

from PIL import Image, ImageOps
from pydantic import Field, TypeAdapter, ValidationError
from tqdm import tqdm

from model.atomic_write import atomic_write
from model.data.download import DownloadError, fetch
from model.data.picture_folder import (
    MANIFEST,
    Credits,
    Picture,
    PictureFolderError,
    read_manifest,
    write_manifest,
)

PLATES: Final = Path(__file__).with_name("plates.json")
_LONGEST_SIDE: Final = 640  # pixels
_QUALITY: Final = 82  # of WebP, from 0 to 100
_MAX_PIXELS: Final = 100_000_000  # of an original: larger ones are refused


class Plate(Credits):
    """One download.

    Attributes:
        url: Address of the original.
        sha256: Its SHA-256.
        crop: Left, top, right and bottom edge, from 0 to 1; None keeps the whole picture.
    """

    url: Annotated[str, Field(pattern="^https?://")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    crop: tuple[float, float, float, float] | None = None


_PLATES: Final = TypeAdapter(tuple[Plate, ...])


def read_plates(path: Path = PLATES) -> tuple[Plate, ...]:
    """Return a list of downloads.

    Raises:
        PictureFolderError: The file cannot be read or is malformed.
    """
    try:
        return _PLATES.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PictureFolderError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise PictureFolderError(f"{path} is malformed: {where}: {first['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise PictureFolderError(f"{path} is not JSON: {error}.") from error


def make_pictures(
    folder: Path, plates: Sequence[Plate], report: Callable[[str], None]
) -> tuple[int, int]:
    """Download, check, crop and resize plates, and write them with their manifest.

    A plate that fails is reported and left out. Plates that are already there are kept, and so are
    pictures that are not from a list of downloads, such as an operator's own photos.

    Args:
        folder: Folder for the pictures; it is created.
        plates: The downloads.
        report: Called with each failure.

    Returns:
        Number of pictures that are there now, and of those that failed.

    Raises:
        PictureFolderError: The folder's manifest is malformed.
        OSError: The disk is full or not writable.
    """
    present = read_manifest(folder) if (folder / MANIFEST).exists() else ()
    own = [item for item in present if item.sha256 is None]
    done = {item.sha256: item for item in present if (folder / item.file).is_file()}
    wanted = [plate for plate in plates if not any(_shows(item, plate) for item in own)]
    pictures = [_picture(plate) for plate in wanted]
    there = [picture for picture in pictures if done.get(picture.sha256) == picture]
    try:
        for plate, picture in zip(
            tqdm(wanted, unit="picture", disable=not sys.stderr.isatty()), pictures, strict=True
        ):
            if picture in there:
                continue
            try:
                _make_picture(plate, folder / picture.file)
            except (DownloadError, PictureFolderError) as error:
                report(str(error))
            else:
                there.append(picture)
    finally:
        # Also after Ctrl-C, so that the next run goes on from here.
        write_manifest(folder, [*own, *(picture for picture in pictures if picture in there)])
    return len(there), len(pictures) - len(there)


def _shows(picture: Picture, plate: Plate) -> bool:
    same_name = picture.class_name in (None, plate.class_name)
    return same_name and picture.class_id == plate.class_id


def _picture(plate: Plate) -> Picture:
    values = plate.model_dump(exclude={"url", "crop"})
    return Picture(**values, file=f"plate-{plate.class_id}.webp", source=plate.url)


def _make_picture(plate: Plate, path: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        original = Path(temporary) / "original"
        fetch(plate.url, original, f"sha256:{plate.sha256}")
        try:
            with Image.open(original) as image:
                if image.width * image.height > _MAX_PIXELS:
                    raise PictureFolderError(f"{plate.url} has too many pixels.")
                picture = ImageOps.exif_transpose(image).convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise PictureFolderError(f"{plate.url} is not a picture that can be read.") from error
    if plate.crop is not None:
        left, top, right, bottom = plate.crop
        width, height = picture.size
        picture = picture.crop(
            (round(left * width), round(top * height), round(right * width), round(bottom * height))
        )
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    with atomic_write(path) as temporary_file:
        picture.save(temporary_file, "WEBP", quality=_QUALITY)

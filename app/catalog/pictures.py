"""Pictures of the flowers, from a folder with a manifest."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps

from app.catalog.flowers import Flower
from model.data.picture_folder import (
    DEFAULT_PICTURES,
    MANIFEST,
    Picture,
    PictureFolderError,
    read_manifest,
)
from model.imaging.decode import decode_image
from model.imaging.formats import ImageError
from model.imaging.limits import ImageLimits

MAX_SIDE: Final = 1024  # pixels of a picture that is served
THUMBNAIL_SIDE: Final = 128  # pixels: twice what the list shows, for screens of high density
_TOP: Final = 0.3  # where a thumbnail is cut from a tall picture: flowers are rarely at the bottom
_MEDIA_TYPES: Final = {
    "webp": "image/webp",
    "avif": "image/avif",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
}
_QUALITY: Final = 80  # of WebP, from 0 to 100
_DIGEST_LENGTH: Final = 12
_LIMITS: Final = ImageLimits(min_side=1)
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredPicture:
    """One picture of the folder, in memory.

    Attributes:
        picture: File name, class and credits.
        data: The file, or a WebP of at most `MAX_SIDE` pixels a side if the file has more.
        media_type: Media type of `data`.
        thumbnail: A square WebP of `THUMBNAIL_SIDE` pixels a side.
        size: Width and height of the upright picture, in pixels.
        version: First digits of the SHA-256 of `data`.
    """

    picture: Picture
    data: bytes = field(repr=False)
    media_type: str
    thumbnail: bytes = field(repr=False)
    size: tuple[int, int]
    version: str


class Pictures:
    """The pictures of a service."""

    def __init__(self, pictures: Sequence[StoredPicture] = ()) -> None:
        # Classes may share a file.
        self._by_file = {item.picture.file: item for item in pictures}
        self._by_class = {
            (item.picture.class_id, item.picture.class_name): item for item in pictures
        }

    def of(self, flower: Flower) -> StoredPicture | None:
        """Return the picture of a flower, or None."""
        return self._by_class.get((flower.class_id, flower.name)) or self._by_class.get(
            (flower.class_id, None)
        )

    def get(self, file: str) -> StoredPicture | None:
        """Return the picture with a file name, or None."""
        return self._by_file.get(file)


def load_pictures(folder: Path | None) -> Pictures:
    """Load the pictures of a folder; those whose file is missing or damaged are left out.

    Args:
        folder: The folder; None for `DEFAULT_PICTURES`, if it has a manifest.

    Raises:
        PictureFolderError: The folder has no usable manifest.
    """
    if folder is None:
        if not (DEFAULT_PICTURES / MANIFEST).exists():
            return Pictures()
        folder = DEFAULT_PICTURES
    loaded = []
    for picture in read_manifest(folder):
        try:
            loaded.append(_load(picture, folder / picture.file))
        except PictureFolderError as error:
            _log.warning("%s", error)
    return Pictures(loaded)


def _load(picture: Picture, path: Path) -> StoredPicture:
    try:
        data = path.read_bytes()
        # The whole file: a damaged one may open, and would fail at the first request.
        image = decode_image(data, limits=_LIMITS)
    except OSError as error:
        raise PictureFolderError(
            f"{path} cannot be read ({error.strerror}); its flower has no picture."
        ) from error
    except ImageError as error:
        raise PictureFolderError(f"{path}: {error} Its flower has no picture.") from error
    media_type = _MEDIA_TYPES[path.suffix.removeprefix(".")]
    if max(image.size) > MAX_SIDE:
        # Visitors load five at once, and all of them are in memory.
        image = ImageOps.contain(image, (MAX_SIDE, MAX_SIDE))
        data, media_type = _webp(image), _MEDIA_TYPES["webp"]
    thumbnail = _webp(ImageOps.fit(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), centering=(0.5, _TOP)))
    version = hashlib.sha256(data).hexdigest()[:_DIGEST_LENGTH]
    return StoredPicture(picture, data, media_type, thumbnail, image.size, version)


def _webp(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=_QUALITY)
    return file.getvalue()

"""Pictures of the flowers, from a folder with a manifest."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
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

THUMBNAIL_SIDE: Final = 128  # pixels: twice what the list shows, for screens of high density
_TOP: Final = 0.3  # where a thumbnail is cut from a tall picture: flowers are rarely at the bottom
_MEDIA_TYPES: Final = {
    "webp": "image/webp",
    "avif": "image/avif",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
}
_DIGEST_LENGTH: Final = 12
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredPicture:
    """One picture of the folder, in memory.

    Attributes:
        picture: File name, class and credits.
        data: The file.
        size: Width and height, in pixels.
        version: First digits of the file's SHA-256.
    """

    picture: Picture
    data: bytes = field(repr=False)
    size: tuple[int, int]
    version: str

    @property
    def media_type(self) -> str:
        """Media type of the file, by its name."""
        return _MEDIA_TYPES[self.picture.file.rpartition(".")[2]]

    @cached_property
    def thumbnail(self) -> bytes:
        """A square WebP of `THUMBNAIL_SIDE` pixels a side."""
        with Image.open(io.BytesIO(self.data)) as image:
            picture = ImageOps.fit(
                image.convert("RGB"), (THUMBNAIL_SIDE, THUMBNAIL_SIDE), centering=(0.5, _TOP)
            )
        file = io.BytesIO()
        picture.save(file, "WEBP", quality=80)
        return file.getvalue()


class Pictures:
    """The pictures of a service."""

    def __init__(self, pictures: Iterable[StoredPicture] = ()) -> None:
        self._by_file = {item.picture.file: item for item in pictures}
        self._by_class = {
            (item.picture.class_id, item.picture.class_name): item
            for item in self._by_file.values()
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
        with Image.open(io.BytesIO(data)) as image:
            size = image.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise PictureFolderError(
            f"{path} is missing or not a picture; its flower has none."
        ) from error
    version = hashlib.sha256(data).hexdigest()[:_DIGEST_LENGTH]
    return StoredPicture(picture, data, size, version)

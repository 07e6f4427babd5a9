"""A folder with pictures of the flowers and their manifest.json, for the service's pages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from model import ROOT
from model.atomic_write import atomic_write
from model.errors import PetalscopeError

DEFAULT_PICTURES: Final = ROOT / "pictures"
MANIFEST: Final = "manifest.json"

_Text = Annotated[str, Field(min_length=1)]


class PictureFolderError(PetalscopeError):
    """A folder of pictures that cannot be used."""


class Credits(BaseModel):
    """A picture's class and its credits.

    Attributes:
        class_id: Class ID, "18".
        class_name: Name of the class; None for any name. It keeps pictures of one model's classes
            from those of another with the same IDs.
        title: What the picture shows.
        author: Painter or photographer.
        work: Book or collection.
        year: Year of publication.
        licence: Licence, such as "CC BY 4.0" or "Public domain".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_id: _Text
    class_name: _Text | None = None
    title: _Text
    author: _Text
    work: _Text
    year: _Text
    licence: _Text


class Picture(Credits):
    """One picture of a manifest.

    Attributes:
        file: Name of the file in the folder.
        source: Address of the original; None if there is none.
        sha256: SHA-256 of the original; None if it is not known.
    """

    file: Annotated[str, Field(pattern=r"^\w[\w.-]*\.(webp|avif|png|jpg|jpeg)$", max_length=100)]
    source: Annotated[str, Field(pattern="^https?://")] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


_PICTURES: Final = TypeAdapter(tuple[Picture, ...])


def read_manifest(folder: Path) -> tuple[Picture, ...]:
    """Return the pictures of a folder's manifest; some of the files may be missing.

    Raises:
        PictureFolderError: There is no manifest, or it is malformed.
    """
    path = folder / MANIFEST
    try:
        items = json.loads(path.read_text(encoding="utf-8"))["pictures"]
        pictures = _PICTURES.validate_python(items)
    except FileNotFoundError as error:
        raise PictureFolderError(
            f"{folder} has no {MANIFEST}: run `make pictures`, or write one as docs/deploying.md "
            "describes."
        ) from error
    except OSError as error:
        raise PictureFolderError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, ("pictures", *first["loc"])))
        raise PictureFolderError(f"{path} is malformed: {where}: {first['msg']}.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PictureFolderError(
            f'{path} is malformed: it must be {{"pictures": [...]}} in JSON.'
        ) from error
    twice = sorted({item.class_id for item in pictures if _count(item, pictures) > 1})
    if twice:
        raise PictureFolderError(f"{path} has two pictures of class {twice[0]}; keep one.")
    return pictures


def write_manifest(folder: Path, pictures: Iterable[Picture]) -> None:
    """Write a folder's manifest; readers find the old or the new one."""
    items = [item.model_dump(exclude_none=True) for item in pictures]
    with atomic_write(folder / MANIFEST) as temporary:
        text = json.dumps({"pictures": items}, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _count(picture: Picture, pictures: Iterable[Picture]) -> int:
    key = (picture.class_id, picture.class_name)
    return sum((item.class_id, item.class_name) == key for item in pictures)

"""Logit adjustment by class (Menon et al. 2021, "Long-tail learning via logit adjustment").

If only some classes have training photos of a certain kind, such as everyday photos, the network
learns that this kind is evidence for these classes. A negative adjustment of their logits
counteracts it. The ranking of the classes uses the adjusted logits; the OOD score does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from model.checkpoint.labels import FlowerClass
from model.data.photo_folder import PhotoFolderError, class_folders


@dataclass(frozen=True)
class LogitAdjustment:
    """A value to add to the logits of the classes that a folder of photos has.

    Attributes:
        folder: It holds one sub-folder per class. Its photos are not read.
        value: In logits, usually negative.
    """

    folder: Path
    value: float

    def values(self, classes: Sequence[FlowerClass]) -> torch.Tensor:
        """Return the adjustment of each class, float32 (classes,).

        Args:
            classes: The checkpoint's classes in index order.

        Raises:
            PhotoFolderError: The folder is missing or has sub-folders of other classes.
        """
        class_ids = [item.class_id for item in classes]
        found = set(class_folders(self.folder))
        if unknown := sorted(found - set(class_ids)):
            raise PhotoFolderError(
                f"{self.folder} has a folder {unknown[0]}, which is not a class of the checkpoint."
            )
        return torch.tensor([self.value if item in found else 0.0 for item in class_ids])

    def __str__(self) -> str:
        return f"{self.value:+g} for the classes of {self.folder.name}"

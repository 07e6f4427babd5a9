"""Folders of labelled photos of a run: their layout, their split and their classes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from model.checkpoint.labels import (
    FlowerClass,
    check_class_ids,
    name_by_folders,
    name_classes,
    read_category_names,
)
from model.data import NAMES_FILE
from model.data.photo_folder import PhotoFolderError, class_folders
from model.data.split import PARTS, split_photos
from model.errors import join_names
from model.training.config import TrainingConfig

_SPLIT_FOLDER: Final = "data"  # in the run folder


def split_data(options: TrainingConfig) -> None:
    """Write the split of a new run with `valid_fraction` into its folder.

    Raises:
        PhotoFolderError: The folder cannot be split.
    """
    if options.valid_fraction is not None:
        split_photos(
            options.data,
            _split_folder(options),
            valid_fraction=options.valid_fraction,
            seed=options.split_seed,
            excluded=options.exclude,
        )


def remove_split(options: TrainingConfig) -> None:
    """Remove the split of a run that did not start, so that its folder can be used again."""
    if options.valid_fraction is not None:
        shutil.rmtree(_split_folder(options), ignore_errors=True)


def labelled_folder(options: TrainingConfig, folder: Path) -> Path:
    """Return the path of train/, valid/ or another folder of photos of the classes."""
    if options.valid_fraction is not None and str(folder) in PARTS:
        return _split_folder(options) / folder
    return options.data / folder


def find_classes(options: TrainingConfig) -> tuple[FlowerClass, ...]:
    """Return the classes of the validation photos, in index order, with their names.

    Raises:
        PhotoFolderError: A folder is missing, or the training folders have other classes.
        LabelsError: The names file is unusable or lacks a class, or a folder's name cannot be that
            of a class.
    """
    _check_layout(options)
    _check_folders(options)
    valid_folder = labelled_folder(options, Path("valid"))
    folders = [labelled_folder(options, folder) for folder in options.train_data]
    train = {name for folder in folders for name in class_folders(folder)}
    valid = class_folders(valid_folder)
    if different := sorted(train ^ set(valid)):
        raise PhotoFolderError(
            f"{', '.join(map(str, folders))} and {valid_folder} differ in class "
            f"{join_names(different)}; each class needs a folder in both."
        )
    check_class_ids(valid)
    names_file = options.category_names or options.data / NAMES_FILE
    if options.category_names is None and not names_file.exists():
        return name_by_folders(valid, names_file)
    return name_classes(valid, read_category_names(names_file))


def _check_layout(options: TrainingConfig) -> None:
    """Check that DATA has the layout that `valid_fraction` says.

    Raises:
        PhotoFolderError: It has the other one.
    """
    data = options.data
    if options.valid_fraction is None:
        if data.is_dir() and not (data / "valid").is_dir():
            whole = data / "train" if (data / "train").is_dir() else data
            raise PhotoFolderError(
                f"{data} has no valid/. If {whole} has one folder of photos per class, split it "
                f"with --data {whole} --valid-fraction 0.2."
            )
        return
    for folder in (*options.ood_data, *options.ood_data_half, *options.paste_backgrounds):
        if folder.parts[:1] and folder.parts[0] in class_folders(data):
            raise PhotoFolderError(
                f"With --valid-fraction, {data / folder.parts[0]} is a class; move it out of "
                f"{data} and give its new path, such as ../{folder.name}."
            )


def _check_folders(options: TrainingConfig) -> None:
    """Check that the folders of photos exist, which options or a recipe name.

    Raises:
        PhotoFolderError: One is missing.
    """
    if not options.data.is_dir():
        return  # the message then names DATA
    none = "{0} without values uses none"
    remedies = {
        "--train-data": (options.train_data, "{0} train --train-data-weights 1 uses only train"),
        "--ood-data": (options.ood_data, none),
        "--ood-data-half": (options.ood_data_half, none),
        "--paste-backgrounds": (options.paste_backgrounds, none),
    }
    for option, (folders, remedy) in remedies.items():
        for folder in folders:
            path = labelled_folder(options, folder)
            if not path.is_dir():
                raise PhotoFolderError(
                    f"{option} {folder}: the folder {path} does not exist. Add it, or give other "
                    f"folders instead of a recipe's: {remedy.format(option)}."
                )


def _split_folder(options: TrainingConfig) -> Path:
    assert options.output is not None  # noqa: S101  # a run has a folder
    return options.output / _SPLIT_FOLDER

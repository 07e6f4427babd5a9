"""Whole training runs on generated photos."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.backbones import BackboneError
from model.checkpoint.format import read_metadata
from model.checkpoint.labels import LabelsError
from model.classifier import Classifier
from model.data.photo_folder import PhotoFolderError, UnreadablePhotoError
from model.folder_lock import FolderInUseError, only_process_in
from model.imaging.decode import decode_image
from model.training.config import TrainingConfig
from model.training.engine import Engine, TrainingError
from model.training.photo_check import UnreadablePhotosError
from model.training.resume import ResumeError
from model.training.run_folder import read_config
from model.training.trainer import Interrupted, train
from tests.conftest import TINY_CLASSES, tiny_training
from tests.model.training.conftest import interrupt_at, tiny_config

pytestmark = pytest.mark.slow

MakeOptions = Callable[..., TrainingConfig]
ALL_RANDOMNESS = {
    "dropout": 0.2,
    "mixup": 0.2,
    "cutmix": 1.0,
    "reprob": 0.3,
    "hidden_layers": (16,),
}


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open(encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def assert_same_run(one: Path, other: Path) -> None:
    """Compare the histories and weights of two runs, by their checkpoints."""
    for row, other_row in zip(rows(one.parent), rows(other.parent), strict=True):
        row.pop("seconds"), other_row.pop("seconds")
        assert row == pytest.approx(other_row, rel=1e-5)
    weights = load_file(other)
    for name, tensor in load_file(one).items():
        torch.testing.assert_close(weights[name], tensor)


def interrupted_run(options: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until a SIGINT in the third step."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.raises(Interrupted):
            train(options)


def test_a_run_writes_a_checkpoint_and_reports(
    tiny_options: MakeOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    options = tiny_options(epochs=3)
    checkpoint = train(options)
    folder = checkpoint.parent
    assert folder == options.output
    assert json.loads((folder / "arguments.json").read_text())["lr"] == options.lr
    assert [row["epoch"] for row in rows(folder)] == [1, 2, 3]
    assert {"curves.png", "samples.png"} <= {path.name for path in folder.iterdir()}
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert "samples" in events.Tags()["images"]
    assert "train/loss" in events.Tags()["scalars"]
    (options_text,) = events.Tensors("options/text_summary")
    assert b"| lr | 0.01 |" in options_text.tensor_proto.string_val[0]
    assert f"tensorboard --logdir {folder}" in capsys.readouterr().out
    assert not list(folder.glob("*state*"))  # complete: nothing to resume


def test_training_learns_to_distinguish_colors(tiny_options: MakeOptions) -> None:
    options = tiny_options(epochs=10, augmentation="light", lr=3e-3, model_ema_decay=0.9)
    train(options)
    assert options.output is not None
    history = rows(options.output)
    assert history[-1]["train_loss"] < history[0]["train_loss"] - 0.3
    assert max(row["valid_accuracy"] for row in history) >= 0.75


def test_the_checkpoint_is_from_the_best_epoch(tiny_options: MakeOptions) -> None:
    checkpoint = train(tiny_options(epochs=4))
    history = rows(checkpoint.parent)
    best = max(history, key=lambda row: (row["valid_accuracy"], -row["valid_loss"]))
    metadata = read_metadata(checkpoint)
    assert metadata.training["kept_epoch"] == best["epoch"]
    assert metadata.metrics["valid"]["top1"] == pytest.approx(best["valid_accuracy"])
    assert metadata.metrics["valid"]["n"] == 12
    assert metadata.training["train_photos"] == 36
    assert metadata.versions["torch"] == torch.__version__.partition("+")[0]


def test_the_last_line_names_the_kept_epoch(
    tiny_options: MakeOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    # Without learning, the first epoch stays the best.
    train(tiny_options(epochs=2, lr=1e-9, min_lr=0, model_ema_decay=0, keep_epoch="last"))
    lines = capsys.readouterr().out.splitlines()
    assert "epoch 2;" in lines[-1]


def test_the_checkpoint_reproduces_the_validation_accuracy(
    tiny_options: MakeOptions, flower_folder: Path
) -> None:
    checkpoint = train(tiny_options(epochs=3, model_ema_decay=0.9))
    classifier = Classifier.load(checkpoint, "cpu")
    side = classifier.metadata.transform.resize
    paths = sorted((flower_folder / "valid").glob("*/*.png"))
    results = classifier.predict([decode_image(path, target_side=side) for path in paths], 1)
    correct = [
        result.predictions[0].class_id == path.parent.name
        for path, result in zip(paths, results, strict=True)
    ]
    assert np.mean(correct) == pytest.approx(classifier.metadata.metrics["valid"]["top1"])


def test_class_ids_keep_their_names_in_folder_order(tiny_options: MakeOptions) -> None:
    assert read_metadata(train(tiny_options(epochs=1))).classes == TINY_CLASSES


def test_the_checkpoint_contains_no_absolute_path(tiny_options: MakeOptions) -> None:
    options = tiny_options(epochs=1)
    checkpoint = train(options)
    text = read_metadata(checkpoint).to_text()
    assert str(options.data) not in text
    assert options.data.name in text


@pytest.fixture(scope="module")
def uninterrupted(flower_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a complete run that uses every source of randomness."""
    with tiny_training():
        output = tmp_path_factory.mktemp("whole") / "run"
        return train(tiny_config(data=flower_folder, output=output, **ALL_RANDOMNESS))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_resumed_run_equals_an_uninterrupted_one(
    uninterrupted: Path,
    tiny_options: MakeOptions,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    workers: int,
) -> None:
    """Interrupt inside an epoch, in its last step, and in the first step of the next."""
    options = tiny_options(**ALL_RANDOMNESS, workers=workers)
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted, match="--resume"):
            train(options)
    assert signal.getsignal(signal.SIGINT) is handler
    assert options.output is not None
    assert_same_run(uninterrupted, train(read_config(options.output), resume=True))


def test_metrics_and_signals_may_be_read_every_few_steps(
    uninterrupted: Path, tiny_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs of four steps are read after the third and the fourth of each."""
    monkeypatch.setattr("model.training.trainer.steps_per_sync", lambda _: 3)
    reads = 0
    original = Accelerator.reduce

    def reduce(self: Accelerator, *args: Any, **options: Any) -> Any:
        nonlocal reads
        reads += 1
        return original(self, *args, **options)

    monkeypatch.setattr(Accelerator, "reduce", reduce)
    options = tiny_options(**ALL_RANDOMNESS)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 0)
        with pytest.raises(Interrupted):
            train(options)
    assert options.output is not None
    assert [path.name[-1] for path in options.output.glob("state-*")] == ["3"]
    assert_same_run(uninterrupted, train(read_config(options.output), resume=True))
    assert reads == 4


def test_ctrl_c_while_workers_start_stops_the_run(
    tiny_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("DataLoader worker exited unexpectedly")

    monkeypatch.setattr(Engine, "step", stopped)
    with pytest.raises(Interrupted):
        train(tiny_options())


def test_a_partly_written_state_is_ignored(
    tiny_options: MakeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_run(tiny_options(), monkeypatch)
    (state,) = (tmp_path / "run").glob("state-*")
    shutil.copytree(state, tmp_path / "run" / "unfinished-state")
    (tmp_path / "run" / "unfinished-state" / "model.safetensors").write_bytes(b"half")
    train(read_config(tmp_path / "run"), resume=True)
    assert len(rows(tmp_path / "run")) == 2


def test_a_damaged_state_is_an_error(
    tiny_options: MakeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_run(tiny_options(), monkeypatch)
    (state,) = (tmp_path / "run").glob("state-*")
    (state / "optimizer.bin").write_bytes(b"\x80\x02half")
    with pytest.raises(ResumeError, match="state-"):
        train(read_config(tmp_path / "run"), resume=True)


def test_a_complete_run_names_the_option_to_train_further(tiny_options: MakeOptions) -> None:
    folder = train(tiny_options(epochs=1)).parent
    further = re.escape(f"--initial-checkpoint {folder / 'checkpoint.safetensors'}")
    with pytest.raises(ResumeError, match=further):
        train(read_config(folder), resume=True)
    with pytest.raises(TrainingError, match=further):
        train(tiny_options())


def test_a_run_without_a_state_is_resumed_from_its_beginning(
    uninterrupted: Path, tiny_options: MakeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("model.training.trainer.save_state", killed)
        with pytest.raises(ZeroDivisionError):
            train(tiny_options(**ALL_RANDOMNESS))
    with pytest.raises(TrainingError, match="--resume"):
        train(tiny_options(**ALL_RANDOMNESS))
    assert_same_run(uninterrupted, train(read_config(tmp_path / "run"), resume=True))


def test_a_run_is_resumed_in_another_working_directory(
    flower_folder: Path, tiny_options: MakeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(flower_folder.parent)
    data = Path(flower_folder.name)
    options = tiny_options(data=data, category_names=data / "cat_to_name.json")
    interrupted_run(options, monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert len(rows(train(read_config(tmp_path / "run"), resume=True).parent)) == 2


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=r"arguments\.json"):
        read_config(tmp_path)


def test_a_run_folder_with_files_is_refused(tiny_options: MakeOptions, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("mine")
    with pytest.raises(TrainingError):
        train(tiny_options())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious"]


def test_a_run_in_progress_cannot_be_resumed(
    tiny_options: MakeOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_run(tiny_options(), monkeypatch)
    options = read_config(tmp_path / "run")
    with only_process_in(tmp_path / "run"), pytest.raises(FolderInUseError):
        train(options, resume=True)
    train(options, resume=True)


def test_a_frozen_backbone_does_not_change(tiny_options: MakeOptions, tmp_path: Path) -> None:
    frozen = {"freeze_backbone": True, "lr": 0.1, "hidden_layers": (8,), "augmentation": "article"}
    first = load_file(train(tiny_options(**frozen, epochs=1)))
    last = load_file(
        train(tiny_options(**frozen, epochs=1, seed=0, output=tmp_path / "more",
                           scheduler="step", optimizer="adadelta"))
    )  # fmt: skip
    heads = {name for name in first if name.startswith("classifier.")}
    assert heads
    for name in first.keys() - heads:
        torch.testing.assert_close(first[name], last[name], rtol=0, atol=0)
    assert any(not torch.equal(first[name], last[name]) for name in heads)


@pytest.mark.parametrize(
    "scheduler", ["none", "step", "multistep", "poly", "tanh", "wsd", "constant"]
)
def test_each_schedule_trains(tiny_options: MakeOptions, scheduler: str) -> None:
    train(
        tiny_options(
            scheduler=scheduler, decay_epochs=1, model_ema_decay=0, epochs=1, warmup_epochs=0
        )
    )


def test_half_precision_halves_the_checkpoint(tiny_options: MakeOptions, tmp_path: Path) -> None:
    whole = train(tiny_options(epochs=1))
    half = train(tiny_options(epochs=1, checkpoint_dtype="float16", output=tmp_path / "half"))
    assert half.stat().st_size < 0.7 * whole.stat().st_size


def test_bfloat16_trains_on_a_cpu_too(tiny_options: MakeOptions) -> None:
    train(tiny_options(epochs=1, precision="bf16"))


@pytest.fixture(params=["spawn", "forkserver"])
def start_method(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start worker processes without fork, as macOS and Python 3.14 do."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_forkserver_preload(["model.training.trainer"])  # once, not in each worker
    multiprocessing.set_start_method(request.param, force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.usefixtures("start_method")
def test_worker_processes_need_no_fork(tiny_options: MakeOptions, own_folder: Path) -> None:
    (own_folder / "train" / "1").rename(own_folder / "outliers")
    shutil.copytree(own_folder / "train" / "2", own_folder / "train" / "1")
    folders = (Path("outliers"),)
    options = tiny_options(
        data=own_folder,
        ood_data=folders,
        paste_backgrounds=folders,
        corruption_prob=1.0,
        batch_size=36,
        epochs=1,
        warmup_epochs=0,
        workers=1,
    )
    assert len(rows(train(options).parent)) == 1


def test_a_missing_folder_is_named(tiny_options: MakeOptions, tmp_path: Path) -> None:
    with pytest.raises(PhotoFolderError, match="nowhere/train"):
        train(tiny_options(data=tmp_path / "nowhere"))


def test_a_class_without_photos_is_named(tiny_options: MakeOptions, own_folder: Path) -> None:
    for path in (own_folder / "train" / "21").iterdir():
        path.unlink()
    with pytest.raises(PhotoFolderError, match="21"):
        train(tiny_options(data=own_folder))


@pytest.mark.parametrize("part", ["train", "valid"])
def test_different_classes_in_train_and_valid_are_named(
    tiny_options: MakeOptions, own_folder: Path, part: str
) -> None:
    shutil.rmtree(own_folder / part / "100")
    with pytest.raises(PhotoFolderError, match="100"):
        train(tiny_options(data=own_folder))


def test_a_class_without_a_name_is_named(tiny_options: MakeOptions, own_folder: Path) -> None:
    (own_folder / "cat_to_name.json").write_text('{"1": "pink primrose"}')
    with pytest.raises(LabelsError, match="10, 100, 2, 21, 5"):
        train(tiny_options(data=own_folder))


def test_names_may_come_from_another_file(tiny_options: MakeOptions, own_folder: Path) -> None:
    (own_folder / "cat_to_name.json").rename(own_folder / "names.json")
    checkpoint = train(
        tiny_options(data=own_folder, category_names=own_folder / "names.json", epochs=1)
    )
    assert read_metadata(checkpoint).classes == TINY_CLASSES


@pytest.mark.parametrize(("part", "workers"), [("train", 1), ("valid", 0)])
def test_an_unreadable_photo_is_named(
    tiny_options: MakeOptions, own_folder: Path, part: str, workers: int
) -> None:
    photo = own_folder / part / "2" / "image_0.png"
    photo.write_bytes(photo.read_bytes()[:300])
    options = tiny_options(data=own_folder, epochs=1, workers=workers, check_photos="no")
    with pytest.raises(UnreadablePhotoError) as caught:
        train(options)
    assert str(caught.value).startswith(str(photo))
    assert "\n" not in str(caught.value)


@pytest.fixture
def damaged(own_folder: Path) -> list[Path]:
    """Damage two training photos and one validation photo."""
    paths = [
        own_folder / part / class_id / "image_1.png"
        for part, class_id in (("train", "1"), ("train", "2"), ("valid", "2"))
    ]
    for path in paths:
        path.write_bytes(path.read_bytes()[:300])
    return paths


def test_all_damaged_photos_are_listed_before_the_training(
    tiny_options: MakeOptions, own_folder: Path, damaged: list[Path]
) -> None:
    options = tiny_options(data=own_folder)
    with pytest.raises(UnreadablePhotosError) as caught:
        train(options)
    assert list(caught.value.paths) == damaged
    assert options.output is not None
    assert not options.output.exists()


def test_damaged_photos_are_skipped_on_request(
    tiny_options: MakeOptions,
    own_folder: Path,
    damaged: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (own_folder / "train" / "2" / "photo.heic").touch()
    (own_folder / "train" / "2" / "._image_0.png").write_bytes(b"metadata")
    options = tiny_options(data=own_folder, check_photos="skip")
    interrupted_run(options, monkeypatch)
    assert options.output is not None
    checkpoint = train(read_config(options.output), resume=True)
    metadata = read_metadata(checkpoint)
    assert (metadata.training["train_photos"], metadata.training["skipped_photos"]) == (34, 3)
    assert metadata.metrics["valid"]["n"] == 11
    out = capsys.readouterr().out
    assert all(str(path) in out for path in damaged)
    assert "1 .heic" in out
    assert "1 ._*" in out


def test_a_class_needs_a_readable_photo(tiny_options: MakeOptions, own_folder: Path) -> None:
    for path in (own_folder / "valid" / "21").iterdir():
        path.write_bytes(b"no photo")
    with pytest.raises(PhotoFolderError, match="21"):
        train(tiny_options(data=own_folder, check_photos="skip"))


def test_out_of_memory_names_the_option_to_lower(
    tiny_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("model.training.engine.functional.cross_entropy", exhausted)
    with pytest.raises(TrainingError, match="--batch-size"):
        train(tiny_options())


def test_a_loss_that_is_not_finite_stops_the_run(tiny_options: MakeOptions) -> None:
    with pytest.raises(TrainingError, match="--lr"):
        train(
            tiny_options(
                lr=1e30, optimizer="sgd", warmup_epochs=0, clip_grad=None, scheduler="none"
            )
        )  # fmt: skip


def test_a_missing_file_of_pretrained_weights_is_named(tiny_options: MakeOptions) -> None:
    with pytest.raises(BackboneError, match=r"nowhere\.safetensors"):
        train(tiny_options(from_scratch=False, pretrained_path=Path("nowhere.safetensors")))


def test_an_initial_checkpoint_includes_the_head(tiny_options: MakeOptions, tmp_path: Path) -> None:
    first = train(tiny_options(model_ema_decay=0.0))
    unchanged: dict[str, Any] = {
        "lr": 1e-12,
        "weight_decay": 0.0,
        "warmup_epochs": 0.0,
        "epochs": 1,
    }
    second = train(
        tiny_options(
            from_scratch=False,
            initial_checkpoint=first,
            output=tmp_path / "second",
            model_ema_decay=0.9,
            **unchanged,
        )
    )
    before, after = load_file(first), load_file(second)
    for name in ("classifier.weight", "conv_stem.weight"):
        torch.testing.assert_close(after[name], before[name])
    assert read_metadata(second).training["initial_checkpoint"] == "checkpoint.safetensors"


def test_an_initial_checkpoint_of_another_architecture_is_an_error(
    tiny_options: MakeOptions, tmp_path: Path
) -> None:
    first = train(tiny_options(epochs=1))
    options = tiny_options(
        from_scratch=False, initial_checkpoint=first, output=tmp_path / "second", hidden_layers=(8,)
    )
    with pytest.raises(TrainingError, match="--pretrained-path"):
        train(options)

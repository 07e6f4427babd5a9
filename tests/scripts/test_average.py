"""Command line of `average.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint.format import load_checkpoint, read_metadata, save_checkpoint
from scripts.average import main
from tests.conftest import TINY_CLASSES
from tests.fake_checkpoint import always, save_fake_checkpoint


@pytest.fixture
def ingredients(tiny_checkpoint: Path, tmp_path: Path) -> tuple[Path, Path]:
    network, metadata = load_checkpoint(tiny_checkpoint)
    weights = {name: tensor * 3 for name, tensor in network.state_dict().items()}
    save_checkpoint(tmp_path / "b.safetensors", weights, metadata)
    return tiny_checkpoint, tmp_path / "b.safetensors"


@pytest.mark.slow
def test_checkpoints_are_averaged_by_weight(ingredients: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = ingredients
    output = tmp_path / "new" / "soup.safetensors"
    assert main([f"{first}:0.75", f"{second}:0.25", "--output", str(output)]) == 0
    before, after = load_file(first), load_file(output)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        torch.testing.assert_close(after[name], (tensor * 1.5).to(tensor.dtype))
    metadata = read_metadata(output)
    assert metadata.temperature == 1
    assert metadata.ood_rule is None
    assert metadata.metrics == {}
    assert metadata.classes == TINY_CLASSES
    assert metadata.training["average"] == ["0.75 × tiny.safetensors", "0.25 × b.safetensors"]


@pytest.mark.slow
def test_the_average_of_one_checkpoint_has_its_weights(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    output = tmp_path / "soup.safetensors"
    assert main([f"{tiny_checkpoint}:1", "--output", str(output)]) == 0
    for name, tensor in load_file(tiny_checkpoint).items():
        torch.testing.assert_close(load_file(output)[name], tensor, rtol=0, atol=0)


def test_other_classes_are_refused(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_fake_checkpoint(
        tmp_path / "other.safetensors", always(0)[:5], classes=TINY_CLASSES[:5]
    )
    output = tmp_path / "soup.safetensors"
    assert main([f"{tiny_checkpoint}:0.5", f"{other}:0.5", "--output", str(output)]) == 1
    assert str(other) in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("arguments", [["a:0.5", "b:0.6"], ["a"], ["a:x"], ["a:0"], [":1"]])
def test_invalid_weights_are_exit_code_2(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--output", str(tmp_path / "soup.safetensors")])
    assert stopped.value.code == 2

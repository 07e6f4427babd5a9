"""How long a training step takes on this machine, from plain to what train.py does.

    one batch in memory -> forward, backward, optimizer -> images a second, and the ratio to float32

python benchmarks/training_step.py --backbone tf_efficientnet_lite2 --size 192
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from model.backbones import build_network, freeze_groups, set_train_mode
from model.checkpoint.architecture import Architecture
from model.training.depthwise import replace_depthwise

CLASSES = 102


def step_of(
    backbone: str, size: int, batch: int, *, bf16: bool, quick: bool, frozen: int
) -> Callable[[], None]:
    """Make a function that does one step."""
    torch.manual_seed(0)
    network = build_network(Architecture(backbone, CLASSES)).to(memory_format=torch.channels_last)
    freeze_groups(network, frozen)
    set_train_mode(network)
    if quick:
        replace_depthwise(network)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, CLASSES, (batch,))
    trained = [item for item in network.parameters() if item.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(network(images), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure a training step on the CPU.")
    parser.add_argument("--backbone", default="tf_efficientnet_lite2")
    parser.add_argument("--size", type=int, default=192, help="side of an image in pixels")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=4, help="steps of each, taken in turn")
    options = parser.parse_args()
    kinds = {
        "float32": {"bf16": False, "quick": False, "frozen": 0},
        "bfloat16": {"bf16": True, "quick": False, "frozen": 0},
        "bfloat16, quick depthwise gradients": {"bf16": True, "quick": True, "frozen": 0},
        "the same, three groups frozen": {"bf16": True, "quick": True, "frozen": 3},
    }
    steps = {
        name: step_of(options.backbone, options.size, options.batch, **kind)  # type: ignore[arg-type]
        for name, kind in kinds.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()  # the first makes its memory and its kernels
    for _ in range(options.rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)
    plain = statistics.median(seconds["float32"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"{options.batch / median:7.1f} images a second  {plain / median:5.2f} ×  {name}")


if __name__ == "__main__":
    main()

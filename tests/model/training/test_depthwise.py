"""Fast depthwise convolution, compared with PyTorch's."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.layers import Conv2dSame
from torch import nn

from model.training.depthwise import DepthwiseConv2d, is_depthwise, replace_depthwise


@pytest.mark.parametrize("size", [11, 12, 13])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("same", [False, True])
def test_outputs_and_gradients_match_the_original(
    same: bool, kernel: int, stride: int, size: int
) -> None:
    torch.manual_seed(0)
    kind = Conv2dSame if same else nn.Conv2d
    padding = 0 if same else kernel // 2
    original = kind(6, 6, kernel, stride, padding, groups=6, bias=True).double()
    fast = DepthwiseConv2d(copy.deepcopy(original))

    results = []
    for module in (original, fast):
        inputs = torch.linspace(-1, 1, 2 * 6 * size * size).reshape(2, 6, size, size).double()
        inputs.requires_grad_()
        outputs = module(inputs)
        outputs.backward(torch.cos(torch.arange(outputs.numel()).double()).view_as(outputs))
        assert module.weight.grad is not None
        assert module.bias is not None
        results.append((outputs, inputs.grad, module.weight.grad, module.bias.grad))

    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.slow
def test_gradients_of_a_network_match_under_autocast() -> None:
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=4).train()
    fast = copy.deepcopy(network)
    names = list(network.state_dict())

    assert replace_depthwise(fast) == sum(map(is_depthwise, network.modules())) > 10
    assert list(fast.state_dict()) == names

    inputs = torch.randn(4, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    losses = []
    for each in (network, fast):
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(each(inputs).float(), torch.arange(4))
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    torch.testing.assert_close(losses[1], losses[0], rtol=0.05, atol=0)
    first, second = (
        torch.cat([item.grad.flatten() for item in each.parameters() if item.grad is not None])
        for each in (network, fast)
    )
    assert torch.cosine_similarity(first, second, dim=0) > 0.98


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(6, 6, 3, groups=3),
        nn.Conv2d(6, 12, 3, groups=6),
        nn.Conv2d(6, 6, 1, groups=6),
        nn.Conv2d(6, 6, 3, groups=6, dilation=2),
        nn.Conv2d(6, 6, (3, 5), groups=6),
        nn.Conv2d(6, 6, 3, groups=6, padding=1, padding_mode="reflect"),
        nn.Linear(6, 6),
    ],
    ids=str,
)
def test_other_layers_are_not_replaced(module: nn.Module) -> None:
    assert not is_depthwise(module)

"""Depthwise convolutions with fast bfloat16 gradients on a CPU.

oneDNN has no fast bfloat16 kernel for two gradients of a depthwise convolution: with respect to the
input for a stride above 1, and with respect to kernels larger than 3×3. They take most of a
training step of an EfficientNet. This module expresses both by fast kernels:

- input gradient: a plain convolution of the output gradient, spread with zeros to stride 1, with
  the flipped kernel;
- kernel gradient: one depthwise convolution gradient on shifted inputs for each 3×3 part.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from torch import nn
from torch.nn import functional

_TILE: Final = 3  # kernel side with a fast weight gradient


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution with the output and gradients of the original, computed faster.

    Args:
        original: A module accepted by `is_depthwise`. Its parameters are shared.
    """

    def __init__(self, original: nn.Conv2d) -> None:
        super().__init__(
            original.in_channels,
            original.out_channels,
            original.kernel_size,  # type: ignore[arg-type]
            original.stride,  # type: ignore[arg-type]
            original.padding,  # type: ignore[arg-type]
            groups=original.groups,
            bias=original.bias is not None,
            device="meta",
        )
        self.weight, self.bias = original.weight, original.bias
        self._pads_by_size = isinstance(original, Conv2dSame)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Convolve float (N, C, H, W)."""
        padding = self.padding
        if self._pads_by_size:
            inputs = pad_same(inputs, list(self.kernel_size), list(self.stride))
            padding = (0, 0)
        output: torch.Tensor = _Depthwise.apply(inputs, self.weight, self.stride[0], padding[0])
        return output if self.bias is None else output + self.bias[:, None, None]


def is_depthwise(module: nn.Module) -> bool:
    """Return True for a depthwise convolution with a square, odd, undilated kernel."""
    return (
        type(module) in (nn.Conv2d, Conv2dSame)
        and isinstance(module, nn.Conv2d)
        and module.groups == module.in_channels == module.out_channels > 1
        and module.kernel_size[0] == module.kernel_size[1]
        and module.kernel_size[0] >= _TILE
        and module.kernel_size[0] % 2 == 1
        and module.stride[0] == module.stride[1]
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.padding[0] == module.padding[1] < module.kernel_size[0]
    )


def replace_depthwise(network: nn.Module) -> int:
    """Replace each depthwise convolution by a `DepthwiseConv2d`; return their number."""
    count = 0
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if is_depthwise(child):
                setattr(parent, name, DepthwiseConv2d(child))  # type: ignore[arg-type]
                count += 1
    return count


class _Depthwise(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(  # type: ignore[untyped-decorator]
        device_type="cpu", cast_inputs=torch.bfloat16
    )
    def forward(
        context: Any, inputs: torch.Tensor, weight: torch.Tensor, stride: int, padding: int
    ) -> torch.Tensor:
        context.save_for_backward(inputs, weight)
        context.stride, context.padding = stride, padding
        return functional.conv2d(inputs, weight, None, stride, padding, groups=inputs.shape[1])

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(
        context: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        inputs, weight = context.saved_tensors
        to_input, to_weight = context.needs_input_grad[:2]
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        return (
            _input_gradient(gradient, inputs.shape, weight, context.stride, context.padding)
            if to_input
            else None,
            _weight_gradient(gradient, inputs, weight, context.stride, context.padding)
            if to_weight
            else None,
            None,
            None,
        )


def _input_gradient(
    gradient: torch.Tensor, shape: torch.Size, weight: torch.Tensor, stride: int, padding: int
) -> torch.Tensor:
    kernel = weight.shape[-1]
    if stride > 1:
        count, channels, height, width = shape
        spread = torch.empty(
            (count, channels, height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1),
            dtype=gradient.dtype,
            device=gradient.device,
            memory_format=torch.channels_last,
        ).zero_()
        spread[:, :, ::stride, ::stride] = gradient
        gradient = spread
    return functional.conv2d(
        gradient, weight.flip(2, 3), None, 1, kernel - 1 - padding, groups=weight.shape[0]
    )


def _weight_gradient(
    gradient: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor, stride: int, padding: int
) -> torch.Tensor:
    kernel = weight.shape[-1]
    if kernel == _TILE:
        return _plain_weight_gradient(gradient, inputs, weight, stride, padding)
    padded = functional.pad(inputs, (padding,) * 4)
    rows, columns = ((size - 1) * stride + _TILE for size in gradient.shape[2:])
    result = torch.empty_like(weight)
    for top in range(0, kernel - 1, _TILE - 1):
        for left in range(0, kernel - 1, _TILE - 1):
            part = (..., slice(top, top + _TILE), slice(left, left + _TILE))
            shifted = padded[..., top : top + rows, left : left + columns]
            result[part] = _plain_weight_gradient(
                gradient,
                shifted.contiguous(memory_format=torch.channels_last),
                weight[part].contiguous(),
                stride,
                0,
            )
    return result


def _plain_weight_gradient(
    gradient: torch.Tensor, inputs: torch.Tensor, weight: torch.Tensor, stride: int, padding: int
) -> torch.Tensor:
    result: torch.Tensor = torch.ops.aten.convolution_backward(
        gradient,
        inputs,
        weight,
        None,
        [stride, stride],
        [padding, padding],
        [1, 1],
        False,
        [0, 0],
        weight.shape[0],
        [False, True, False],
    )[1]
    return result

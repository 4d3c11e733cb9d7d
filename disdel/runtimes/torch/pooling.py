"""Max pooling on a CPU that computes channels last, whatever the layout of what it pools.

PyTorch's own kernel of channels-first images takes one value after another; that of channels-last
ones takes a vector of channels at once, and is two to four times as quick, copies there and back
included. A network of the user's own cannot be given another layout unseen, since it may look at
it (`view`): so what it pools is copied, and what it gets has the layout and the values of PyTorch's
own.

Imports PyTorch; import it lazily.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

_OPERATOR = "max_pool2d_with_indices"
# Below, copies take as long as they spare.
_LEAST_CHANNELS = 4
_LEAST_VALUES = 1 << 14
# PyTorch's own; older ones have no way to it beside another, and pool as they do.
OWN = (
    torch.library.get_kernel(f"aten::{_OPERATOR}", "CPU")
    if hasattr(torch.library, "get_kernel")
    else None
)
_library: torch.library.Library | None = None


def pool_channels_last() -> None:
    """Have this process pool so, in modules and functions alike, where it can; once is enough."""
    global _library
    if _library is not None or OWN is None:
        return
    _library = torch.library.Library("aten", "IMPL")
    # Code of the user's may have put a kernel of its own there: that is what it gets.
    with warnings.catch_warnings(), contextlib.suppress(RuntimeError):
        # That it takes the place of PyTorch's own is what it is for.
        warnings.simplefilter("ignore")
        _library.impl(_OPERATOR, _pooled, "CPU", with_keyset=True, allow_override=False)


def _pooled(
    keys: torch._C.DispatchKeySet,
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    assert OWN is not None
    how = kernel_size, stride, padding, dilation, ceil_mode
    values: Tensor
    indices: Tensor
    if not _gains(x):
        values, indices = OWN.call_boxed(keys, x, *how)
        return values, indices
    values, indices = OWN.call_boxed(keys, x.contiguous(memory_format=torch.channels_last), *how)
    return _channels_first(values), _channels_first(indices)


def _gains(x: Tensor) -> bool:
    return bool(
        x.dim() == 4
        and x.shape[1] >= _LEAST_CHANNELS
        and x.numel() >= _LEAST_VALUES
        and x.is_contiguous()
        # An image of one value is both.
        and not x.is_contiguous(memory_format=torch.channels_last)
        and x.is_floating_point()
    )


def _channels_first(x: Tensor) -> Tensor:
    """A copy: `contiguous` leaves an image of one value as it is, and layers take that for channels
    last, and so make of it what cannot be viewed.
    """
    return torch.empty_like(x, memory_format=torch.contiguous_format).copy_(x)

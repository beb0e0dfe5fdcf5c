"""Entry checks and the precision rule of the losses. Checks read shapes, dtypes and Python numbers only, never the
values of a tensor, so that they cost no device synchronisation and work under torch.compile and torch.func."""

from collections.abc import Collection

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> Tensor:
    """Raise half precision to fp32; fp32 and fp64 stay as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def check_shapes(legend: str, **tensors: Tensor) -> None:
    """Refuse tensors that differ in shape or have another rank than the legend, such as "(B,)" or "(B, T)"."""
    rank = len([axis for axis in legend.strip("()").split(",") if axis.strip()])
    first_name, first = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        if tensor.dim() != rank:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, wanted {legend}: reshape it before the loss")
        if tensor.shape != first.shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)} but {first_name} has {tuple(first.shape)}, "
                f"both must be {legend}: pass one value for each of the same examples"
            )


def check_floating(**tensors: Tensor) -> None:
    """Refuse tensors that do not hold floating-point numbers."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name} holds {tensor.dtype}, wanted a floating-point tensor: convert it with .float()")


def check_mask(mask: Tensor) -> Tensor:
    """Return the mask as booleans; refuse floats, which may be weights and would silently count as 1."""
    if mask.is_floating_point() or mask.is_complex():
        raise ValueError(f"mask holds {mask.dtype}, wanted booleans or 0/1 integers: compare it first (mask > 0)")
    return mask.bool()


def check_number(
    name: str, value: float, *, above: float | None = None, at_least: float | None = None, at_most: float | None = None
) -> None:
    """Refuse a hyper-parameter outside its range (NaN is outside every range)."""
    if above is not None and not value > above:
        raise ValueError(f"{name} is {value}, wanted a number above {above}: change {name} in the config")
    if at_least is not None and not value >= at_least:
        raise ValueError(f"{name} is {value}, wanted at least {at_least}: change {name} in the config")
    if at_most is not None and not value <= at_most:
        raise ValueError(f"{name} is {value}, wanted at most {at_most}: change {name} in the config")


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Refuse a name that is not offered, and list those that are."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, wanted one of {', '.join(sorted(choices))}: change {name}")

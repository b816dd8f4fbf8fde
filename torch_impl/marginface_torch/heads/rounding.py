"""Half precision in a head: matrix products of rounded factors, and weights rounded at random."""

from __future__ import annotations

import torch
from torch import Tensor

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}  # by `HeadPlan.precision`


def rounded_matmul(
    a: Tensor, b: Tensor, half: torch.dtype | None, out: Tensor | None = None
) -> Tensor:
    """Return a @ b, where `half` is given of both rounded to that type; sums stay wide.

    The exponents of float16 do not reach far. So each row of a, and b as a whole, is divided by a
    power of two that brings its largest value into [1, 2); 24 binary places are left below that.
    Powers of two are exact.

    Args:
        a: [rows, inner].
        b: [inner, columns].
        half: the type of the factors; None for theirs.
        out: where the product is written; None for a new tensor.
    """
    if half is None:
        return torch.mm(a, b, out=out)
    narrow_a, narrow_b, scale = a, b, None
    if half is torch.float16:
        a_scale = _power_of_two(a.abs().amax(1, keepdim=True))
        b_scale = _power_of_two(b.abs().amax())
        narrow_a, narrow_b, scale = a / a_scale, b / b_scale, a_scale * b_scale
    narrow_a, narrow_b = narrow_a.to(half), narrow_b.to(half)
    if a.is_cuda and a.dtype is torch.float32:
        product = torch.mm(narrow_a, narrow_b, out_dtype=a.dtype, out=out)
    else:  # no kernel sums wider than its factors are; widened ones give the same numbers
        product = torch.mm(narrow_a.to(a.dtype), narrow_b.to(a.dtype), out=out)
    return product if scale is None else product.mul_(scale)


def _power_of_two(highest: Tensor) -> Tensor:
    """Return the power of two at or below each value; 1 for 0."""
    return torch.exp2(torch.where(highest > 0, highest, 1).log2().floor())


def stochastic_round(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert values to another type; float32 to bfloat16 up or down at random, right on average.

    Rounding to the nearest would lose every step below 1/512 of a weight.
    """
    if dtype is not torch.bfloat16 or values.dtype is not torch.float32:
        return values.to(dtype)
    bits = values.view(torch.int32)  # bfloat16 is the upper half of these bits
    bits = bits + torch.randint_like(bits, 2**16)
    return bits.bitwise_and_(-(2**16)).view(torch.float32).to(dtype)

"""The types of numbers to compute in, and where torch can."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.amp.autocast_mode import is_autocast_available
from treadle.authoring import by_name
from treadle.errors import ArgumentTypeError, ArgumentValueError

#: By the name that a user writes.
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

#: What others call them.
ALIASES = {
    "bf16": ("bfloat16", "bf", "bf16-mixed", "torch.bfloat16", "brainfloat16"),
    "fp16": ("float16", "half", "f16", "16", "16-mixed", "fp16-mixed", "torch.float16", "float16-mixed"),
}


def dtype_name(dtype: Any) -> str:
    """The name of a type, which is one of those that there are.

    Raises:
        ArgumentTypeError: if it is not a text.
        ArgumentValueError: if there is no such type.
    """
    if isinstance(dtype, str) and dtype in DTYPES:
        return dtype
    meant = next((name for name, aliases in ALIASES.items() if str(dtype).lower() in (name, *aliases)), None)
    guess = f" Did you mean `{meant}`?" if meant else ""
    error = ArgumentValueError if isinstance(dtype, str) else ArgumentTypeError
    raise error(
        f"MixedPrecision(dtype) has an invalid value: {dtype!r}.{guess}\n"
        f'Fix: pass "bf16" or "fp16":\n    MixedPrecision("{meant or "bf16"}")'
    )


def first_parameter(model: Any) -> torch.Tensor:
    """The first parameter of a model, or of several, which shows on which device it computes."""
    for module in by_name(model).values():
        for parameter in module.parameters():
            found: torch.Tensor = parameter
            return found
    return torch.empty(0)


def check_autocast(device: torch.device, dtype: str) -> None:
    """Refuse a device on which torch has no autocast, or none to this type.

    Raises:
        ArgumentValueError: naming the device.
    """
    problem = "torch has no autocast there"
    if is_autocast_available(device.type):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # by which torch says that it will compute in float32
                torch.autocast(device.type, DTYPES[dtype])
            return
        except (RuntimeError, UserWarning) as error:
            problem = " ".join(str(error).split()).rstrip(".")
    other = next(name for name in DTYPES if name != dtype)
    raise ArgumentValueError(
        f'MixedPrecision("{dtype}") cannot be used on {device.type}: {problem}.\n'
        f"Fix: leave MixedPrecision out, or move the model to a device that has it, such as cuda or cpu.\n"
        f'Or try the other type:\n    MixedPrecision("{other}")'
    )


def check_parameters(model: Any) -> None:
    """Refuse trained parameters that are float16 themselves: torch unscales no gradients of that type.

    Raises:
        ArgumentValueError: naming the first of them.
    """
    for name, module in by_name(model).items():
        for parameter_name, parameter in module.named_parameters():
            path = f"{name}.{parameter_name}" if name else parameter_name
            if parameter.requires_grad and parameter.is_complex():
                raise ArgumentValueError(
                    f'MixedPrecision("fp16") cannot train the parameter `{path}`, which is complex: torch unscales no '
                    f"such gradients.\n"
                    f'Fix: compute in bfloat16, which needs no scaler:\n    MixedPrecision("bf16")'
                )
            if parameter.requires_grad and parameter.dtype is torch.float16:
                raise ArgumentValueError(
                    f'MixedPrecision("fp16") cannot train the parameter `{path}`, which is float16: its gradients '
                    f"would be too, and cannot be unscaled.\n"
                    f"Fix: keep the parameters in float32; autocast computes in float16 all the same:\n"
                    f"    model.float()"
                )

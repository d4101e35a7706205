"""The options of `torch.compile`, as both callbacks take them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from treadle.errors import ArgumentTypeError, did_you_mean


def checked_options(options: Mapping[str, Any], callback: str, *, without: Mapping[str, str]) -> dict[str, Any]:
    """Options for `torch.compile`, refused if it has no such option.

    Args:
        callback: Who takes them.
        without: Options that cannot be passed, each with the reason.
    """
    known = [name for name in inspect.signature(torch.compile).parameters if name not in {"model", *without}]
    for name in options:
        if name in without:
            raise ArgumentTypeError(f"{callback} takes no option {name!r}: {without[name]}\nFix: leave it out.")
        if name not in known:
            raise ArgumentTypeError(
                f"torch.compile has no option {name!r}. {did_you_mean(name, known)}\n"
                f'Fix: pass one that it has:\n    {callback}(mode="max-autotune-no-cudagraphs")'
            )
    return dict(options)

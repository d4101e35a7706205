"""Gradients that torch cannot compute with, as an error that says which and what to do."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from treadle import Callback
from treadle.errors import CallbackError


class refused_if_unusual:
    """Say that a gradient is sparse or complex, where torch says that it does not have the function.

    Args:
        callback: Who cannot use such gradients.

    Raises:
        CallbackError: with the fix.
    """

    __slots__ = ("callback", "parameters")

    def __init__(self, callback: Callback, parameters: Iterable[nn.Parameter]) -> None:
        self.callback, self.parameters = callback, parameters

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, NotImplementedError):
            return
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if any(gradient.layout != torch.strided for gradient in gradients):
            raise not_sparse(self.callback.name) from error
        if any(gradient.is_complex() for gradient in gradients):
            raise CallbackError(
                f"{self.callback.name} takes gradients of real numbers, and a parameter of the model is complex.\n"
                f"Fix: use its real and imaginary parts as parameters, by torch.view_as_real, or leave it out."
            ) from error


def not_sparse(what: str) -> CallbackError:
    """The error for gradients that are sparse."""
    return CallbackError(
        f"{what} takes gradients that are not sparse, and an embedding gives such.\n"
        f"Fix: build it without them:\n    torch.nn.Embedding(..., sparse=False)"
    )

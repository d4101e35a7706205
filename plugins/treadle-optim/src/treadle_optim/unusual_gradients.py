"""Gradients that torch cannot compute with, as an error that says which and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from treadle.errors import CallbackError


@contextmanager
def refused_if_unusual(what: str, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Say that a gradient is sparse or complex, where torch says that it does not have the function.

    Args:
        what: Who cannot use such gradients, for the message.

    Raises:
        CallbackError: with the fix.
    """
    try:
        yield
    except NotImplementedError as error:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if any(gradient.layout != torch.strided for gradient in gradients):
            raise not_sparse(what) from error
        if any(gradient.is_complex() for gradient in gradients):
            raise CallbackError(
                f"{what} takes gradients of real numbers, and a parameter of the model is complex.\n"
                f"Fix: use its real and imaginary parts as parameters, by torch.view_as_real, or leave it out."
            ) from error
        raise


def not_sparse(what: str) -> CallbackError:
    """The error for gradients that are sparse."""
    return CallbackError(
        f"{what} takes gradients that are not sparse, and an embedding gives such.\n"
        f"Fix: build it without them:\n    torch.nn.Embedding(..., sparse=False)"
    )

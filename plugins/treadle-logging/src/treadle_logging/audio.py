"""`Audio`: sound to log."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from typing import Any

import torch
from treadle.authoring import whole_number
from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_logging.loggable import Loggable, as_tensor

LOUDEST = 2**15 - 1


@dataclass(frozen=True, eq=False)
class Audio(Loggable):
    """A sound.

    Args:
        data: The samples, of shape (samples,) or (channels, samples); floats in [-1, 1], or int16.
            Kept on the CPU as float32, of shape (channels, samples).
        sample_rate: Samples in a second, in hertz.

    Raises:
        ArgumentTypeError: for another type of numbers or of rate.
        ArgumentValueError: for another shape or range, for NaN, or for a rate below one.

    Example:
        >>> Audio([0.0, 0.5, -1.0], 8000).data.shape
        torch.Size([1, 3])
    """

    data: Any
    sample_rate: int

    def __post_init__(self) -> None:
        data = as_tensor(self.data, "Audio")
        rate = whole_number(self.sample_rate, "Audio(sample_rate)", "Audio(data, 44100)", least=1)
        object.__setattr__(self, "sample_rate", rate)
        object.__setattr__(self, "data", samples := _samples(data))
        if 2 * rate * len(samples) >= 2**32:
            raise ArgumentValueError(
                f"Audio(sample_rate) has an invalid value: a WAV file cannot hold {rate} samples in a second.\n"
                f"Fix: pass the rate in hertz:\n    Audio(data, 44100)"
            )

    @property
    def wav(self) -> bytes:
        """The sound as the content of a WAV file, 16 bits a sample."""
        samples: torch.Tensor = (self.data * LOUDEST).round().to(torch.int16)
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(len(samples))
            file.setsampwidth(2)
            file.setframerate(self.sample_rate)
            file.writeframes(bytes(samples.t().flatten().view(torch.uint8).tolist()))
        return buffer.getvalue()


def _samples(data: torch.Tensor) -> torch.Tensor:
    shape = tuple(data.shape)
    if data.ndim == 1:
        data = data[None]
    if data.ndim != 2 or data.numel() == 0 or data.shape[0] > data.shape[1]:
        transposed = "the channels seem to come last; swap them:\n    Audio(data.T, rate)"
        fix = transposed if data.ndim == 2 else "log each sound on its own:\n    Audio(data[0], rate)"
        raise ArgumentValueError(
            f"Audio(data) must have the shape (samples,) or (channels, samples), not {shape}.\nFix: {fix}"
        )
    if data.dtype == torch.int16:
        return (data.cpu() / LOUDEST).clamp(-1, 1)
    if not data.is_floating_point():
        raise ArgumentTypeError(
            f"Audio(data) must be floats in [-1, 1] or int16, not {data.dtype}.\n"
            f"Fix: convert them:\n    Audio(data.float(), rate)"
        )
    data = data.to("cpu", torch.float32)
    loudest = data.abs().max().item()
    if not loudest <= 1:
        raise ArgumentValueError(
            f"Audio(data) must be floats in [-1, 1], and the loudest of these is {loudest:.4g}.\n"
            f"Fix: make it quieter, or clip it with data.clamp(-1, 1):\n    Audio(data / data.abs().max(), rate)"
        )
    return data.clone()

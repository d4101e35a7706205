"""`Image`: a picture to log, from a tensor, an array, a PIL image or a matplotlib figure."""

from __future__ import annotations

import builtins
import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_logging.loggable import Loggable, as_tensor

#: How far interpolation and colour arithmetic overshoot the range through rounding alone.
ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class Image(Loggable):
    """A picture.

    Args:
        data: A tensor or array of shape (channels, height, width) with 1 (grey), 3 (red, green, blue)
            or 4 (and opacity) channels; floats in [0, 1], or bytes (uint8). Kept on the CPU, as
            float32 or uint8.

    Raises:
        ArgumentTypeError: for another type of numbers.
        ArgumentValueError: for another shape or range, or for NaN.

    Example:
        >>> Image(torch.tensor([[[0.0, 0.5, 1.0]]])).bytes
        tensor([[[  0, 128, 255]]], dtype=torch.uint8)
    """

    data: Any

    def __post_init__(self) -> None:
        data = as_tensor(self.data, "Image")
        _check_shape(tuple(data.shape))
        if data.dtype == torch.uint8:
            data = data.cpu().clone()
        elif data.is_floating_point():
            data = _in_range(data.to("cpu", torch.float32))
        else:
            raise ArgumentTypeError(
                f"Image(data) must be floats in [0, 1] or uint8, not {data.dtype}.\n"
                f"Fix: convert it, with data.float() if it has only 0 and 1:\n    Image(data.to(torch.uint8))"
            )
        object.__setattr__(self, "data", data)

    @property
    def bytes(self) -> torch.Tensor:
        """The picture as uint8, of shape (channels, height, width); floats are rounded to the nearest."""
        data: torch.Tensor = self.data
        return data if data.dtype == torch.uint8 else (data * 255).round().to(torch.uint8)

    @property
    def png(self) -> builtins.bytes:
        """The picture as the content of a PNG file, without loss."""
        channels, height, width = self.bytes.shape
        rows = self.bytes.permute(1, 2, 0).reshape(height, -1)
        filtered = torch.cat([torch.zeros(height, 1, dtype=torch.uint8), rows], dim=1)  # each row says: no filter
        kind = {1: 0, 3: 2, 4: 6}[channels]
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in (
                (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)),
                (b"IDAT", zlib.compress(builtins.bytes(filtered.flatten().tolist()))),
                (b"IEND", b""),
            )
        )


def to_image(data: Any) -> Image:
    """A tensor or array, a PIL image, or a matplotlib figure as an `Image`.

    Args:
        data: Any of these, or an `Image`, which is returned as it is. A figure is neither changed nor
            closed.

    Raises:
        ArgumentTypeError: if it is none of them.
        ArgumentValueError: if it is a tensor or array that is not a picture.

    Example:
        >>> from matplotlib.figure import Figure
        >>> to_image(Figure(figsize=(2, 1), dpi=50)).data.shape
        torch.Size([4, 50, 100])
    """
    if isinstance(data, Image):
        return data
    if callable(getattr(data, "savefig", None)):
        return _from_figure(data)
    if callable(getattr(data, "getbands", None)):
        return _from_pil(data)
    return Image(data)


def _from_figure(figure: Any) -> Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=figure.dpi)  # whatever canvas the figure has, this is Agg's
    width, height = (int(inches * figure.dpi) for inches in figure.get_size_inches())
    return Image(_pixels(buffer.getvalue(), height, width))


def _from_pil(picture: Any) -> Image:
    if picture.mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("RGBA" if "transparency" in picture.info or "A" in picture.mode else "RGB")
    return Image(_pixels(picture.tobytes(), picture.height, picture.width))


def _pixels(content: bytes, height: int, width: int) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(height, width, -1).permute(2, 0, 1)


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) == 3 and shape[0] in (1, 3, 4) and shape[1] > 0 and shape[2] > 0:
        return
    if len(shape) == 2:
        fix = "a grey picture needs its one channel in front:\n    Image(data[None])"
    elif len(shape) == 4:
        fix = "this looks like a batch; log one picture of it:\n    Image(data[0])"
    elif len(shape) == 3 and shape[2] in (1, 3, 4):
        fix = "the channels seem to come last; move them:\n    Image(data.permute(2, 0, 1))"
    else:
        fix = "use 1 channel (grey), 3 (red, green, blue) or 4 (and opacity)."
    raise ArgumentValueError(f"Image(data) must have the shape (channels, height, width), not {shape}.\nFix: {fix}")


def _in_range(data: torch.Tensor) -> torch.Tensor:
    low, high = data.min().item(), data.max().item()
    if low >= -ROUNDING and high <= 1 + ROUNDING:
        return data.clamp(0, 1)
    if not data.isnan().any():
        raise ArgumentValueError(
            f"Image(data) must be floats in [0, 1], and these go from {low:.4g} to {high:.4g}.\n"
            f"Fix: clip them with data.clamp(0, 1), or stretch them:\n"
            f"    Image((data - data.min()) / (data.max() - data.min()))"
        )
    raise ArgumentValueError("Image(data) has NaN values.\nFix: show them as black:\n    Image(data.nan_to_num())")

"""`Loggable`: a piece of data that a backend can log; and the simple kinds of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from treadle import TreadleError
from treadle.authoring import file_path, instance_of
from treadle.errors import ArgumentTypeError, ArgumentValueError


class UnreadableFileError(TreadleError, OSError):
    """The content of a `File` cannot be read."""


class Loggable:
    """Data of a kind that backends know how to show. Subclass it for a kind of your own.

    Example:
        >>> from treadle_logging import LoggerBackend, log_to
        >>> class Link(Loggable):
        ...     def __init__(self, url):
        ...         self.url = url
        >>> class Lines(LoggerBackend):
        ...     supported = (Link,)
        ...     def log(self, loggable, name, i, group):
        ...         print(i, self.tag(name, group), loggable.url)
        >>> log_to(Lines(), Link("https://example.org/data"), "Source", 1, group="Data")
        1 Data/Source https://example.org/data
    """


@dataclass(frozen=True)
class Value(Loggable):
    """One number.

    Args:
        data: A number, or a tensor or array with one element. A tensor is read when a backend
            reads `number`, not before.

    Raises:
        ArgumentTypeError: if it is not a single real number.

    Example:
        >>> Value(torch.tensor([0.5])).number
        0.5
    """

    data: Any

    def __post_init__(self) -> None:
        if type(self.data) is not float:
            object.__setattr__(self, "data", _one_number(self.data))

    @property
    def number(self) -> float:
        """The number as a Python float; waits for the device if the number is on one."""
        return float(self.data)


@dataclass(frozen=True)
class Text(Loggable):
    """A text, in Markdown where the backend shows that.

    Raises:
        ArgumentTypeError: if it is not a `str`.
        ArgumentValueError: if it has characters that no file can hold (half of a surrogate pair).

    Example:
        >>> from treadle_logging import CSVBackend, log_to
        >>> with CSVBackend("notes.csv") as backend:
        ...     log_to(backend, Text("a *smaller* net"), "Note", 1)
        >>> print(Path("notes.csv").read_text())
        tag,iteration,value
        Note,1,a *smaller* net
    """

    data: str

    def __post_init__(self) -> None:
        text(self.data, "Text(data)", "Text(str(data))")


@dataclass(frozen=True, eq=False)
class Histogram(Loggable):
    """Numbers of which the distribution matters.

    Args:
        data: A tensor, an array or nested lists of real numbers, of any shape.

    Raises:
        ArgumentTypeError: if these are not real numbers.
        ArgumentValueError: if there are none.

    Example:
        >>> Histogram([[1, 2], [3, 4]]).values
        tensor([1., 2., 3., 4.])
    """

    data: Any

    def __post_init__(self) -> None:
        data = as_tensor(self.data, "Histogram")
        if data.numel() == 0:
            raise ArgumentValueError("Histogram(data) has no numbers.\nFix: leave it out when there are none.")
        object.__setattr__(self, "data", data)

    @property
    def values(self) -> torch.Tensor:
        """The numbers as one row on the CPU: float64 if `data` are, otherwise float32."""
        data: torch.Tensor = self.data
        dtype = data.dtype if data.dtype == torch.float64 else torch.float32
        return data.reshape(-1).to("cpu", dtype)

    def bins(self, count: int = 64) -> tuple[list[int], list[float]]:
        """How many of the finite numbers fall into bins of equal width, and the edges of the bins, one more.

        Without a finite number every bin is empty, and their edges are from 0 to 1.

        Example:
            >>> Histogram([0.0, 1.0, 3.0, 4.0, float("nan")]).bins(2)
            ([2, 2], [0.0, 2.0, 4.0])
        """
        values = self.values.double()
        finite = values[torch.isfinite(values)]
        if not len(finite):
            return [0] * count, torch.linspace(0, 1, count + 1).tolist()
        counts, edges = torch.histogram(finite, count)
        return [int(number) for number in counts.tolist()], edges.tolist()


@dataclass(frozen=True, eq=False)
class Graph(Loggable):
    """The computation of a model, as a graph of its operations.

    Args:
        model: The model.
        inputs: What to call it with: a tensor, or a tuple of several.

    Raises:
        ArgumentTypeError: if `model` is not a module, or `inputs` not a tensor or tuple of tensors.

    Example:
        >>> from treadle_logging import LoggerBackend, log_to
        >>> class Layers(LoggerBackend):
        ...     supported = (Graph,)
        ...     def log(self, loggable, name, i, group):
        ...         print(name, loggable.model, tuple(loggable.model(loggable.inputs).shape))
        >>> log_to(Layers(), Graph(torch.nn.Flatten(), torch.ones(4, 2, 3)), "Model", 1)
        Model Flatten(start_dim=1, end_dim=-1) (4, 6)
    """

    model: torch.nn.Module
    inputs: torch.Tensor | tuple[torch.Tensor, ...]

    def __post_init__(self) -> None:
        instance_of(self.model, "Graph(model)", torch.nn.Module, "Graph(learner.model, inputs)")
        inputs = self.inputs if isinstance(self.inputs, tuple) else (self.inputs,)
        if not inputs or not all(isinstance(tensor, torch.Tensor) for tensor in inputs):
            raise ArgumentTypeError(
                f"Graph(inputs) must be a tensor or a tuple of tensors, got a {type(self.inputs).__name__}.\n"
                f"Fix: pass what the model is called with:\n    Graph(model, learner.step.xs)"
            )


@dataclass(frozen=True)
class File(Loggable):
    """A file, by its name and its content.

    Args:
        file: Its path or name.
        data: Its content. Default: read from `file`.

    Raises:
        ArgumentTypeError: if `file` is not a path, or `data` neither `bytes` nor `str`.
        UnreadableFileError: if the content cannot be read from `file`.

    Example:
        >>> File("notes.txt", "tried a smaller net").text
        'tried a smaller net'
    """

    file: str | Path
    data: bytes | str | None = None

    def __post_init__(self) -> None:
        path = file_path(self.file, "File(file)", "File('notes.txt', 'text')")
        if self.data is None:
            object.__setattr__(self, "data", _content(path))
        elif not isinstance(self.data, str | bytes):
            raise ArgumentTypeError(
                f"File(data) must be bytes or str, got a {type(self.data).__name__}.\n"
                f"Fix: convert it:\n    File({str(self.file)!r}, bytes(data))"
            )

    @property
    def text(self) -> str | None:
        """The content as text, or None where it is not UTF-8."""
        if isinstance(self.data, str):
            return self.data
        try:
            return (self.data or b"").decode()
        except UnicodeDecodeError:
            return None


def text(value: Any, name: str, example: str) -> str:
    """The value, which is a text that can be written to a file.

    Raises:
        ArgumentTypeError: if it is not a `str`.
        ArgumentValueError: if it has half of a surrogate pair.
    """
    instance_of(value, name, str, example)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ArgumentValueError(
            f"{name} has an invalid value: {value!r:.60} has a character that no file can hold, at {error.start}.\n"
            f"Fix: replace what is not a character:\n    text.encode(errors='replace').decode()"
        ) from error
    return str(value)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise UnreadableFileError(
            f"File(file) cannot be read from {str(path)!r}: {getattr(error, 'strerror', None) or error}.\n"
            f"Fix: correct the path, or pass the content as well:\n    File({path.name!r}, content)"
        ) from error


def as_tensor(data: Any, owner: str) -> torch.Tensor:
    """Real numbers (a tensor, an array, a number or nested lists) as a tensor without a gradient, on its device.

    Args:
        owner: The name of the loggable, for the message.

    Raises:
        ArgumentTypeError: if these are not real numbers.
    """
    if not isinstance(data, str | bytes | Mapping | None):
        try:
            tensor = torch.as_tensor(data).detach()
        except (TypeError, ValueError, RuntimeError):
            pass
        else:
            if not tensor.is_complex():
                return tensor
    raise ArgumentTypeError(
        f"{owner}(data) must be a tensor or array of real numbers, got {_described(data)}.\n"
        f"Fix: convert it, or use another loggable, such as Text."
    )


def _one_number(data: Any) -> float | torch.Tensor:
    if isinstance(data, torch.Tensor) and data.numel() == 1 and not data.is_complex():
        return data.detach().reshape(())
    if not isinstance(data, torch.Tensor | str | bytes | complex):
        try:
            return float(data.item() if hasattr(data, "item") else data)  # an array or a number
        except (TypeError, ValueError, OverflowError):
            pass
    raise ArgumentTypeError(
        f"Value(data) must be one real number, got {_described(data)}.\nFix: use another loggable (Text, Image, "
        f"Audio, Histogram), or reduce the data:\n    Value(data.mean())"
    )


def _described(data: Any) -> str:
    shape = getattr(data, "shape", None)
    if shape is None:
        return f"{type(data).__name__} {data!r:.60}"
    return f"{type(data).__name__} of shape {tuple(shape)} and {getattr(data, 'dtype', '')}"

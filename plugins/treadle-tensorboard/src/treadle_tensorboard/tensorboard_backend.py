"""`TensorBoardBackend`: event files that TensorBoard shows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from os import PathLike, fspath
from typing import Any

import torch
from loguru import logger
from torch.utils.tensorboard import SummaryWriter
from treadle.errors import ArgumentTypeError, did_you_mean
from treadle_logging import (
    Audio,
    BackendClosedError,
    File,
    Graph,
    Histogram,
    Image,
    Loggable,
    LoggerBackend,
    Text,
    UnsupportedLoggable,
    Value,
)

from treadle_tensorboard.protos import add_audio, add_graph

#: What `SummaryWriter` takes besides the folder.
OPTIONS = tuple(name for name in inspect.signature(SummaryWriter).parameters if name != "log_dir")


class TensorBoardBackend(LoggerBackend):
    """Write loggables to event files; `tensorboard --logdir <logdir>` shows them.

    The tag is the groups and the name joined by `/`. Numbers are stored as 32-bit floats, as
    TensorBoard does; a `Text` gets the tag `<tag>/text_summary`; a `File` is shown as text if it is
    one, and otherwise not supported; a `Graph` has neither tag nor iteration, and the last one
    counts. In a histogram only finite numbers are counted.

    Args:
        logdir: The folder of the run; made if it is not there. A folder for each run lets TensorBoard
            compare them.
        **options: What else `torch.utils.tensorboard.SummaryWriter` takes: `purge_step`,
            `max_queue`, `flush_secs`, `filename_suffix`.

    Raises:
        ArgumentTypeError: if `logdir` is no path, or `SummaryWriter` takes no such option.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_logging import LogMetrics
        >>> from treadle_metrics import Metrics, Recorder
        >>> with TensorBoardBackend("runs/toy") as backend:
        ...     _ = toy_learner(Recorder(), Metrics(), LogMetrics(backend)).fit(1)
    """

    def __init__(self, logdir: str | PathLike[str], **options: Any) -> None:
        if not isinstance(logdir, str | PathLike) or not fspath(logdir):
            raise ArgumentTypeError(f'TensorBoardBackend needs a folder, got {logdir!r}: TensorBoardBackend("runs/1")')
        for option in options:
            if option not in OPTIONS:
                raise ArgumentTypeError(
                    f"TensorBoardBackend has no option `{option}`, since SummaryWriter has none. "
                    f"{did_you_mean(option, OPTIONS)}"
                )
        self.logdir = fspath(logdir)
        self._writer: SummaryWriter | None = SummaryWriter(self.logdir, **options)
        self._not_finite: set[str] = set()
        self._log: dict[type[Loggable], Callable[[SummaryWriter, Any, str, int], None]] = {
            Value: self._value,
            Text: self._text,
            Image: self._image,
            Audio: self._audio,
            Histogram: self._histogram,
            Graph: self._graph,
            File: self._file,
        }

    supported = (Value, Text, Image, Audio, Histogram, Graph, File)

    def log(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        kind = next(kind for kind in self._log if isinstance(loggable, kind))
        self._log[kind](self._open(), loggable, self.tag(name, group), i)

    def flush(self) -> None:
        self._open().flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> SummaryWriter:
        if self._writer is None:
            raise BackendClosedError(
                f"The TensorBoardBackend of {self.logdir} was closed. A new one adds to the same run: "
                f"TensorBoardBackend({self.logdir!r})"
            )
        return self._writer

    def _value(self, writer: SummaryWriter, value: Value, tag: str, i: int) -> None:
        writer.add_scalar(tag, value.number, i)

    def _text(self, writer: SummaryWriter, text: Text, tag: str, i: int) -> None:
        writer.add_text(tag, text.data, i)

    def _image(self, writer: SummaryWriter, image: Image, tag: str, i: int) -> None:
        writer.add_image(tag, image.bytes, i)

    def _audio(self, writer: SummaryWriter, audio: Audio, tag: str, i: int) -> None:
        add_audio(writer, audio, tag, i)

    def _histogram(self, writer: SummaryWriter, histogram: Histogram, tag: str, i: int) -> None:
        values = histogram.values
        finite = values[torch.isfinite(values)]
        if len(finite) < len(values) and tag not in self._not_finite:
            self._not_finite.add(tag)
            logger.warning(
                f"The histogram {tag!r} has numbers that are not finite, {len(values) - len(finite)} of "
                f"{len(values)} at {i}; TensorBoard's histograms leave them out."
            )
        if len(finite):
            writer.add_histogram(tag, finite, i)

    def _graph(self, writer: SummaryWriter, graph: Graph, tag: str, i: int) -> None:
        add_graph(writer, graph)

    def _file(self, writer: SummaryWriter, file: File, tag: str, i: int) -> None:
        text = file.text
        if text is None:
            raise UnsupportedLoggable(f"TensorBoard shows text, and the content of {file.file} is none.")
        writer.add_text(tag, f"**{file.file}**\n\n" + "".join(f"    {line}\n" for line in text.splitlines()), i)

"""`TensorBoardBackend`: event files that TensorBoard shows."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from torch.utils.tensorboard import SummaryWriter
from treadle.authoring import did_you_mean, file_path, instance_of, preserved_random_state, real_number, whole_number
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import (
    Audio,
    BackendClosedError,
    File,
    Graph,
    Histogram,
    HyperParams,
    Image,
    LogChangedError,
    Loggable,
    LoggerBackend,
    Text,
    UnsupportedLoggable,
    Value,
)
from treadle_logging.backend import path_errors

from treadle_tensorboard.event_files import cut, lengths, missing, new_writer

#: What `SummaryWriter` takes besides the folder.
OPTIONS = tuple(name for name in inspect.signature(SummaryWriter).parameters if name != "log_dir")

#: The options that are checked: a guard, and a value that is valid.
CHECKS: tuple[tuple[str, Callable[[Any, str, str], object], object], ...] = (
    ("max_queue", partial(whole_number, least=0), 10),
    ("flush_secs", partial(real_number, least=0), 120),
    ("purge_step", partial(whole_number, least=0), 501),
    ("filename_suffix", lambda value, name, example: instance_of(value, name, str, example), ".resumed"),
    ("comment", lambda value, name, example: instance_of(value, name, str, example), "-1"),
)


class TensorBoardBackend(LoggerBackend):
    """Write loggables to event files; `tensorboard --logdir <logdir>` shows them.

    The tag is the groups and the name joined by `/`. Numbers are stored as 32-bit floats, as
    TensorBoard does; a `Text` gets the tag `<tag>/text_summary`; a `File` is shown if it is text, and
    otherwise not supported; a `Graph` has neither tag nor iteration, and the last one counts. In a
    histogram only finite numbers are counted. `HyperParams` make the run a row of the HParams tab.

    Args:
        logdir: The folder of the run; created if it does not exist. With a folder for each run,
            TensorBoard compares them.
        **options: The other options of `torch.utils.tensorboard.SummaryWriter`: `purge_step`,
            `max_queue`, `flush_secs`, `filename_suffix`.

    Raises:
        ArgumentTypeError: if `logdir` is not a path, or `SummaryWriter` has no such option, or one of another type.
        ArgumentValueError: if `logdir` is a file or cannot be written to, or an option has an invalid value.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_logging import LogMetrics
        >>> from treadle_metrics import Metrics, Recorder
        >>> with TensorBoardBackend("runs/toy") as backend:
        ...     _ = toy_learner(Recorder(), Metrics(), LogMetrics(backend)).fit(1)
    """

    def __init__(self, logdir: str | PathLike[str], **options: Any) -> None:
        self.logdir = str(file_path(logdir or None, "TensorBoardBackend(logdir)", 'TensorBoardBackend("runs/1")'))
        for option in options:
            if option not in OPTIONS:
                raise ArgumentTypeError(
                    f"TensorBoardBackend has no option `{option}`, since SummaryWriter has none. "
                    f"{did_you_mean(option, OPTIONS)}\nFix: correct the name, or leave the option out."
                )
        example = 'TensorBoardBackend("runs/1", {}={!r})'
        for name, check, valid in CHECKS:
            if options.get(name) is not None:
                check(options[name], f"TensorBoardBackend({name})", example.format(name, valid))
        if "/" in options.get("filename_suffix", ""):
            raise ArgumentValueError(
                f"TensorBoardBackend(filename_suffix) has an invalid value: {options['filename_suffix']!r}.\n"
                f"Fix: pass an ending without '/':\n    {example.format('filename_suffix', '.resumed')}"
            )
        self.options = options
        with path_errors("TensorBoardBackend", Path(self.logdir), "runs/1"):
            if Path(self.logdir).exists() and not Path(self.logdir).is_dir():
                raise OSError("it is not a folder")
            self._writer: SummaryWriter | None = new_writer(Path(self.logdir), **options)
        self._not_finite: set[str] = set()

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"TensorBoardBackend({self.logdir!r}{options})"

    supported = (Value, Text, Image, Audio, Histogram, Graph, File, HyperParams)

    def log(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        writer, tag = self._open(), self.tag(name, group)
        match loggable:
            case Value():
                writer.add_scalar(tag, loggable.number, i)
            case Text():
                writer.add_text(tag, loggable.data, i)
            case Image():
                writer.add_image(tag, loggable.bytes, i)
            case Audio():
                add_audio(writer, loggable, tag, i)
            case Histogram():
                self._histogram(writer, loggable, tag, i)
            case Graph():
                add_graph(writer, loggable)
            case File():
                add_file(writer, loggable, tag, i)
            case HyperParams():
                self._hyperparams(writer, loggable)

    def flush(self) -> None:
        self._open().flush()

    def position(self) -> dict[str, int]:
        """The lengths of the event files, by their names."""
        self.flush()
        return lengths(Path(self.logdir))

    def rewind(self, position: dict[str, int]) -> None:
        self._open()
        folder = Path(self.logdir)
        if lost := missing(folder, position):
            raise LogChangedError(
                f"{self.logdir} does not have all that it held when the run was saved (of {', '.join(lost)}), so "
                f"nothing is cut off, and points may be missing or duplicated.\n"
                f"Fix: resume with the folder of that run:\n    TensorBoardBackend(folder_of_that_run)"
            )
        self.close()
        cut(folder, position)
        self._writer = new_writer(folder, **{**self.options, "purge_step": None})

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> SummaryWriter:
        if self._writer is None:
            raise BackendClosedError(
                f"The TensorBoardBackend of {self.logdir} was closed.\n"
                f"Fix: make a new one, which adds to the same run:\n    TensorBoardBackend({self.logdir!r})"
            )
        return self._writer

    def _hyperparams(self, writer: SummaryWriter, hyperparams: HyperParams) -> None:
        """Write what makes a row of the table; its metrics are the last values of this folder's scalars.

        `SummaryWriter.add_hparams` would make a folder of its own, with copies of the metrics.
        """
        # The folder is the row's name: without one, runs with equal values would share a row.
        start = hparams_pb(dict(hyperparams.data), trial_id=self.logdir)
        assert writer.file_writer is not None  # it is there until the writer is closed
        writer.file_writer.add_summary(Summary.FromString(start.SerializeToString()))

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


def add_audio(writer: SummaryWriter, audio: Audio, tag: str, i: int) -> None:
    """Write sound with all of its channels; `SummaryWriter.add_audio` takes only one."""
    channels, frames = audio.data.shape
    sound = Summary.Audio(
        sample_rate=audio.sample_rate,
        num_channels=channels,
        length_frames=frames,
        encoded_audio_string=audio.wav,
        content_type="audio/wav",
    )
    summary = Summary(value=[Summary.Value(tag=tag, audio=sound)])
    assert writer.file_writer is not None  # it is there until the writer is closed
    writer.file_writer.add_summary(summary, i)


def add_graph(writer: SummaryWriter, graph: Graph) -> None:
    """Write a model's graph, and leave the model and the random generators as they are.

    `SummaryWriter.add_graph` runs the model, and sets every module of it to the mode of the whole.
    """
    inputs = graph.inputs if isinstance(graph.inputs, tuple) else (graph.inputs,)
    model = copy.deepcopy(graph.model)
    with preserved_random_state(), torch.no_grad(), warnings.catch_warnings():
        # torch's own writer still traces the graph by the means that torch has deprecated.
        warnings.filterwarnings("ignore", message=".*torch.jit.trace.* is deprecated", category=DeprecationWarning)
        writer.add_graph(model, tuple(tensor.detach() for tensor in inputs))


def add_file(writer: SummaryWriter, file: File, tag: str, i: int) -> None:
    """Write a file's name and its lines, if it is text."""
    if file.text is None:
        raise UnsupportedLoggable(f"TensorBoard shows text, and the content of {file.file} is not text.")
    lines = "".join(f"    {line}\n" for line in file.text.splitlines())
    writer.add_text(tag, f"**{file.file}**\n\n{lines}", i)

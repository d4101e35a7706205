"""`WandbBackend`: runs that Weights & Biases shows."""

from __future__ import annotations

import html
import inspect
import tempfile
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

from treadle.authoring import did_you_mean, file_path, instance_of, one_of, preserved_random_state
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import (
    Audio,
    BackendClosedError,
    File,
    Histogram,
    HyperParams,
    Image,
    LogChangedError,
    Loggable,
    LoggerBackend,
    Text,
    Value,
)
from treadle_logging.backend import path_errors

from treadle_wandb.offline_file import HEADER, cut, files_of, rows, wait_for

EXAMPLE = 'WandbBackend("runs", project="digits")'

#: What the backend decides itself, of what `wandb.init` takes.
OURS = ("dir", "mode", "id", "resume", "reinit")

#: The setting of how many seconds W&B's service keeps what it was sent before it writes it to the file of the run.
INTERVAL = "x_transaction_log_flush_interval"

#: The name of the x axis of a group's charts.
X = "iteration"


class WandbBackend(LoggerBackend):
    """Log to a run of Weights & Biases, by default offline: into a folder, without an account or a network.

    Values of one group and iteration are a row of the run's history, and the iteration is the x axis of their charts.
    The run is made when something is first logged, and a resumed run goes on with that of its checkpoint.

    Args:
        folder: Where W&B keeps the run, in a folder `wandb`; created if it does not exist.
        mode: `"offline"`, or `"online"`, which sends everything to W&B. Default: `"offline"`.
        run_id: A run to go on with. Default: the one of the checkpoint where a run is resumed, and else a new one.
        **options: The other options of `wandb.init`: `project`, `name`, `tags`, `notes`, `settings`.

    Raises:
        ArgumentTypeError: if `folder` is not a path, or `wandb.init` has no such option.
        ArgumentValueError: for another mode, or if `folder` is a file or cannot be written to.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_logging import LogMetrics
        >>> from treadle_metrics import Metrics, Recorder
        >>> with WandbBackend("runs", project="toy", settings={"silent": True, "console": "off"}) as backend:
        ...     _ = toy_learner(Recorder(), Metrics(), LogMetrics(backend)).fit(1)
    """

    supported = (Value, Text, Image, Audio, Histogram, File, HyperParams)

    def __init__(
        self, folder: str | PathLike[str], *, mode: str = "offline", run_id: str | None = None, **options: Any
    ) -> None:
        # Absolute, since W&B's service process has a working directory of its own.
        self.folder = file_path(folder or None, "WandbBackend(folder)", EXAMPLE).absolute()
        self.mode = one_of(mode, "WandbBackend(mode)", ("offline", "online"))
        if run_id is not None:
            instance_of(run_id, "WandbBackend(run_id)", str, 'WandbBackend("runs", run_id="first")')
        with path_errors("WandbBackend", self.folder, "runs"):
            self.folder.mkdir(parents=True, exist_ok=True)
        import wandb

        known = [name for name in inspect.signature(wandb.init).parameters if name not in OURS]
        for option in options:
            if option not in known:
                raise ArgumentTypeError(
                    f"WandbBackend has no option `{option}`. {did_you_mean(option, (*known, 'run_id', 'mode'))}\n"
                    f"Fix: correct the name, or leave the option out."
                )
        self.options, self.run_id = options, run_id
        self._wandb, self._closed = wandb, False
        self._run: Any = None
        self._row: dict[str, Any] = {}
        self._at: tuple[tuple[str, ...], int] = ((), 0)  # what the row is of
        self._step = 0  # the number of the row
        self._sent = False  # whether a row was sent since the file was looked at
        self._read = HEADER  # up to where the run's file was read
        self._axes: set[str] = set()
        if run_id is not None and (earlier := rows(files_of(self.folder, run_id))):
            self._step = earlier[-1]["_step"] + 1

    def __repr__(self) -> str:
        return f"WandbBackend({str(self.folder)!r}, mode={self.mode!r})"

    def log(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        run, tag = self._open(), self.tag(name, group)
        if name == X or name.startswith("_"):
            raise ArgumentValueError(
                f"W&B has a column {name!r} of its own, so {tag!r} cannot be logged.\n"
                f"Fix: choose another name:\n    {name.strip('_').capitalize()!r}"
            )
        match loggable:
            case Value():
                self._add(tag, loggable.number, i, group)
            case HyperParams():
                run.config.update(dict(loggable.data), allow_val_change=True)
            case Text():
                shown = f"<pre>{html.escape(loggable.data)}</pre>"
                self._add(tag, self._wandb.Html(shown, inject=False), i, group)
            case Histogram():
                self._add(tag, self._wandb.Histogram(np_histogram=loggable.bins()), i, group)
            case Image():
                self._add_file(self._wandb.Image, "picture.png", loggable.png, tag, i, group)
            case Audio():
                self._add_file(self._wandb.Audio, "sound.wav", loggable.wav, tag, i, group)
            case File():
                self._save(run, loggable, f"{tag}/{i:08}-{Path(loggable.file).name}")

    def flush(self) -> None:
        """Send the row under way; offline, wait until the run's file has it."""
        self._check_open()
        self._commit()
        if self._run is not None and self.mode == "offline" and self._sent:
            self._read = wait_for(self._file(), step=self._step - 1, start=self._read)
            self._sent = False

    def position(self) -> dict[str, Any]:
        """The run, and the number of the next row of its history."""
        self._open()
        self.flush()
        return {"run": self.run_id, "step": self._step}

    def rewind(self, position: dict[str, Any]) -> None:
        """Go on with the run of the position. Offline, its files are cut; W&B ignores rows that it has already."""
        self._check_open()
        run_id, step = position["run"], position["step"]
        if self.run_id not in (None, run_id):
            raise LogChangedError(
                f"{self!r} logs to the run {self.run_id}, and the run that is resumed logged to {run_id}.\n"
                f"Fix: leave the run out, and it is that of the checkpoint:\n    WandbBackend({str(self.folder)!r})"
            )
        self._finish(0)
        if self.mode == "offline":
            files = files_of(self.folder, run_id)
            missing = {*range(step)} - {row["_step"] for row in rows(files)}
            if missing or not files:
                raise LogChangedError(
                    f"{self.folder} does not have all that the run {run_id} held when it was saved, so nothing is cut "
                    f"off, and points may be missing or duplicated.\n"
                    f"Fix: resume with the folder of that run:\n    WandbBackend(folder_of_that_run)"
                )
            for file in files:
                cut(file, step)
        self.run_id, self._step = run_id, step
        self._row.clear()

    def close(self) -> None:
        self._end(0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(1 if kind else 0)

    def _add(self, tag: str, value: Any, i: int, group: tuple[str, ...]) -> None:
        """Put a value into the row of its group and iteration."""
        if tag in self._row or (group, i) != self._at:
            self._commit()
        self._at = (group, i)
        self._row[tag] = value
        self._row[axis := self.tag(X, group)] = i
        if group and axis not in self._axes:
            self._axes.add(axis)
            self._open().define_metric(axis, hidden=True)
            self._open().define_metric(self.tag("*", group), step_metric=axis)

    def _add_file(self, kind: Any, name: str, content: bytes, tag: str, i: int, group: tuple[str, ...]) -> None:
        """Log a picture or a sound, of which W&B takes a copy."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(content)
            self._add(tag, kind(str(path)), i, group)
            self._commit()

    def _save(self, run: Any, file: File, name: str) -> None:
        """Put a file into the run's folder, from where W&B takes it."""
        path = Path(run.dir, name)
        if not path.resolve().is_relative_to(Path(run.dir).resolve()):
            raise ArgumentValueError(
                f"W&B cannot keep {name!r}, which is outside of the run.\nFix: choose a name without '..'."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data.encode() if isinstance(file.data, str) else file.data or b"")
        run.save(str(path), base_path=run.dir, policy="now")

    def _commit(self) -> None:
        if self._row:
            row, self._row = self._row, {}
            self._open().log(row, step=self._step, commit=True)
            self._step, self._sent = self._step + 1, True

    def _open(self) -> Any:
        """The run of W&B, which is begun or gone on with where that was not done."""
        self._check_open()
        if self._run is None:
            wandb, given = self._wandb, self.options.get("settings") or {}
            settings = wandb.Settings(**given) if isinstance(given, dict) else given.model_copy()
            if self.mode == "offline":
                # Otherwise W&B tells its server about errors and times, also of a run that is offline.
                wandb.setup(wandb.Settings(mode="offline"))
                if hasattr(settings, INTERVAL) and INTERVAL not in settings.model_fields_set:
                    setattr(settings, INTERVAL, 0.05)
            resume = "allow" if self.run_id is not None and self.mode == "online" else None
            ours = {"dir": str(self.folder), "mode": self.mode, "id": self.run_id, "resume": resume}
            with preserved_random_state():
                self._run = wandb.init(**{**self.options, **ours, "settings": settings, "reinit": "create_new"})
            self.run_id, self._read, self._sent = self._run.id, HEADER, False
            self._axes.clear()
        return self._run

    def _file(self) -> Path:
        """The file of the run under way."""
        assert self._run is not None
        return Path(self._run.dir).parent / f"run-{self.run_id}.wandb"

    def _finish(self, code: int) -> None:
        if self._run is not None:
            file = self._file()
            self._run.finish(exit_code=code)
            self._run = None
            if self.mode == "offline":
                wait_for(file, start=self._read)

    def _end(self, code: int) -> None:
        if not self._closed:
            self._commit()
            self._finish(code)
            self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise BackendClosedError(
                f"{self!r} was closed.\n"
                f"Fix: go on with its run:\n    WandbBackend({str(self.folder)!r}, run_id={self.run_id!r})"
            )

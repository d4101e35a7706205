"""`ByPhase`: a record for each phase, found by any phase that is equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from treadle import Phase
from treadle.authoring import file_path, function, html_table, instance_of, phase_key, phase_label
from treadle.errors import ArgumentValueError, TreadleError
from treadle.events import subclasses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is kept for a phase: something with `to_dict`, `state_dict` and `load_state_dict`.
Record = TypeVar("Record", bound=Any)

#: The size of one pair of axes, in inches.
WIDTH, HEIGHT = 5.0, 3.6


class MissingExtra(TreadleError, ImportError):
    """Something was asked for that needs a library which is not installed."""


class ByPhase(dict[Phase, Record]):
    """Maps phases to records. Any phase equal to the one that ran finds its record.

    A phase that has not run gives an empty record, which is not kept; `of` keeps it.

    Args:
        make: Makes an empty record, with `to_dict`, `state_dict` and `load_state_dict`.

    Raises:
        ArgumentTypeError: if something is looked up that is not a phase.

    Example:
        >>> from treadle import TrainingPhase
        >>> from treadle_metrics import History
        >>> history = ByPhase(History)
        >>> history.of(TrainingPhase()).steps += 1
        >>> history[TrainingPhase()]
        History(epochs=0, steps=1, steps_epoch=0)
        >>> history.state_dict()
        {'treadle.phases:TrainingPhase': {'epochs': 0, 'steps': 1, 'steps_epoch': 0}}
    """

    def __init__(self, make: Callable[[], Record]) -> None:
        super().__init__()
        self._make = function(make, "ByPhase(make)", "ByPhase(History)")
        self._unclaimed: dict[str, dict[str, Any]] = {}

    def __missing__(self, phase: Phase) -> Record:
        """Reached by `self[phase]` for a phase without a record."""
        instance_of(phase, "The phase of a record", Phase, "learner.cbstate.history[TrainingPhase()]")
        state = self._unclaimed.pop(phase_key(phase), None)
        record: Record = self._make()
        if state is not None:
            record.load_state_dict(state)
            self[phase] = record
        return record

    def of(self, phase: Phase) -> Record:
        """The record of a phase, to write to; made and kept if there is none yet."""
        record = self[phase]
        self.setdefault(phase, record)
        return record

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The records as plain values, by the phases' labels."""
        return {phase_label(phase): record.to_dict() for phase, record in self.items()}

    def rows(self) -> list[dict[str, Any]]:
        """A dictionary for each phase, with its label as "phase"; `pandas.DataFrame` takes it."""
        return [{"phase": phase_label(phase), **record.to_dict()} for phase, record in self.items()]

    def _repr_html_(self) -> str:
        """The rows as a table, for notebooks."""
        rows = self.rows()
        header = [*dict.fromkeys(name for row in rows for name in row)] or ["phase"]
        return html_table(header, [[row.get(name) for name in header] for row in rows])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the records' numbers as bars: one pair of axes for each, in it a bar for each phase.

        Args:
            path: Where to save the picture; its ending is the format. Default: nowhere.

        Raises:
            ArgumentValueError: if nothing is recorded.
            MissingExtra: if matplotlib is not installed.
        """
        rows = self.rows()

        def bars(axes: Any, name: str) -> Any:
            axes.bar([row["phase"] for row in rows], [row[name] for row in rows])
            return axes.yaxis

        return drawn([name for name in rows[0] if name != "phase"] if rows else [], bars, path)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """The states of the records, by `phase_key`."""
        return {**self._unclaimed, **{phase_key(phase): record.state_dict() for phase, record in self.items()}}

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Take over what `state_dict` returned, in its order; an existing record stays the same object.

        The state of a phase with fields, or of a type that does not exist yet, waits until an
        equal phase is looked up.
        """
        records = {phase_key(phase): (phase, record) for phase, record in self.items()}
        # Of two types with one key the later one counts: a cell of a notebook that is run again makes the class again.
        types = {phase_key(cls): cls for cls in subclasses(Phase) if cls.__init__ is object.__init__}
        self.clear()
        self._unclaimed = dict(state)
        for key in state:
            if key in records:
                phase, record = records[key]
                record.load_state_dict(self._unclaimed.pop(key))
                self[phase] = record
            elif key in types:
                self[types[key]()]


def drawn(titles: Sequence[str], draw: Callable[[Any, str], Any], path: str | Path | None) -> Figure:
    """A figure, in no window, with a pair of axes for each title side by side; saved if there is a path.

    Args:
        draw: Draws into a pair of axes, by its title, and returns the axis that has only whole numbers.
    """
    if path is not None:
        path = file_path(path, "path", 'plot("curves.png")')
    if not titles:
        raise ArgumentValueError(
            "Nothing is recorded yet, so there is nothing to draw.\nFix: train first:\n    learner.fit(10)"
        )
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingExtra(
            "A picture needs matplotlib, which cannot be imported.\n"
            'Fix: install it:\n    pip install "treadle-metrics[plot]"'
        ) from error
    figure = Figure(figsize=(WIDTH * len(titles), HEIGHT), layout="constrained")
    for axes, title in zip(figure.subplots(1, len(titles), squeeze=False)[0], titles, strict=True):
        draw(axes, title).set_major_locator(MaxNLocator(integer=True))
        axes.set_title(title)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    return figure

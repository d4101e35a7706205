"""`ByPhase`: a record for each phase, found by any phase that is equal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from treadle import Phase
from treadle.errors import ArgumentTypeError
from treadle.events import subclasses

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Record(Protocol):
    """What `ByPhase` keeps for a phase."""

    def to_dict(self) -> dict[str, Any]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


T = TypeVar("T", bound=Record)


class ByPhase(dict[Phase, T]):
    """Maps phases to records. Any phase equal to the one that ran finds its record.

    A phase that has not run gives an empty record, which is not kept; `of` keeps it.

    Args:
        make: Makes an empty record.

    Raises:
        ArgumentTypeError: if something is looked up that is no phase.

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

    def __init__(self, make: Callable[[], T]) -> None:
        super().__init__()
        self._make = make
        self._unclaimed: dict[str, dict[str, Any]] = {}

    def __missing__(self, phase: Phase) -> T:
        """Reached by `self[phase]` for a phase without a record."""
        if not isinstance(phase, Phase):
            is_class = isinstance(phase, type) and issubclass(phase, Phase)
            mend = f"Make an instance: [{phase.__name__}()]" if is_class else "Pass one: [TrainingPhase()]"
            raise ArgumentTypeError(f"Records are kept by phase, and {phase!r} is no phase. {mend}")
        state = self._unclaimed.pop(phase_key(phase), None)
        record = self._make()
        if state is not None:
            record.load_state_dict(state)
            self[phase] = record
        return record

    def of(self, phase: Phase) -> T:
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

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the records' numbers as bars: one pair of axes for each, in it a bar for each phase.

        Args:
            path: Where to save the picture; its ending says in which format. Default: nowhere.

        Returns:
            The matplotlib figure.

        Raises:
            ArgumentValueError: if nothing is recorded.
            MissingExtra: if matplotlib is not installed.
        """
        from treadle_metrics.picture import draw_bars

        return draw_bars(self.rows(), path)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """The records' own states, by `phase_key`."""
        return {**self._unclaimed, **{phase_key(phase): record.state_dict() for phase, record in self.items()}}

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Take over what `state_dict` gave; a record that is there stays the same object.

        The state of a phase with fields, or of a type that does not exist by now, waits until an
        equal phase is looked up.
        """
        self._unclaimed = dict(state)
        for phase, record in list(self.items()):
            own = self._unclaimed.pop(phase_key(phase), None)
            if own is None:
                del self[phase]
            else:
                record.load_state_dict(own)
        for cls in reversed([*subclasses(Phase)]):  # a cell of a notebook that is run again makes the class again
            if class_key(cls) in self._unclaimed and cls.__init__ is object.__init__:
                self[cls()]


def class_key(cls: type[Phase]) -> str:
    """A type of phase as a string: its module and name."""
    return f"{cls.__module__}:{cls.__qualname__}"


def phase_key(phase: Phase) -> str:
    """A phase as a string, for checkpoints: the type's module and name, and the fields if it has any.

    Example:
        >>> from treadle import ValidationPhase
        >>> phase_key(ValidationPhase())
        'treadle.phases:ValidationPhase'
    """
    return class_key(type(phase)) + _fields(phase)


def phase_label(phase: Phase) -> str:
    """A phase as people read it: the type's name, and the fields if it has any.

    Example:
        >>> from treadle import TrainingPhase
        >>> phase_label(TrainingPhase())
        'TrainingPhase'
    """
    return type(phase).__name__ + _fields(phase)


def _fields(phase: Phase) -> str:
    fields = ", ".join(f"{name}={value!r}" for name, value in vars(phase).items())
    return f"({fields})" if fields else ""

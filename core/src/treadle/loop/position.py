"""`Position`: where in its fit and in its epoch a learner is, for saving and resuming runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from treadle.arguments import not_a_learner
from treadle.loop.data.processes import ALONE, Processes
from treadle.loop.length import Length
from treadle.loop.progress import ObserverErrors
from treadle.loop.scope import Scope
from treadle.loop.update.updates import Updates
from treadle.state.modes import Modes
from treadle.state.random_state import RandomState
from treadle.state.run.data.passes import Passes, PassStart
from treadle.state.views import learner_of

if TYPE_CHECKING:
    from treadle.phases import Phase


class Position:
    """Where in its fit and in its epoch a learner is.

    Attributes:
        length: How long the fit under way is, or None outside of a fit.
        phases: The phases that it runs.
        own: The same length, in an epoch that a fit by steps runs by itself; else None.
        partial: Whether the epoch under way was ended because such a fit has all its steps.
        rounds: Epochs of that fit, of any phase, that have ended, without those inside of others.
        skipped: How many batches of the epoch under way were done before the run was resumed.
        collect: What an evaluation or a prediction does with a learner whose step has ended.
        at_entry: The random generators' states when the epoch under way was entered, if they are put
            back after it, or None.
        at_start: How things stood right before its first batch was asked for, or None.
        modes: The modes that the models' modules get back after it, or None.
        processes: Those that the run consists of.
        observer_errors: What was reported of observers in the fit under way, or outside of all fits.
        passes: What is known of the passes over the data, by their names.
        updates: Which updates the gradients belong to.
        resumed: Whether the learner goes on with a run that was saved.
        resumption: What a resumed run has yet to take over, or None.
        scopes: What is under way, the outermost first.
        stepping: Whether a step is under way.
        taps: What the batches of an epoch go through, by who wants to do something between two of them.
    """

    __slots__ = (
        "at_entry",
        "at_start",
        "collect",
        "length",
        "modes",
        "observer_errors",
        "own",
        "partial",
        "passes",
        "phases",
        "processes",
        "resumed",
        "resumption",
        "rounds",
        "scopes",
        "skipped",
        "stepping",
        "taps",
        "updates",
    )

    def __init__(self) -> None:
        self.length: Length | None = None
        self.own: Length | None = None
        self.partial = False
        self.phases: tuple[Phase, ...] = ()
        self.rounds = self.skipped = 0
        self.at_entry: RandomState | None = None
        self.at_start: PassStart | None = None
        self.modes: Modes | None = None
        self.collect: Callable[[Any], object] = bool  # which does nothing
        self.observer_errors = ObserverErrors()
        self.processes: Processes = ALONE
        self.passes: dict[str, Passes] = {}
        self.updates = Updates()
        self.resumed = False
        self.resumption: Resumption | None = None
        self.scopes: list[Scope] = []
        self.stepping = False
        self.taps: dict[object, Callable[[Iterator[Any]], Iterator[Any]]] = {}

    def passes_over(self, learner_data: Mapping[str, Any], phase: Phase, data: Any) -> Passes:
        """What is known of the passes over the data of an epoch; nothing, if the phase makes these data itself."""
        name = str(phase.data_name)
        if name not in learner_data or learner_data[name] is not data:
            return Passes(f"data.{name}", data)
        if name not in self.passes or self.passes[name].data is not data:
            self.passes[name] = Passes(f"data.{name}", data)
        return self.passes[name]

    @property
    def nested(self) -> bool:
        """Whether the epoch or step under way is inside of another one, or of the `FitBegin` of a fit."""
        return bool(self.scopes) and self.scopes[-1].nested

    @property
    def levels(self) -> list[Phase]:
        """The phases of the epochs and steps that are under way, one inside of another; an epoch's own step is none."""
        pairs = zip(self.scopes, [None, *self.scopes], strict=False)
        return [
            scope.phase
            for scope, outer in pairs
            if scope.phase is not None and (outer is None or not scope.belongs_to(outer))
        ]

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """In a copy nothing is under way; a run that it has yet to take over stays one."""
        kept = ("passes", "resumed", "resumption")
        return None, {name: getattr(self if name in kept else Position(), name) for name in self.__slots__}


def position_of(learner: Any) -> Position:
    """Where a learner, or the learner that a callback has a view of, is.

    It belongs to the machinery that saves and resumes runs; others read `learner.progress`.

    Example:
        >>> from treadle import CustomCallback, EpochEnd, toy_learner
        >>> show = CustomCallback(lambda learner: print(position_of(learner).rounds), EpochEnd)
        >>> result = toy_learner(show).fit(1)
        0
        1
    """
    try:
        position: Position = learner_of(learner).position
    except AttributeError:
        raise not_a_learner(learner) from None
    return position


class Resumption(Protocol):
    """What a resumed run has yet to take over. Stands in `learner.position.resumption`.

    The fit of a resumed run dispatches `FitBegin` and, in the middle of an epoch, that epoch's
    `EpochBegin` again, so that handlers can open what they need; after each of them all state is
    put back. So no handler has to know that the run was resumed.
    """

    def begin(self, length: Length) -> None:
        """A fit begins, nothing was dispatched yet; refuse one that does not go on where it ended.

        Args:
            length: How long it is, and which phases it runs.
        """

    def restore(self) -> None:
        """`FitBegin` was dispatched: put the state back."""

    def rest(self, phase: Phase, data: Any) -> Iterator[Any] | None:
        """`EpochBegin` was dispatched: put the state back, and give the batches that are left.

        None if no epoch was under way.
        """

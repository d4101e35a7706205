"""`OpenEpochs`: what a callback keeps for each epoch that is under way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from treadle.loop.position import position_of

if TYPE_CHECKING:
    from treadle.loop.scope import Scope
    from treadle.phases import Phase

T = TypeVar("T")


class OpenEpochs(Generic[T]):
    """What a callback keeps for each epoch that is under way, the outermost first.

    An epoch can run inside of another one, also of an equal phase. A callback that collects something over an
    epoch begins with `begin` in `on_epoch_begin`, collects in what `innermost` gives, and takes it with `end` in
    `on_epoch_end`. What belongs to an epoch that an error ended is dropped.

    Example:
        >>> from treadle import Callback, Phase, ValidationPhase, epoch, toy_learner
        >>> class Steps(Callback):
        ...     "Print how many steps each epoch has."
        ...     def __init__(self):
        ...         self.steps = OpenEpochs()
        ...     def on_epoch_begin(self, learner, phase):
        ...         self.steps.begin(learner, phase, [])
        ...     def on_step_end(self, learner, phase):
        ...         self.steps.innermost(learner, phase).append(1)
        ...     def on_epoch_end(self, learner, phase):
        ...         print(phase, sum(self.steps.end(learner, phase)))
        >>> epoch(toy_learner(Steps()), ValidationPhase())
        ValidationPhase() 16
    """

    def __init__(self) -> None:
        self._entries: list[tuple[Scope | None, Phase | None, T]] = []

    def depth(self, learner: Any) -> int:
        """How many epochs are under way."""
        self._drop_ended(learner)
        return len(self._entries)

    def begin(self, learner: Any, phase: Phase, value: T) -> None:
        """Keep a value for the epoch that begins."""
        self._drop_ended(learner)
        self._entries.append((position_of(learner).scopes[-1], phase, value))

    def innermost(self, learner: Any, phase: Phase) -> T | None:
        """The value of the innermost epoch, if it has this phase; else None, as for a step outside of its epoch."""
        self._drop_ended(learner)
        return self._entries[-1][2] if self._entries and self._entries[-1][1] == phase else None

    def end(self, learner: Any, phase: Phase) -> T | None:
        """Take the value of the epoch that ends; None if its beginning was not seen."""
        value = self.innermost(learner, phase)
        if value is not None:
            self._entries.pop()
        return value

    def values(self) -> list[T]:
        """The values, that of the outermost epoch first."""
        return [value for _, _, value in self._entries]

    def phases(self) -> list[Phase]:
        """The phases of the epochs, that of the outermost first."""
        return [phase for _, phase, _ in self._entries if phase is not None]

    def load(self, values: Iterable[T]) -> None:
        """Take over the values of a saved run, for the epochs that are under way; of others only until one begins."""
        loaded = list(values)
        places = [entry[:2] for entry in self._entries] + [(None, None)] * len(loaded)
        kept = self._entries[len(loaded) :]
        self._entries = [(*place, value) for place, value in zip(places, loaded, strict=False)] + kept

    def _drop_ended(self, learner: Any) -> None:
        scopes = position_of(learner).scopes
        self._entries = [entry for entry in self._entries if any(entry[0] is scope for scope in scopes)]

    def __reduce__(self) -> tuple[type[OpenEpochs[T]], tuple[()]]:
        """In a copy of a callback no epoch is under way."""
        return type(self), ()

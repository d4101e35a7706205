"""`Criterion`: a rule that says from the losses when to stop; `Never`, and `Disjunction` of several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from treadle.authoring import instance_of


class Criterion:
    """A rule that says, from the losses so far, when to stop. Subclass it for a rule of your own.

    A criterion is a frozen dataclass whose fields are its settings, so two of them are equal if type
    and fields are. What it remembers between losses is its *state*, which others keep for it (see
    `EarlyStopper`): a plain value (numbers, strings, lists, dicts) that `update` gets and returns.
    The state is `None` until the criterion has seen a loss that it uses, and until then `done` is not asked.

    Override `update` and `done`; further, as needed:

    - `update_training`, to use the losses of training too;
    - `reason`, to say in a message what was seen;
    - `start`, `without_losses`, `save_state` and `load_state`, if the state begins before the first loss, or has
      something in it that means nothing in another process, such as the reading of a clock.

    `first + second` is a criterion that stops as soon as one of the two does.

    Example:
        >>> from dataclasses import dataclass
        >>> from treadle_stopping import stopping_time
        >>> @dataclass(frozen=True)
        ... class Plateau(Criterion):
        ...     "Stop when the loss moves by less than `width`."
        ...     width: float = 0.01
        ...     def update(self, state, loss):
        ...         moved = None if state is None else abs(loss - state["loss"])
        ...         return {"loss": loss, "moved": moved}
        ...     def done(self, state):
        ...         return state["moved"] is not None and state["moved"] < self.width
        >>> stopping_time(Plateau(), [3.0, 2.0, 1.995, 1.0])
        3
        >>> Plateau(0.01) == Plateau()
        True
    """

    def start(self) -> Any:
        """The state before the first loss. Default: None."""
        return None

    def update(self, state: Any, loss: float) -> Any:
        """The state after an out-of-sample loss; the one so far may be changed in place. Default: the same."""
        return state

    def update_training(self, state: Any, loss: float) -> Any:
        """The state after the loss of a training step, likewise. Default: the same."""
        return state

    def without_losses(self, state: Any) -> Any:
        """The state when losses of another kind begin. Default: that before the first loss; a clock runs on."""
        return self.start()

    def check(self, state: Any) -> None:
        """Raise an error if an out-of-sample loss comes too early. Default: it never does.

        Asked before `update` by a strict `EarlyStopper`. The parts of a
        disjunction are not asked: one waits, and the others go on.
        """

    def done(self, state: Any) -> bool:
        """Whether to stop. Asked after updates, never while the state is None. Default: no."""
        return False

    def reason(self, state: Any) -> str:
        """What was seen that led to the stop, as the end of a sentence. Default: the loss."""
        return "the losses meet it"

    def message(self, state: Any) -> str:
        """Why training stopped, as a sentence for the user."""
        return f"Stopped early by {self!r}: {self.reason(state)}."

    def fired(self, state: Any) -> tuple[Criterion, ...]:
        """The criteria in this one that are met: itself, or none; of a disjunction, its parts."""
        return (self,) if state is not None and self.done(state) else ()

    def save_state(self, state: Any) -> Any:
        """The state, which is not None, as a checkpoint keeps it. Default: as it is."""
        return state

    def load_state(self, saved: Any) -> Any:
        """The state made from what `save_state` returned. Default: as it is."""
        return saved

    @property
    def kind(self) -> str:
        """The names of the types it is made of: two criteria of one kind understand each other's state."""
        return type(self).__name__

    @property
    def uses_training(self) -> bool:
        """Whether it looks at training losses at all."""
        return type(self).update_training is not Criterion.update_training

    @property
    def compares_training(self) -> bool:
        """Whether it compares training losses with each other, so that they must be those of one phase."""
        return self.uses_training

    def __add__(self, other: object) -> Criterion:
        return Disjunction(self, other) if isinstance(other, Criterion) else NotImplemented

    def __radd__(self, other: object) -> Criterion:
        return self if other == 0 and type(other) is int else NotImplemented  # the start value of sum()


@dataclass(frozen=True)
class Never(Criterion):
    """Never stop: the neutral element of `+`.

    Example:
        >>> from treadle_stopping import Patience, stopping_time
        >>> stopping_time(Never(), [1.0, float("nan"), 100.0])
        0
        >>> Never() + Patience(3)
        Patience(n=3)
    """


@dataclass(frozen=True, init=False, repr=False)
class Disjunction(Criterion):
    """Stop as soon as any of several criteria says so; written shorter with `+`.

    Equal criteria count once, `Never` is left out, and a disjunction inside is flattened. If one
    criterion is left, `Disjunction(...)` is that criterion; if none is, it is `Never()`.

    Attributes:
        criteria: The parts, in the order in which their messages are joined.

    Raises:
        ArgumentTypeError: if one of them is not a criterion.

    Example:
        >>> from treadle_stopping import InvalidValue, Patience, TimeLimit
        >>> Patience(3) + InvalidValue() + Never() + Patience(3)
        Disjunction(Patience(n=3), InvalidValue())
        >>> Disjunction(Patience(3), Never())
        Patience(n=3)
    """

    criteria: tuple[Criterion, ...]

    def __new__(cls, *criteria: Criterion) -> Criterion:  # type: ignore[misc]
        parts = _parts(criteria)
        if not parts:
            return Never()
        if len(parts) == 1:
            return parts[0]
        self = super().__new__(cls)
        object.__setattr__(self, "criteria", parts)
        return self

    def start(self) -> list[Any]:
        return [part.start() for part in self.criteria]

    def update(self, state: list[Any], loss: float) -> list[Any]:
        return [part.update(s, loss) for part, s in self._pairs(state)]

    def update_training(self, state: list[Any], loss: float) -> list[Any]:
        return [part.update_training(s, loss) for part, s in self._pairs(state)]

    def without_losses(self, state: list[Any]) -> list[Any]:
        return [part.without_losses(s) for part, s in self._pairs(state)]

    def done(self, state: list[Any]) -> bool:
        return bool(self.fired(state))

    def message(self, state: list[Any]) -> str:
        """The messages of the parts that are met, joined."""
        return " ".join(part.message(s) for part, s in self._pairs(state) if part.fired(s))

    def fired(self, state: list[Any]) -> tuple[Criterion, ...]:
        return tuple(part for part, s in self._pairs(state) if part.fired(s))

    def save_state(self, state: list[Any]) -> list[Any]:
        return [None if s is None else part.save_state(s) for part, s in self._pairs(state)]

    def load_state(self, saved: list[Any]) -> list[Any]:
        return [None if s is None else part.load_state(s) for part, s in self._pairs(saved)]

    @property
    def kind(self) -> str:
        return " + ".join(part.kind for part in self.criteria)

    @property
    def uses_training(self) -> bool:
        return any(part.uses_training for part in self.criteria)

    @property
    def compares_training(self) -> bool:
        return any(part.compares_training for part in self.criteria)

    def _pairs(self, state: list[Any]) -> Iterator[tuple[Criterion, Any]]:
        return zip(self.criteria, state, strict=True)

    def __repr__(self) -> str:
        return f"Disjunction({', '.join(map(repr, self.criteria))})"

    def __reduce__(self) -> tuple[type[Disjunction], tuple[Criterion, ...]]:
        return Disjunction, self.criteria


def _parts(criteria: Iterable[object]) -> tuple[Criterion, ...]:
    """The criteria without repetitions, disjunctions and `Never`."""
    found: list[Criterion] = []
    for value in criteria:
        example = f"Patience({value})" if type(value) is int else "Patience(3)"
        criterion = instance_of(value, "A stopping criterion", Criterion, example)
        inner = criterion.criteria if isinstance(criterion, Disjunction) else (criterion,)
        found += [part for part in inner if part not in found and part != Never()]
    return tuple(found)

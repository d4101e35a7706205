"""`Processes`: those that a run consists of; this one alone, unless a callback divides the run between several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from treadle.state.views import learner_of

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase


class Part(Protocol):
    """What was added up of the rows of this process, such as a `Mean`."""

    def part(self) -> Any:
        """What the other processes need of it: tensors and plain values."""

    def merge(self, parts: Sequence[Any]) -> None:
        """Become what one process would have of all rows: `parts` are those of all processes, by their ranks."""


class Processes:
    """The processes that a run consists of. This is one alone; see `Callback.processes`.

    The methods are called by the loop, in its thread and in the same order in every process, and by nobody else.

    Attributes:
        rank: The number of this process, from 0, which is the main one.
        size: How many there are.

    Example:
        >>> Processes().size, Processes().gather("here")
        (1, ['here'])
    """

    rank = 0
    size = 1

    def share(self, learner: Learner, phase: Phase, data: Any) -> Any:
        """What this process goes over in an epoch of a phase over some data."""
        return data

    def begin(self, data: Any, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches of an epoch over what `share` returned, which begins."""
        return batches

    def end(self, learner: Learner, phase: Phase) -> None:
        """An epoch is about to end."""

    def gather(self, value: Any) -> list[Any]:
        """What every process passes here, by their ranks."""
        return [value]


@contextmanager
def applied_as(learner: Any, engine: Any) -> Iterator[None]:
    """Meanwhile the operation `forward` applies an engine in place of the model that is in it.

    Example:
        >>> import torch
        >>> from treadle import toy_learner
        >>> learner = toy_learner()
        >>> with applied_as(learner, lambda xs: 10 * xs):
        ...     learner.predict([torch.ones(1)])
        tensor([10.])
    """
    attributes = vars(learner_of(learner))
    before = attributes["applied"]
    attributes["applied"] = engine
    try:
        yield
    finally:
        attributes["applied"] = before


def reach_point(learner: Any, phase: Phase, point: str) -> None:
    """Come to a point at which the processes of a run agree, as the loop does; return if all go on.

    A callback that exchanges something with other processes at the end of a step, or between two, calls it right
    before: one of them may have left the epoch since the loop's last point. All have to come to it, in the same order.

    Args:
        point: What comes next.

    Raises:
        BaseException: what takes effect, if one of them has raised something; see `treadle.operations.Agree`.

    Example:
        >>> from treadle import Callback, TrainingPhase, toy_learner
        >>> class Agreeing(Callback):
        ...     def agree(self, point, request):
        ...         print(point)
        ...         return False if request is None else request
        >>> reach_point(toy_learner(Agreeing()), TrainingPhase(), "save")
        save
    """
    learner_of(learner).handle(phase).agreement.reach(point)


#: A run of one process.
ALONE = Processes()


def merge(processes: Processes, parts: Iterable[Part]) -> None:
    """Combine what the processes have added up, in one exchange."""
    if processes.size == 1:
        return
    listed = list(parts)
    gathered = processes.gather([part.part() for part in listed])
    for i, part in enumerate(listed):
        part.merge([theirs[i] for theirs in gathered])

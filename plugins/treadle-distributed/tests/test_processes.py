"""What processes send each other, where one of them is at another place."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from treadle import TrainingPhase, toy_learner
from treadle_distributed import processes
from treadle_distributed.group import Group, ProcessGroupError
from treadle_distributed.processes import MARK, GroupProcesses


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], GroupProcesses]:
    """The first of two processes, of which the second sends something."""

    def make(answer: Any) -> GroupProcesses:
        monkeypatch.setattr(processes, "exchanged", lambda value: [value, answer])
        return GroupProcesses(Group(0, 2), lambda learner, phase: {}, lambda learner, phase: None)

    return make


def test_what_all_send_comes_back_by_their_ranks(answered: Callable[[Any], GroupProcesses]) -> None:
    assert answered((MARK, "there")).gather("here") == ["here", "there"]


def test_what_was_sent_from_another_place_is_refused(answered: Callable[[Any], GroupProcesses]) -> None:
    with pytest.raises(ProcessGroupError, match="Process 1 is at another place than process 0, and sent 'else'"):
        answered("else").gather("here")


def test_a_first_batch_that_another_process_could_not_load_ends_all(
    answered: Callable[[Any], GroupProcesses],
) -> None:
    processes, learner = answered((MARK, ("failed", "OSError: no disk", {}))), toy_learner()
    share = processes.share(learner, TrainingPhase(), learner.data.training)
    with pytest.raises(ProcessGroupError, match=r"Process 1 could not load the first batch of .*OSError: no disk"):
        processes.begin(share, iter(share))


def test_a_first_batch_that_cannot_be_loaded_here_is_told_to_the_others(
    answered: Callable[[Any], GroupProcesses],
) -> None:
    class Broken:
        def __iter__(self) -> Iterator[Any]:
            raise OSError("no disk")

    processes, learner = answered((MARK, ("begun", {}, {}))), toy_learner()
    share = processes.share(learner, TrainingPhase(), Broken())
    with pytest.raises(OSError, match="no disk"):
        processes.begin(share, iter(share))

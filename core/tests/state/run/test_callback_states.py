from typing import Any

import pytest
from treadle import Callback, StepEnd, throttle
from treadle.errors import MismatchError
from treadle.state.run.callback_states import capture, check, put_back


class Counter(Callback):
    def __init__(self, name: str = "Counter", count: int = 0) -> None:
        self.name, self.count = name, count

    def on_step_end(self) -> None:
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


class Optional(Counter):
    optional_state = True


def test_callbacks_that_share_a_name_are_distinguished_by_their_order() -> None:
    saved = capture([Counter(count=1), Counter(count=2)])
    assert list(saved) == ["Counter", "Counter #2"]
    again = [Counter(), Counter()]
    put_back(again, saved, ())
    assert [counter.count for counter in again] == [1, 2]


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([], r"it has the state of Counter, which the learner does not have\."),
        ([Counter(), Counter("new")], r"it has no state of new, which the learner has\."),
        ([throttle(Counter(), StepEnd, freq=2)], r"Counter was a Counter and is a ConditionalCallback of Counter\."),
    ],
)
def test_callbacks_that_are_missing_new_or_others_are_named_with_a_fix(callbacks, message) -> None:
    saved = capture([Counter()])
    with pytest.raises(MismatchError, match=message + r"\nFix: use the callbacks .*:\n    without=\["):
        check(callbacks, saved, ())
    check(callbacks, saved, ("Counter", "new"))


def test_a_state_that_is_optional_may_be_missing_here_or_there() -> None:
    check([], capture([Optional()]), ())
    check([Optional(), throttle(Optional("other"), StepEnd, freq=2)], {}, ())


def test_an_error_of_a_callback_says_whose_state_it_was() -> None:
    class Picky(Counter):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            raise KeyError("not mine")

    with pytest.raises(KeyError, match="not mine") as refused:
        put_back([Picky()], capture([Picky()]), ())
    assert refused.value.__notes__ == ["Raised while Counter took over its state from a checkpoint."]

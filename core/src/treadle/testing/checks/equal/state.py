"""Can a checkpoint hold its state, and does a new callback go on from there?"""

from __future__ import annotations

from typing import Any

import torch

from treadle.callback import Callback
from treadle.errors import NotResumableError, NotSaveableError
from treadle.learner import Learner
from treadle.testing.checks.equal.saved import Saved, Saver, state_of
from treadle.testing.comparison.frozen import PLAIN, attributes, frozen, same
from treadle.testing.report import Checked, DoesNotApply, Finding, message_of
from treadle.testing.subject import Subject, seeded
from treadle.testing.toy import noisy_learner

FIX = "return from state_dict all that its handlers go on from, and take it over in load_state_dict."

#: The number of epochs of the run that is saved, and from how many places in it others go on.
EPOCHS, PLACES = 3, 10


def check(subject: Subject) -> Checked:
    """A checkpoint can hold its state, and a new callback goes on from it.

    How: A run of three epochs, whose losses also rise, is gone on with from up to ten places, between epochs and after
        steps: weights, outputs and losses of validation and all of `cbstate` are compared. A remark names an attribute
        that differs in the end.
    Guarantee: 4, a checkpoint holds the whole run.
    Message: After load_state_dict, state_dict returns something else than was loaded.
    Message: Resumed from a checkpoint ...
    """
    with seeded():
        first = subject.run(make=restless_learner)
        saver = Saver(first)
        first.learner.add_callback(saver)
        try:
            first.fit(EPOCHS)
        except NotSaveableError as error:
            raise Finding(str(error)) from error
        except NotResumableError as error:
            raise DoesNotApply(f"The run cannot be saved: {error}") from error
    if not saver.saved:
        raise DoesNotApply("It ends the fit in its first step, so there is no state to go on from.")
    forgotten: dict[str, None] = {}
    places = spread(saver.saved, PLACES)
    for saved in places:
        with seeded():
            second = subject.run(make=restless_learner)
            assert second.callback is not None
            saved.resume(second)
            if not same(state_of(second.callback), saved.callback_state):
                raise Finding(f"After load_state_dict, state_dict returns something else than was loaded.\nFix: {FIX}")
            try:
                second.fit(EPOCHS)
            except Exception as error:
                text = f"Resumed from a checkpoint {saved.place}, the fit failed:\n{message_of(error)}\nFix: {FIX}"
                raise Finding(text) from error
        first.compare(second, f"Resumed from a checkpoint {saved.place}", FIX)
        if saved.rounds < 2:  # later ones may keep what the next epoch would have replaced
            forgotten |= dict.fromkeys(differing(first.members[0], second.members[0]))
    remarks = [
        f"After a resume its attribute `{name}` has another value in the end, and state_dict does not hold it.\n"
        f'Fix: if a decision depends on it, return it from state_dict:\n    return {{"{name}": self.{name}}}'
        for name in forgotten
    ]
    return Checked(len(places), "resumed runs", remarks)


def restless_learner(*callbacks: Callback | str, **kwargs: Any) -> Learner:
    """A noisy learner whose losses also rise, since its steps are too large."""
    if kwargs.get("optimizer") is None:
        kwargs["optimizer"] = large_steps
    return noisy_learner(*callbacks, **{"nbatches": 8, **kwargs})


def large_steps(parameters: Any) -> torch.optim.Optimizer:
    """An optimizer that goes too far, with a memory of its own."""
    return torch.optim.SGD(parameters, lr=0.5, momentum=0.5)


def spread(saved: list[Saved], most: int) -> list[Saved]:
    """So many of them at most, from the first to the last."""
    if len(saved) <= most:
        return saved
    return [saved[round(i * (len(saved) - 1) / (most - 1))] for i in range(most)]


def differing(first: Callback, second: Callback) -> list[str]:
    """The attributes of two callbacks that differ and are plain values, or lists or mappings of them."""
    before, after = attributes(first), attributes(second)
    return [
        name
        for name in before
        if is_plain(before[name])
        and is_plain(after.get(name))
        and not same(frozen(before[name]), frozen(after.get(name)))
    ]


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, a tensor, or a list or a mapping of them."""
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return isinstance(value, (*PLAIN, torch.Tensor))

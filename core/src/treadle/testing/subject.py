"""The callback that is checked, and the learners in which that is done."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from treadle import plugins
from treadle.access import Permission, checked
from treadle.callback import Callback
from treadle.dispatch.runners import CallbackRunner
from treadle.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from treadle.learner import Learner
from treadle.ordering.handlers import handlers
from treadle.state.random_state import preserved_random_state
from treadle.testing.auditing import Watch
from treadle.testing.noisy import noisy_learner
from treadle.testing.recording import Record
from treadle.testing.run import Run, Trail
from treadle.testing.toy import toy_learner
from treadle.testing.watching import WatchedInit, watched

Factory = Callable[[], Callback]
MakeLearner = Callable[..., Learner]

#: So many epochs a callback is watched for, each with one of validation.
EPOCHS = 2


@dataclass(frozen=True)
class Recorded:
    """What was noted of a callback in a toy training.

    Args:
        record: What it used.
        watch: What it changed.
        error: What the training raised, or None.
    """

    record: Record
    watch: Watch
    error: Exception | None


@dataclass
class Subject:
    """A callback to be checked.

    Args:
        factory: Makes the callback; called for each training.
        partners: Classes, functions or entry points' names that make the callbacks it needs beside it.
        learner: Makes the learner, as `toy_learner` does. Default: `toy_learner`, or `noisy_learner`
            where dropout and shuffling show something.
        settings: More arguments of the learner.
        unused_ok: Declared paths and handlers that a toy training does not use, each with the reason.
    """

    factory: Factory
    partners: Iterable[Factory | str] = ()
    learner: MakeLearner | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    unused_ok: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.factory, Callback) or not callable(self.factory):
            raise ArgumentTypeError(
                f"Callbacks are checked in several trainings, so a function that makes one is needed, got "
                f"{self.factory!r}: check_callback(lambda: {type(self.factory).__name__}(...))"
            )
        if isinstance(self.partners, (str, type)):
            raise ArgumentTypeError(f"partners is a list, got {self.partners!r}: partners=[{self.partners!r}]")
        self.partners = tuple(self.partners)
        self.callback = self.make()
        self.name = self.callback.name
        known = {*checked(self.callback.state_access, self.name), *handlers(self.callback)}
        for path, reason in reasons(self.unused_ok, "unused_ok", "path").items():
            if path not in known:
                raise ArgumentValueError(
                    f"unused_ok explains {path!r}, and {self.name} neither declares nor handles it ({reason}). "
                    f"{did_you_mean(path, known)}"
                )

    def make(self) -> Callback:
        """Make the callback."""
        callback = self.factory()
        if not isinstance(callback, Callback):
            raise ArgumentTypeError(f"The function makes {callback!r}, which is no callback.")
        return callback

    @property
    def declared(self) -> dict[str, type[Permission]]:
        """What the callback declares."""
        return checked(self.callback.state_access, self.name)

    def run(self, *extra: Callback, with_it: bool = True, runner: CallbackRunner | None = None) -> Run:
        """A learner for a training with or without the callback, with dropout and shuffled data.

        Args:
            extra: More callbacks.
            with_it: Whether the callback takes part. Default: True.
            runner: The learner's runner. Default: `LinearRunner`.
        """
        callback = self.make() if with_it else None
        partners, trail = self.partners_made(), Trail()
        callbacks = [*partners, trail, *extra, *([callback] if callback else [])]
        learner = (self.learner or noisy_learner)(*callbacks, runner=runner, **self.settings)
        return Run(learner, callback, partners, trail)

    @functools.cached_property
    def recorded(self) -> Recorded:
        """What the callback uses and changes in a toy training."""
        callback = self.make()
        record = Record(checked(callback.state_access, callback.name))
        records = {callback: record}
        watch = Watch(records)
        error = None
        with seeded():
            try:
                runner = WatchedInit(watch.noting, records)
                learner = (self.learner or toy_learner)(callback, *self.partners_made(), runner=runner, **self.settings)
                with watched(learner, watch.noting, records):
                    learner.fit(EPOCHS)
            except Exception as raised:
                error = raised
        return Recorded(record, watch, error)

    def partners_made(self) -> list[Callback]:
        """Make the partners."""
        return [plugins.load(each)() if isinstance(each, str) else each() for each in self.partners]


def reasons(given: Any, argument: str, what: str) -> dict[str, str]:
    """A mapping of something to reasons, checked.

    Raises:
        ArgumentTypeError: if it is none.
        ArgumentValueError: if a reason is empty.
    """
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(
            f'{argument} maps each {what} to the reason, got {given!r}: {argument}={{"...": "why"}}'
        )
    for key, reason in given.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ArgumentValueError(f'{argument} leaves out {key!r} without a reason: {argument}={{"{key}": "why"}}')
    return dict(given)


@contextmanager
def seeded() -> Iterator[None]:
    """Draw the same random numbers each time, and leave no trace in the generators."""
    with preserved_random_state():
        torch.manual_seed(0)
        random.seed(0)
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed(0)
        yield

"""`Subject`: the callback that is checked, and the trainings that it is used in."""

from __future__ import annotations

import functools
import inspect
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from treadle import plugins
from treadle.access import Permission, checked
from treadle.arguments import function, instance_of
from treadle.callback import Callback
from treadle.dispatch.runners import CallbackRunner
from treadle.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from treadle.learner import Learner
from treadle.ordering.handlers import handlers
from treadle.state.random_state import preserved_random_state
from treadle.testing.comparison.record import Record, RecordedInit, recorded
from treadle.testing.comparison.run import Run, Trail
from treadle.testing.kinds import USUAL, Kind, MakeLearner
from treadle.testing.report import DoesNotApply
from treadle.testing.toy import noisy_learner

Factory = Callable[[], Callback]


@dataclass
class Subject:
    """The callback that is checked.

    Args:
        factory: Makes the callback; called for each training.
        partners: Classes, functions or entry points' names that make the callbacks it needs beside it.
        learner: Makes the learner, as `toy_learner` does. Default: `toy_learner`, and `noisy_learner`
            where dropout and shuffling matter.
        settings: More arguments of the learner.
        unused_ok: Declared paths and handlers that a toy training does not use, each with the reason.
        tool: The function that the author has called, for messages.

    Raises:
        ArgumentTypeError, ArgumentValueError: if an argument cannot be used.
    """

    factory: Factory
    partners: Iterable[Factory | str] = ()
    learner: MakeLearner | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    unused_ok: Mapping[str, str] = field(default_factory=dict)
    tool: str = "check_callback"

    def __post_init__(self) -> None:
        if isinstance(self.factory, type) and not issubclass(self.factory, Callback):
            raise ArgumentTypeError(
                f"{self.tool} was given the class {self.factory.__name__}, which is not a subclass of Callback.\n"
                f"Fix: derive it:\n    class {self.factory.__name__}(Callback): ..."
            )
        if isinstance(self.factory, Callback) or not callable(self.factory):
            raise ArgumentTypeError(
                f"{self.tool} was given {self.factory!r}, and it needs a function that makes the callback, "
                f"a new one for each training.\nFix: pass the class or a function:\n"
                f"    {self.tool}(lambda: {type(self.factory).__name__}(...))"
            )
        if isinstance(self.partners, (str, type)) or not isinstance(self.partners, Iterable):
            shown = self.partners.__name__ if isinstance(self.partners, type) else repr(self.partners)
            raise ArgumentTypeError(f"partners is {shown}, not a list.\nFix: pass a list:\n    partners=[{shown}]")
        self.partners = tuple(self.partners)
        for i, partner in enumerate(self.partners):
            if not isinstance(partner, str):
                function(partner, f"partners[{i}]", "partners=[Recorder]")
        if self.learner is not None:
            function(self.learner, "learner", f"{self.tool}(MyCallback, learner=make_learner)")
        self.callback = self.make()
        self.name = self.callback.name
        known = {*self.declared, *handlers(self.callback)}
        for path in reasons(self.unused_ok, "unused_ok", "path"):
            if path not in known:
                raise ArgumentValueError(
                    f"unused_ok has {path!r}, which {self.name} neither declares nor handles.\n"
                    f"Fix: name one of its paths or handlers. {did_you_mean(path, known)}"
                )

    def make(self) -> Callback:
        """Make the callback."""
        callback = made(self.factory, "callback", self.tool)
        if not isinstance(callback, Callback):
            raise ArgumentTypeError(
                f"The function that makes the callback returned {callback!r}, which is not a Callback.\n"
                f"Fix: return one:\n    {self.tool}(lambda: MyCallback(...))"
            )
        return callback

    def make_partners(self) -> list[Callback]:
        """Make the callbacks that it needs beside it."""
        partners = []
        for i, partner in enumerate(self.partners):
            kind = plugins.load(partner) if isinstance(partner, str) else partner
            callback = made(kind, f"partners[{i}]", "partners")
            partners.append(instance_of(callback, f"What partners[{i}] makes", Callback, "partners=[Recorder]"))
        return partners

    @property
    def declared(self) -> dict[str, type[Permission]]:
        """What the callback declares."""
        return checked(self.callback.state_access, self.callback.name)

    def run(
        self,
        *extra: Callback,
        with_callback: bool = True,
        runner: CallbackRunner | None = None,
        backwards: bool = False,
        make: MakeLearner = noisy_learner,
    ) -> Run:
        """A learner with or without the callback, with dropout and shuffled data, that has not trained yet.

        Args:
            extra: More callbacks.
            runner: The learner's runner. Default: `LinearRunner`.
            backwards: Whether the list of callbacks is in the opposite order.
            make: Makes the learner, unless the author of the callback says what does.
        """
        callback = self.make() if with_callback else None
        partners, trail = self.make_partners(), Trail()
        callbacks = [*partners, trail, *extra, *([callback] if callback else [])]
        learner = self.make_learner(make, callbacks[::-1] if backwards else callbacks, runner)
        return Run(learner, callback, partners, trail)

    def train(self, kind: Kind) -> Run:
        """Train a learner of a kind with the callback."""
        run = self.run(*(make() for make in kind.others), make=kind.make)
        run.result = kind.fit(run.learner)
        return run

    def make_learner(self, make: MakeLearner, callbacks: Iterable[Callback], runner: CallbackRunner | None) -> Learner:
        """A learner, by the author's function if there is one."""
        learner = (self.learner or make)(*callbacks, runner=runner, **self.settings)
        return instance_of(learner, "What learner makes", Learner, "learner=lambda *args, **kw: Learner(...)")

    @functools.cached_property
    def record(self) -> Record:
        """What the callback does in a toy training, which may end with an error."""
        return self.recorded(USUAL)

    def recorded(self, kind: Kind) -> Record:
        """What the callback does in a training of a kind of learner, which may end with an error."""
        callback = self.make()
        record = Record(callback)
        with seeded():
            try:
                callbacks = callback, *self.make_partners(), *(make() for make in kind.others)
                learner = self.make_learner(kind.make, callbacks, RecordedInit(record))
                with recorded(learner, record.note, record):
                    kind.fit(learner)
                record.steps = learner.progress.steps
            except Exception as error:
                record.error = error
        return record

    @property
    def full_record(self) -> Record:
        """What the callback does in a toy training without an error.

        Raises:
            DoesNotApply: if the training ended with one, which the check `training` reports.
        """
        if self.record.error is not None:
            raise DoesNotApply("The toy training ended with an error, see `training`.")
        return self.record


def made(make: Callable[[], Any], what: str, argument: str) -> Any:
    """What a function without arguments makes.

    Args:
        argument: What it was passed to: "partners", or the name of the tool.
    """
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        name = getattr(make, "__name__", repr(make))
        raise ArgumentTypeError(
            f"The {what} cannot be made by {name} without arguments: {error}.\nFix: pass a function that passes them:\n"
            f"    {'partners=[lambda' if argument == 'partners' else 'lambda'}: {name}(...)"
            f"{']' if argument == 'partners' else ''}"
        ) from None
    except ValueError:  # there is no signature to look at
        pass
    return make()


def reasons(mapping: Any, argument: str, what: str) -> dict[str, str]:
    """A mapping from what an author leaves out to the reasons, checked."""
    if not isinstance(mapping, Mapping):
        raise ArgumentTypeError(
            f"{argument} is {mapping!r}, and it maps each {what} to the reason.\n"
            f'Fix: pass a dictionary:\n    {argument}={{"...": "why"}}'
        )
    for key, reason in mapping.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ArgumentValueError(
                f'{argument} has {key!r} without a reason.\nFix: give the reason:\n    {argument}={{"{key}": "why"}}'
            )
    return dict(mapping)


@contextmanager
def seeded() -> Iterator[None]:
    """Draw the same random numbers each time, and restore the generators afterwards."""
    with preserved_random_state():
        torch.manual_seed(0)
        random.seed(0)
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed(0)
        yield

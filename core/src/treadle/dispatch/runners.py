"""`CallbackRunner`: says how the handlers of an event are run; `LinearRunner`, one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from treadle.dispatch.call import Call

Run = Callable[[], object]


class CallbackRunner(ABC):
    """Says how the handlers of an event are run. Subclass it for another way.

    Example:
        >>> from treadle import CustomCallback, StepEnd, TrainingPhase, toy_learner
        >>> class CountingRunner(CallbackRunner):
        ...     "Count the calls of handlers."
        ...     count = 0
        ...     def compile(self, calls):
        ...         run = LinearRunner().compile(calls)
        ...         def counted():
        ...             self.count += len(calls)
        ...             run()
        ...         return counted
        >>> runner, quiet = CountingRunner(), CustomCallback(lambda learner: None, StepEnd, TrainingPhase)
        >>> result = toy_learner(quiet, runner=runner).fit(1)
        >>> runner.count
        16
    """

    @abstractmethod
    def compile(self, calls: Sequence[Call]) -> Run:
        """Make one function that makes all the calls. It is made once for equal phases.

        Args:
            calls: The handlers of one event in one phase, in their order; at least one. A `Call` is
                called without arguments. If it raises, `call.annotate(error)` adds the note that
                names its callback, and the same exception must be raised again.
        """


class LinearRunner(CallbackRunner):
    """Runs one handler after the other. The default.

    Example:
        >>> from treadle import CustomCallback, FitEnd, toy_learner
        >>> callbacks = [CustomCallback(lambda learner, i=i: print(i), FitEnd) for i in range(3)]
        >>> result = toy_learner(*callbacks, runner=LinearRunner()).fit(0)
        0
        1
        2
    """

    def compile(self, calls: Sequence[Call]) -> Run:
        calls = tuple(calls)

        def run_handlers() -> None:
            call = calls[0]
            try:
                for call in calls:
                    call.function(*call.args)  # as call() does, without a frame of its own
            except BaseException as error:
                call.annotate(error)
                raise

        return run_handlers

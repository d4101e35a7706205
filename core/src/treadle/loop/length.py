"""`Length`: how long a fit is, what it runs next, and when validation is due. Nothing else decides it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from treadle.arguments import whole_number
from treadle.errors import ArgumentTypeError, ArgumentValueError, DataError

if TYPE_CHECKING:
    from treadle.phases import Phase


class Counts(NamedTuple):
    """How far a fit has come.

    Attributes:
        rounds: Epochs of any phase that have ended, without those inside of others.
        passes: Epochs of training that have ended, of a fit that goes by steps.
        validations: Epochs of validation that it has run, wherever.
    """

    rounds: int = 0
    passes: int = 0
    validations: int = 0

    def after(self, phase: Phase, counts: Counts) -> Counts:
        """What there will be when an epoch has ended that began with these counts; now it is what is passed."""
        validations = self.validations + 1 if phase.training is False else counts.validations
        return Counts(self.rounds + 1, self.passes + bool(phase.training), validations)


class Length:
    """How long a fit is, what it runs next, and when validation is due.

    A fit of n epochs runs its phases in turn, n times over. One that goes by steps, because it is so long or
    validates so often, runs its training phases in turn, and the others where validation is due: between two batches,
    or, where training is over, after it.

    Args:
        phases: What is run.
        n: The number of epochs, or None.
        steps: The number of training steps, or None.
        validate_every: The number of training steps from validation to validation, or None: then it is run after each
            epoch, or once after all steps.

    Attributes:
        by_steps: Whether it goes by steps.
        began: How many training steps had been done when the fit began.
        passes, validations: See `Counts`.
        by_batches: Whether the training epoch under way goes over its data with `batches`.
        in_epoch: Whether a resumed fit has yet to go on with its training epoch, which perhaps had its last step.
        until_trained: What the batches of such an epoch go through.
    """

    until_trained: Callable[[Phase, Any, Iterator[Any]], Iterator[Any]]

    def __init__(
        self,
        phases: tuple[Phase, ...],
        n: int | None = None,
        steps: int | None = None,
        validate_every: int | None = None,
    ) -> None:
        self.phases, self.n, self.steps, self.validate_every = phases, n, steps, validate_every
        self.by_steps = steps is not None or validate_every is not None
        self.training = tuple(phase for phase in phases if phase.training)
        self.validation = tuple(phase for phase in phases if phase.training is False)
        self.began = self.passes = self.validations = 0
        self.by_batches = self.in_epoch = False

    @property
    def nothing(self) -> bool:
        """Whether the fit was asked for nothing."""
        return not (self.n if self.steps is None else self.steps)

    def counts(self, rounds: int) -> Counts:
        """How far the fit has come, with this number of rounds."""
        return Counts(rounds, self.passes, self.validations)

    def count(self, phase: Phase) -> None:
        """One of the epochs of a fit that goes by steps has ended."""
        if phase.training:
            self.passes += 1
        else:
            self.validations += 1

    def next_phase(self, counts: Counts, steps: int) -> Phase | None:
        """What the fit runs next; None if it is over.

        Args:
            counts: How far it has come.
            steps: The number of training steps that are done, in all fits.
        """
        if not self.by_steps:
            over = self.n is None or counts.rounds >= self.n * len(self.phases)
            return None if over else self.phases[counts.rounds % len(self.phases)]
        if self.is_trained(counts, steps) and not self.in_epoch:
            return self.due(counts, steps)
        return self.training[counts.passes % len(self.training)]  # what is due is run before its first batch

    def is_trained(self, counts: Counts, steps: int) -> bool:
        """Whether the training of a fit that goes by steps is over."""
        if self.steps is not None:
            return steps - self.began >= self.steps
        return self.n is None or counts.passes >= self.n * len(self.training)

    def due(self, counts: Counts, steps: int) -> Phase | None:
        """The phase of validation that is due in a fit that goes by steps, or None."""
        if not self.validation:
            return None
        done, number = steps - self.began, len(self.validation)
        if self.validate_every is not None:
            times = done // self.validate_every
        else:
            times = int(done > 0 and self.is_trained(counts, steps))
        if counts.validations >= times * number:
            return None
        return self.validation[counts.validations % number]

    def skip_missed(self, steps: int) -> None:
        """Several steps were done at once, past more than one multiple: validate once."""
        if self.validate_every is not None:
            missed = ((steps - self.began) // self.validate_every - 1) * len(self.validation)
            self.validations = max(self.validations, missed)


def checked_length(
    phases: tuple[Phase, ...], n: object = None, steps: object = None, validate_every: object = None
) -> Length:
    """The length of a fit, as `Learner.fit` takes it.

    Raises:
        ArgumentTypeError, ArgumentValueError: if it is none, or phases do not go with it.
        DataError: if there is nothing to validate with.
    """
    if n is None and steps is None:
        raise ArgumentTypeError(
            "fit needs a length: a number of epochs, or of steps.\nFix: write one of:\n"
            "    learner.fit(10)\n    learner.fit(steps=10_000)"
        )
    if n is not None and steps is not None:
        raise ArgumentTypeError(
            f"fit got two lengths: {n!r} epochs and steps={steps!r}.\nFix: leave out one of them:\n"
            f"    learner.fit({n!r})\n    learner.fit(steps={steps!r})"
        )
    if n is not None:
        n = whole_number(n, "n", "learner.fit(10)", least=0)
    if steps is not None:
        steps = whole_number(steps, "steps", "learner.fit(steps=10_000)", least=0)
    if validate_every is not None:
        validate_every = whole_number(
            validate_every, "validate_every", "learner.fit(steps=10_000, validate_every=500)", least=1
        )
    length = Length(phases, n, steps, validate_every)
    if not length.by_steps:
        return length
    argument = "steps" if validate_every is None else "validate_every"
    for phase in phases:
        if phase.training is None:
            raise ArgumentValueError(
                f"fit({argument}=...) runs training until it is over and the other phases where validation is due, and "
                f"{type(phase).__name__}.training is None, so it is neither.\n"
                f"Fix: say in the class which it is:\n    training = False"
            )
    if not length.training:
        raise ArgumentValueError(
            f"fit({argument}=...) counts training steps, and there is no training phase in {list(phases)!r}.\n"
            f"Fix: add one:\n    phases=[TrainingPhase(), ...]"
        )
    if validate_every is not None and not length.validation:
        raise DataError(
            "fit got validate_every, and has nothing to validate with.\n"
            "Fix: pass validation data, or leave it out:\n    learner.fit(steps=10_000, data=(training, validation))"
        )
    return length

"""How a learner goes on with a run that was saved; see `treadle.loop.position.Resumption`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from treadle import CancelFittingException, Learner, Phase
from treadle.authoring import RunState, by_unique_name, has_state, length_of, phase_key
from treadle.errors import DamagedCheckpointError, MismatchError, TreadleError

from treadle_checkpoint.ended import cancel_from
from treadle_checkpoint.fast_forward import fast_forward
from treadle_checkpoint.loader_place import rest_of_pass
from treadle_checkpoint.place import Place


class SavedRun:
    """What a resumed run has yet to take over.

    Args:
        learner: The learner, which the state fits.
        state: The saved state.
        place: Where the run was saved.
        where: Where the state comes from, for messages.
        without: Names of callbacks whose states are left out.
    """

    def __init__(self, learner: Learner, state: RunState, place: Place, where: str, without: Collection[str]) -> None:
        self.learner, self.state, self.place, self.where, self.without = learner, state, place, where, without

    def put_back(self, moment: str, *, data: bool = True) -> None:
        """Put the state back; see `RunState.put_back`."""
        with checked(self.where):
            self.state.put_back(self.learner, moment=moment, data=data, where=self.where, without=self.without)

    def put_back_data(self, *, over: bool = False) -> None:
        """Put back the states of the data between two epochs, or where the fit was over, and with that all."""
        with checked(self.where):
            self.state.put_back_data(self.learner, over=over)
        self.learner.position.resumption = None

    def begin(self, length: Any) -> None:
        """Refuse a fit that does not go on where the saved one was.

        Raises:
            MismatchError: if it has other phases, another number of steps, or fewer epochs than were done.
        """
        place, phases = self.place, length.phases
        if not place.in_fit:
            raise MismatchError(
                f"The run was saved in an epoch of {place.phase} that was run by treadle.epoch and not by fit.\n"
                f"Fix: run that epoch first:\n"
                f"    treadle.epoch(learner, {str(place.phase).partition(':')[2]}())"
            )
        if (keys := tuple(phase_key(type(phase)) for phase in phases)) != place.phases:
            raise MismatchError(
                f"Each epoch of the saved fit had {' and '.join(place.phases)}, and of this one has "
                f"{' and '.join(keys)}.\n"
                f"Fix: resume with the same phases; without validation data there is no validation."
            )
        if (place.total, place.every) != (length.steps, length.validate_every) or (place.n is None) != (
            length.n is None
        ):
            raise MismatchError(
                f"The saved fit was {call(place.n, place.total, place.every)}, and this one is "
                f"{call(length.n, length.steps, length.validate_every)}.\n"
                f"Fix: resume with the same length, which counts from the beginning of that fit:\n"
                f"    learner.{call(place.n, place.total, place.every)}"
            )
        done, each = (place.passes, len(length.training)) if length.by_steps else (place.rounds, len(phases))
        trained = length.training if length.by_steps else phases
        in_epoch = place.phase in [phase_key(type(phase)) for phase in trained]
        if length.n is not None and length.n * each < done + in_epoch:
            raise MismatchError(
                f"The saved fit({place.n}) is already past epoch {length.n}.\n"
                f"Fix: n counts from the beginning of that fit, so pass the same number:\n"
                f"    learner.fit({place.n})"
            )
        length.began, length.passes, length.validations = place.began, place.passes, place.validations
        length.in_epoch = in_epoch
        self.learner.position.rounds = place.rounds

    def restore(self) -> None:
        """Put the state back after `FitBegin` was handled.

        Raises:
            CancelFittingException: if the saved fit was over, so that this one is.
        """
        self.put_back("entry")
        if (over := self.over()) is not None:
            if self.place.phase is not None:  # training leaves the random generators where it was ended
                moment = "entry" if "entry" in self.state.part("random") else "now"
                with checked(self.where):
                    self.state.random_state(self.learner, moment, without=self.without).put_back()
            self.put_back_data(over=True)
            raise over
        if self.place.phase is None:
            self.put_back_data()

    def over(self) -> CancelFittingException | None:
        """What ended the saved fit for good; None if it goes on, as it does without the callback that raised it.

        Raises:
            MismatchError: if its class is not loaded.
        """
        place, callbacks = self.place, by_unique_name(self.learner.callbacks)
        if place.ended is None or (place.by is not None and (place.by not in callbacks or place.by in self.without)):
            return None
        with checked(self.where):
            return cancel_from(place.ended, None if place.by is None else callbacks[place.by])

    def rest(self, phase: Phase, data: Any) -> Iterator[Any] | None:
        """Put the state back after `EpochBegin` was handled, and go on with the next batch.

        Raises:
            MismatchError: if an epoch of another phase was under way, or the data are other ones.
        """
        learner, place, position = self.learner, self.place, self.learner.position
        position.resumption = None
        if place.phase is None:
            return None
        if (key := phase_key(type(phase))) != place.phase:
            position.resumption = self
            raise MismatchError(
                f"The run was saved in the middle of an epoch of {place.phase}, and {key} was to run.\n"
                f"Fix: run the rest of that epoch first."
            )
        entry, length = position.at_entry, length_of(data)
        self.put_back("start")
        with checked(self.where):
            position.at_start, position.at_entry = self.state.pass_start(learner), entry
            self.state.put_back_data(learner)
            position.passes_over(learner.data, phase, data).resume(position.at_start.values)
        own_data = learner.data.get(place.data) if place.data is not None else None
        if own_data is not None and own_data is data and has_state(data):
            state = self.state.part("data").get(place.data, {}).get("")
            batches: Iterator[Any] = rest_of_pass(
                str(place.data), data, place.batches, state, first=place.first, length=length
            )
        else:
            share = position.processes.share(learner, phase, data)
            batches = fast_forward(share, place.batches, place.digest, str(place.data))
        position.skipped, learner.progress.step = place.batches, place.steps
        with checked(self.where):
            self.state.random_state(learner, "now", without=self.without).put_back()
        return batches


def call(n: int | None, steps: int | None, every: int | None) -> str:
    """The call of a fit of this length."""
    arguments = [str(n)] if steps is None else [f"steps={steps}"]
    return f"fit({', '.join([*arguments, *([] if every is None else [f'validate_every={every}'])])})"


@contextmanager
def checked(where: str) -> Iterator[None]:
    """Say that a state is damaged where taking it over fails; what a callback raises about its own state is passed on.

    Raises:
        DamagedCheckpointError: naming the checkpoint.
    """
    try:
        yield
    except TreadleError:
        raise
    except Exception as error:
        if any(note.startswith("Raised ") for note in getattr(error, "__notes__", ())):
            raise
        raise DamagedCheckpointError(
            f"{where} is damaged: its state cannot be taken over ({error!r}).\nFix: resume from another checkpoint."
        ) from error

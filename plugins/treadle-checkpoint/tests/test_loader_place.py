"""A loader with a state of its own goes on where it was, or the run is refused by name: no epoch is silently longer."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from treadle import Callback, CancelFittingException, Learner, TrainingPhase, run_epoch, step
from treadle.authoring import batches
from treadle.errors import MismatchError, NotResumableError
from treadle_checkpoint import Checkpointer, checkpoints, resume


class Loader:
    """Gives some batches in each pass.

    Args:
        n: How many.
        holds: What is in its state: "nothing"; "place", the place in the pass; "behind",
            the place before the batch that was given last; "count", how many were given in all, which it does not go on
            from.
        counts: Whether the number of the pass is in its state, and decides on the order.
        goes_on: Whether it goes on from its place once it was given its state.
    """

    def __init__(self, n: int, holds: str, *, goes_on: bool, counts: bool = True) -> None:
        self.n, self.holds, self.goes_on, self.counts = n, holds, goes_on, counts
        self.passes = self.at = self.given = 0
        self.under_way = self.loaded = False

    def __iter__(self) -> Any:
        if not (self.loaded and self.under_way and self.goes_on and self.holds in ("place", "behind")):
            self.passes, self.at = self.passes + 1, 0
        self.loaded, self.under_way = False, True
        order = torch.randperm(self.n, generator=torch.Generator().manual_seed(self.passes * self.counts)).tolist()
        while self.at < self.n:
            self.at, self.given = self.at + 1, self.given + 1
            xs = torch.full((2, 3), float(order[self.at - 1]))
            yield xs, xs.sum(1, keepdim=True)
        self.under_way = False

    def state_dict(self) -> dict[str, Any]:
        held = {"place": {"at": self.at}, "behind": {"at": max(self.at - 1, 0)}, "count": {"given": self.given}}
        passes = {"passes": self.passes} if self.counts else {}
        return {**passes, "under_way": self.under_way, **held.get(self.holds, {})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.loaded = True


class WithLength(Loader):
    def __len__(self) -> int:
        return self.n


class WithRest(Loader):
    """Says how many are left."""

    def __len__(self) -> int:
        return self.n - (self.at if self.loaded and self.under_way and self.holds == "place" else 0)


class OfTorch(Loader, DataLoader[Any]):
    """A `DataLoader` with a state of its own."""

    def __init__(self, n: int, holds: str, **options: Any) -> None:
        DataLoader.__init__(self, range(n))  # type: ignore[arg-type]
        Loader.__init__(self, n, holds, **options)


class Quiet:
    """Batches in one order, without a state."""

    def __iter__(self) -> Any:
        return iter(list(Loader(6, "nothing", goes_on=False)))


def learner(data: Any, *callbacks: Callback) -> Learner:
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 1)
    return Learner(
        model,
        torch.nn.functional.mse_loss,
        data=(data,),
        optimizer=torch.optim.SGD(model.parameters(), lr=1e-3),
        callbacks=callbacks,
        use_default_callbacks=False,
    )


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 6),
    holds=st.sampled_from(["nothing", "place", "behind", "count"]),
    goes_on=st.booleans(),
    counts=st.booleans(),
    kind=st.sampled_from([Loader, WithLength, WithRest, OfTorch]),
    every=st.integers(1, 4),
)
def test_resumed_anywhere_a_run_is_the_one_that_never_stopped_or_is_refused_by_name(
    n, holds, goes_on, counts, kind, every
):
    def build(*callbacks):
        return learner(kind(n, holds, goes_on=goes_on, counts=counts), *callbacks)

    right = holds == "place" and goes_on
    whole = build()
    whole.fit(3)
    with tempfile.TemporaryDirectory() as folder:
        try:
            build(Checkpointer(folder, every_steps=every, every_epochs=1)).fit(3)
        except NotResumableError as error:
            assert holds == "nothing"
            assert "whose state is the same after a batch as before it" in str(error)  # noqa: PT017
        for entry in checkpoints(folder):
            resumed = build()
            resume(resumed, entry.path)
            try:
                resumed.fit(3)
            except MismatchError as error:
                assert not right
                assert "data.training" in str(error)  # noqa: PT017
                assert resumed.progress.epoch == entry.epoch
                continue
            # Nothing says what one without a length does that counts something else as well.
            silent = kind is Loader and (counts or holds == "count" or n == 1)
            assert silent or resumed.progress.steps == whole.progress.steps
            assert silent or resumed.model.weight.equal(whole.model.weight)


def test_a_loader_whose_state_says_no_place_is_refused_at_the_first_save_that_needs_it(tmp_path):
    run = learner(Loader(6, "nothing", goes_on=True), Checkpointer(tmp_path, every_steps=3))
    with pytest.raises(
        NotResumableError,
        match=r"could not be resumed here: data\.training is a Loader, whose state is the same .*\nFix: let its stat",
    ):
        run.fit(3)
    assert run.progress.steps == 3
    run = learner(Loader(6, "nothing", goes_on=True), Checkpointer(tmp_path / "epochs"))
    assert run.fit(3).epochs == 3
    assert learner(Quiet(), Checkpointer(tmp_path / "quiet", every_steps=3)).fit(3).epochs == 3


def test_saved_after_one_batch_it_is_refused_when_the_run_is_resumed_before_the_second_step(tmp_path):
    class Stop(Callback):
        def on_step_end(self):
            raise CancelFittingException

    learner(Loader(6, "nothing", goes_on=True), Stop(), Checkpointer(tmp_path)).fit(3)
    resumed = learner(Loader(6, "nothing", goes_on=True), Checkpointer(tmp_path))
    resume(resumed, tmp_path, without=["Stop"])
    with pytest.raises(MismatchError, match=r"would be too long: data\.training is a Loader, whose .*\nFix: "):
        resumed.fit(3)
    assert resumed.progress.steps <= 2


def test_a_loader_of_known_length_that_begins_anew_is_refused_when_it_gives_more_than_are_left(tmp_path):
    learner(WithLength(4, "count", goes_on=False), Checkpointer(tmp_path, every_steps=3)).fit(1)
    first = checkpoints(tmp_path)[0]
    resumed = learner(WithLength(4, "count", goes_on=False))
    resume(resumed, first.path)
    with pytest.raises(
        MismatchError, match=r"a WithLength, .* after 3 batches, and gave more than the 1 that were left\.\nFix: "
    ):
        resumed.fit(1)
    assert resumed.progress.steps == first.steps + 1


def test_a_phase_that_goes_over_something_else_is_saved_whatever_its_loader_says(tmp_path):
    class Sorted(TrainingPhase):
        def epoch(self, learner, data):
            with run_epoch(learner, self):
                for batch in batches(learner, self, Quiet()):
                    step(learner, self, batch)

    run = learner(Loader(4, "nothing", goes_on=False), Checkpointer(tmp_path, every_steps=1))
    run.fit(2, phases=[Sorted()])
    assert len(checkpoints(tmp_path)) > 2

"""`LRFinder`: the trial run of treadle-schedule, under the names of fastai."""

import pytest
import torch
import treadle_schedule
from treadle import toy_learner
from treadle.errors import ArgumentTypeError
from treadle_fastai import LRFinder


def test_it_is_the_one_of_treadle_schedule() -> None:
    ours = LRFinder(toy_learner(), start_lr=1e-5, end_lr=1.0, num_it=30, stop_div=False).find()
    theirs = treadle_schedule.LRFinder(1e-5, 1.0, 30, stop_div=False).find(toy_learner())
    assert (ours.lrs, ours.losses, len(ours.lrs)) == (theirs.lrs, theirs.losses, 30)


def test_it_stops_where_the_smoothed_loss_is_above_four_times_its_lowest_value() -> None:
    result = LRFinder(toy_learner(), start_lr=1e-4, end_lr=100.0).find()
    assert result.stopped == "the loss diverged"
    *before, last = result.smoothed
    assert last > 4 * min(before)
    assert all(smooth <= 4 * min(before[: i + 1]) for i, smooth in enumerate(before))


def test_the_rates_are_spaced_geometrically() -> None:
    result = LRFinder(toy_learner(), stop_div=False).find()
    assert [result.lrs[k] for k in (1, 50, 99)] == pytest.approx([1.2022644e-7, 1e-3, 8.3176377])


def test_it_needs_a_learner_and_leaves_it_as_it_was() -> None:
    learner = toy_learner()
    before = learner.model.weight.detach().clone()
    LRFinder(learner).find()
    assert torch.equal(learner.model.weight, before)
    with pytest.raises(ArgumentTypeError, match=r"LRFinder\(learn\) must be an instance of Learner"):
        LRFinder(3)

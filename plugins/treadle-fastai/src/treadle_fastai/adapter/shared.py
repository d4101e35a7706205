"""What the callbacks of a learner share, in `cbstate.fastai`: all of it is a part of the run, and saved with it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from weakref import WeakSet

from treadle import PropDict
from treadle.authoring import position_of

from treadle_fastai.adapter.rounds import goes_by_steps, observed, place_of
from treadle_fastai.average_metric import rows_of
from treadle_fastai.smoothen_value import SmoothenValue

#: The fits that have begun, and are not over, by their lengths.
BEGUN: WeakSet[Any] = WeakSet()


def begin(learner: Any) -> Any:
    """A fit begins: what was shared in the one before is over, for the first callback that comes to it."""
    length = position_of(learner).length
    if length not in BEGUN:
        BEGUN.add(length)
        learner.cbstate.fastai = fresh(0 if length is None else length.began)
    return shared_by(learner)


def shared_by(learner: Any) -> Any:
    """What is shared in the fit under way; made when it is first asked for."""
    length, shared = position_of(learner).length, learner.cbstate.get("fastai")
    if shared is not None and (length is None or shared.start == length.began):
        return shared
    shared = fresh(0 if length is None else length.began)
    if observed(learner):
        learner.cbstate.fastai = shared
    return shared


def fresh(start: int) -> PropDict:
    """What is shared when a training begins, after this number of training steps."""
    return PropDict(
        start=start,
        num_batch=0,  # batches of training in the epoch
        train=None,  # whether the last batch was one of training
        smoothed=0,  # how many losses are in the mean, the mean, and that divided by the sum of the weights
        mean=0.0,
        smooth=None,
        smoothed_at="",
        last_metrics=None,
        metrics_of=0,
        val_loss=0.0,  # a sum over rows, and their number
        val_rows=0,
        val_at="",
        skip_validate=False,
        stop_training="",  # who has asked for it last
        skipped="",  # the last batch after which the optimizer made no step
        keep="",  # who has kept the gradients for the next batch
    )


def count(learner: Any, *, train: bool) -> None:
    """A batch was done: note whether of training, and how many of these the epoch has."""
    shared, position = shared_by(learner), position_of(learner)
    if goes_by_steps(position) or not position.nested:
        shared.train = train
        if train:
            shared.num_batch = learner.progress.step


def smooth(learner: Any) -> None:
    """Take the loss of a batch into the smoothed one, once for all callbacks."""
    shared, place = shared_by(learner), f"{place_of(learner)} {learner.progress.steps}"
    if shared.smoothed_at != place:
        smoother = SmoothenValue(0.98)
        smoother.n, smoother.mov_avg = shared.smoothed, shared.mean
        smoother.add_value(learner.step.loss.detach().float())
        shared.smoothed_at, shared.smoothed = place, smoother.n
        shared.mean, shared.smooth = smoother.mov_avg, smoother.smooth


def add_loss(learner: Any, passed: Collection[str]) -> None:
    """Take the loss of a batch of validation into that of the epoch, weighed by its rows; once for all callbacks.

    Args:
        passed: The keywords for entries of the step that the callback may read.
    """
    shared, position = shared_by(learner), position_of(learner)
    place = f"{place_of(learner)} {learner.progress.steps}"
    if shared.val_at == place or "last_loss" not in passed or (position.nested and not goes_by_steps(position)):
        return
    if learner.progress.step == 1:
        shared.val_loss, shared.val_rows = 0.0, 0
    rows = (rows_of(learner.step.get("ys")) if "last_target" in passed else None) or 1
    shared.val_at = place
    shared.val_loss = shared.val_loss + rows * learner.step.loss.detach()
    shared.val_rows += rows


def begin_metrics(learner: Any) -> None:
    """Begin the metrics of an epoch with the loss of its validation; once for all callbacks."""
    shared, epoch = shared_by(learner), learner.progress.epoch
    if shared.metrics_of != epoch:
        shared.last_metrics = [float(shared.val_loss) / shared.val_rows if shared.val_rows else None]
        shared.metrics_of, shared.val_loss, shared.val_rows = epoch, 0.0, 0

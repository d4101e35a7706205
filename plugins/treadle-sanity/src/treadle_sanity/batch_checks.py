"""Checks of first batches: pairs, the loss, ranges, shapes, finite numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader
from treadle.authoring import map_tensors

from treadle_sanity.broadcast import compares_all_rows
from treadle_sanity.check import SkipCheck
from treadle_sanity.lossfns import CROSS_ENTROPY, is_one_of, title
from treadle_sanity.tensors import finite
from treadle_sanity.trial import Trial, influences, outputs, phases_of, trials, without_trace

Find = Callable[[Trial], str | None]


def for_all_trials(find: Find) -> Callable[[Any], bool | str]:
    """A function for a `Check` from one that returns what is wrong with a trial, or None.

    What was found is not a failure where another callback changes steps: it may fix just that.
    """

    def fn(learner: Any) -> bool | str:
        all_trials = trials(learner)
        found = [f"{trial.name}: {text}" for trial in all_trials if (text := find(trial)) is not None]
        if found and (others := influences(learner)):
            raise SkipCheck(f"{', '.join(others)} may change what is in a step")
        reasons = [trial.reason for trial in all_trials if trial.reason is not None]
        if reasons and not found:
            raise reasons[0]
        return " ".join(found) or True

    return fn


def has_training_data(learner: Any) -> bool | str:
    """Whether the training phases have data."""
    names = {str(phase.data_name) for phase in phases_of(learner) if phase.training and phase.data_name is not None}
    missing = [f"data.{name}" for name in sorted(names - {*learner.data})]
    return f"the learner has no {' and no '.join(missing)}." if missing else True


def has_validation_data(learner: Any) -> bool | str:
    """Whether there are data to validate with."""
    validates = any(phase.training is False and phase.data_name != "validation" for phase in phases_of(learner))
    return validates or "validation" in learner.data or "the learner has no data.validation."


@for_all_trials
def batches_are_pairs(trial: Trial) -> str | None:
    """Whether the batches are pairs of inputs and targets."""
    if not trial.fetched and trial.error is not None:
        return f"the first batch cannot be read, {sentence(trial.error)}"
    return None if trial.is_pair or not trial.fetched else f"the first batch is {described(trial.batch)}."


@for_all_trials
def loss_is_a_number(trial: Trial) -> str | None:
    """Whether model and loss function make one number of a batch."""
    if not trial.is_pair or trial.out_of_range is not None or trial.error is None:
        return trial.out_of_range
    return sentence(trial.error)


@for_all_trials
def values_in_range(trial: Trial) -> str | None:
    """Whether the loss function can take such targets and outputs."""
    return trial.out_of_range


def shapes_agree(learner: Any) -> bool | str:
    """Whether an output is compared with its target, and not with those of all rows."""

    def find(trial: Trial) -> str | None:
        if trial.loss is None or trial.lossfn is None:
            return None
        with without_trace(learner, trial.phase):
            together = compares_all_rows(trial.lossfn, trial.yhats, trial.ys)
        if together is None:
            return None
        return (
            f"{title(trial.lossfn)} makes {together} of outputs {tuple(trial.yhats.shape)} and targets "
            f"{tuple(trial.ys.shape)}, so it compares each output with the targets of all rows."
        )

    return for_all_trials(find)(learner)


@for_all_trials
def loss_is_finite(trial: Trial) -> str | None:
    """Whether the first loss is finite."""
    if trial.loss is None or finite(trial.loss):
        return None
    parts = {"the inputs": trial.xs, "the targets": trial.ys, "the outputs": trial.yhats}
    where = [part for part, values in parts.items() if not finite(values)]
    found = f"not finite are {' and '.join(where)}." if where else "inputs, targets and outputs are finite."
    return f"the loss of the first batch is {trial.loss.item():g}; {found}"


@for_all_trials
def outputs_are_logits(trial: Trial) -> str | None:
    """Whether a cross-entropy gets logits, and not what a softmax made of them."""
    yhats = trial.yhats
    if not is_one_of(trial.lossfn, CROSS_ENTROPY) or not isinstance(yhats, torch.Tensor):
        return None
    if yhats.ndim < 2 or yhats.shape[1] < 2 or not yhats.is_floating_point():
        return None
    sums = yhats.float().sum(dim=1)
    if bool((yhats < 0).any()) or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        return None
    return f"the outputs are probabilities, each row's sum is 1; {title(trial.lossfn)} does not take those."


def last_batch_fits(learner: Any) -> bool | str:
    """Whether the last batch of training, if it is a single row, is enough for the batch norms."""
    return " ".join(text for trial in trials(learner) if (text := fault_of_last_batch(learner, trial))) or True


def fault_of_last_batch(learner: Any, trial: Trial) -> str | None:
    """What is wrong with the last batch of a trial's data, or None."""
    loader = trial.data
    size = getattr(loader, "batch_size", None)
    if not trial.phase.training or not isinstance(loader, DataLoader) or loader.drop_last or not size or size < 2:
        return None
    try:
        rows = len(loader.sampler)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return None
    if rows % size != 1 or trial.yhats is None:
        return None
    with without_trace(learner, trial.phase):
        try:
            outputs(learner, map_tensors(lambda tensor: tensor[:1], trial.xs))
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                return f"{trial.name}: {rows} rows in batches of {size} leave one for the last. {sentence(error)}"
        except Exception:  # not every model takes a row alone, and the real last batch may differ
            return None
    return None


def sentence(error: Exception) -> str:
    """An exception in a sentence."""
    return f"{type(error).__name__}: {str(error).rstrip('.') or 'no message'}."


def described(batch: Any) -> str:
    """What to call a batch that is not a pair."""
    if isinstance(batch, torch.Tensor):
        return f"a tensor of shape {tuple(batch.shape)}"
    if isinstance(batch, (tuple, list)):
        return f"a {type(batch).__name__} of {len(batch)}"
    return f"a {type(batch).__name__}"

"""`SWA`: the average of the weights at the ends of epochs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Self

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, update_bn
from treadle import AbstractTrainingPhase, Read, Write
from treadle.authoring import (
    map_tensors,
    models_by_name,
    preserved_random_state,
    preserved_state,
    split_batch,
    whole_number,
)
from treadle.errors import ArgumentValueError, DataError

from treadle_optim.averaged_weights import AveragedWeights
from treadle_optim.averages import Averages
from treadle_optim.kept_weights import cloned


class SWA(AveragedWeights):
    """Average the weights at the ends of epochs; validation and the models of checkpoints are the averages.

    A model with BatchNorm then goes once more over the batches of the epoch, by torch's `update_bn`: the statistics
    of the averages are others than those of the weights that were trained. It leaves the random generators as they
    were, so what is trained is the same with it and without it. Other buffers are the model's own.

    A fit that ends before anything was averaged is warned about; another one may go on to there.

    Args:
        start: The first epoch of training, counted from 1 over all fits, whose end is averaged.

    Reads: `data`, `callbacks` (their `move_data`), for the statistics. Writes: `model`, while it is validated.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `start` is not a whole number of at least 1; in `on_init`, if there
            are several models with BatchNorm in one of them, since nobody knows what these are called with.
        CallbackConflictError: before training, beside another callback that averages weights for validation.
        DataError: if a model with BatchNorm is trained with data that can be read only once.

    Source: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018,
    https://arxiv.org/abs/1803.05407; torch's `AveragedModel` and `update_bn`.

    Example:
        >>> from treadle import toy_learner
        >>> swa = SWA(start=2)
        >>> learner = toy_learner(swa)
        >>> _ = learner.fit(3)
        >>> learner.model.weight.item() > swa.model().weight.item() > 1
        True
    """

    state_access = {"model": Write, "data": Read, "callbacks": Read}

    @classmethod
    def example(cls) -> Self:
        return cls(1)

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = whole_number(start, "start", "SWA(start=75)", least=1)
        self.averaged = 0  # epochs
        self._before_start = 0  # the last epoch of this fit that was not averaged
        self._statistics: Mapping[str, torch.Tensor] = {}

    def on_init(self, learner: Any) -> None:
        super().on_init(learner)
        models = models_by_name(learner.model)
        if "" not in models and any(statistics_of(model) for model in models.values()):
            raise ArgumentValueError(
                f"{self.name} updates the statistics of BatchNorm by calling the model, and there are several: "
                f"{', '.join(models)}.\nFix: average over updates instead, with the model's own statistics:\n"
                f"    EMA(0.999)"
            )

    def on_update_end(self) -> None:
        self.refuse_in_validation()

    def on_epoch_end(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        self._use(learner.model)
        if learner.progress.epoch < self.start:
            self._before_start = learner.progress.epoch
            return
        averages = self.averages
        if averages is None:
            self.averages = Averages(self._model)
        else:
            average(averages, self.averaged)
        self.averaged += 1
        if statistics_of(self._model):
            self._update_statistics(learner, phase)

    def on_fit_end(self) -> None:
        """Warn of a fit whose epochs were all before the first one that is averaged."""
        epoch, self._before_start = self._before_start, 0
        if epoch and not self.averaged:
            from loguru import logger  # needed rarely, and loaded then

            logger.warning(
                f"{self.name} has averaged nothing: it begins with the end of epoch {self.start}, and training has "
                f"come to epoch {epoch}. Until then the averaged weights are the trained ones.\n"
                f"Fix: train on, or begin earlier:\n    {type(self).__name__}(start={max(1, epoch * 3 // 4)})"
            )

    def state_dict(self) -> dict[str, Any]:
        """The averages, how many epochs are in them, the statistics of BatchNorm and, in validation, the trained."""
        return {**super().state_dict(), "averaged": self.averaged, "statistics": dict(self._statistics)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.averaged, self._statistics = state["averaged"], cloned(state["statistics"]) or {}

    def _replaced(self) -> Mapping[str, torch.Tensor]:
        return {**super()._replaced(), **self._statistics}

    def _update_statistics(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        name = str(phase.data_name)
        data = learner.data[name]
        if hasattr(data, "__next__"):
            raise DataError(
                f"{self.name} updates the statistics of BatchNorm, and data.{name} is a {type(data).__name__}, which "
                f"can be read only once.\nFix: pass a list or a DataLoader, or average over updates, with the model's "
                f"own statistics:\n    EMA(0.999)"
            )
        moves = [callback.move_data for callback in learner.callbacks if callback.move_data is not None]
        model = self.model()
        with preserved_random_state(), preserved_state([], [data]):
            batches = (split_batch(learner, batch, phase) for batch in islice(data, learner.progress.step))
            update_bn(inputs(batches, moves), Called(model))
        self._statistics = statistics_of(model)


class Called(nn.Module):
    """A model that is called with the inputs of a batch as training calls it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, xs: Any) -> Any:
        if isinstance(xs, (tuple, list)):
            return self.model(*xs)
        return self.model(**xs) if isinstance(xs, Mapping) else self.model(xs)


def inputs(batches: Iterable[Mapping[str, Any]], moves: list[Any]) -> Iterator[list[Any]]:
    """The inputs of batches, each in a list, as `update_bn` takes them."""
    for xs in (batch["xs"] for batch in batches):
        for move in moves:
            xs = map_tensors(move, xs)
        yield [xs]


def average(averages: Averages, count: int) -> None:
    """Add the parameters to averages of so many, as torch's `AveragedModel` does."""
    for values, parameters in averages.groups(averages.models):
        held = nn.ParameterList(parameters)
        averaged = AveragedModel(held)
        for copy, value in zip(averaged.module.parameters(), values, strict=True):
            copy.data = value
        averaged.n_averaged.fill_(count)
        averaged.update_parameters(held)


def statistics_of(model: Any) -> dict[str, torch.Tensor]:
    """The running statistics of BatchNorm in one or several models, by name."""
    found: dict[str, torch.Tensor] = {}
    for prefix, module in models_by_name(model).items():
        for path, part in module.named_modules(remove_duplicate=False):
            if isinstance(part, _BatchNorm):
                start = ".".join(filter(None, (prefix, path)))
                found |= {f"{start}.{name}" if start else name: buffer for name, buffer in part.named_buffers()}
    return found

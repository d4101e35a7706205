"""`SWA` does what the loop by hand does with torch's parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from loguru import logger
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset
from treadle import Callback, CallbackConflictError, Learner, TrainingPhase, Write, epoch, toy_learner
from treadle.authoring import map_tensors
from treadle.errors import ArgumentTypeError, ArgumentValueError, DataError
from treadle_optim import EMA, SWA

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parent)
    from averaged_loops import Losses, adam, batches, equal, learner_of, network


def by_hand(epochs, start):
    """Training with an average of its ends of epochs, as one writes it with torch."""
    model = network()
    optimizer, averaged, losses = adam(model.parameters()), AveragedModel(model), []
    for number in range(1, epochs + 1):
        model.train()
        for xs, ys in batches(7):
            optimizer.zero_grad()
            mse_loss(model(xs), ys).backward()
            optimizer.step()
        validated = model
        if number >= start:
            averaged.update_parameters(model)
            with torch.random.fork_rng():
                update_bn(batches(7), averaged)
            validated = averaged
        validated.eval()
        with torch.no_grad():
            losses += [mse_loss(validated(xs), ys).item() for xs, ys in batches(3, seed=2)]
    return model, averaged.module, losses


@pytest.mark.parametrize("start", [1, 3])
def test_it_is_bit_for_bit_the_loop_by_hand(start) -> None:
    model, averaged, expected = by_hand(4, start)
    swa, losses = SWA(start), Losses()
    learner = learner_of(swa, losses)
    torch.manual_seed(0)
    network()
    learner.fit(4)
    assert equal(learner.model, model)
    assert equal(swa.model(), averaged)
    assert losses.values == expected


def test_before_its_start_validation_runs_with_the_weights_that_are_there() -> None:
    swa, losses, plain = SWA(9), Losses(), Losses()
    toy_learner(swa, losses).fit(2)
    toy_learner(plain).fit(2)
    assert losses.values == plain.values
    assert swa.weights_in_validation == {}


def test_its_pass_over_shuffled_data_leaves_the_training_as_it_is() -> None:
    trained = []
    for callbacks in ((), (SWA(1),)):
        torch.manual_seed(0)
        xs, ys = torch.randn(20, 3), torch.randn(20, 1)
        loader = DataLoader(
            TensorDataset(xs, ys), batch_size=5, shuffle=True, generator=torch.Generator().manual_seed(4)
        )
        learner = Learner(network(), mse_loss, data=(loader,), callbacks=callbacks, use_default_callbacks=False)
        learner.fit(3)
        trained.append(learner.model)
    assert equal(*trained)


class ToDouble(Callback):
    """Make double precision of batches, and say how."""

    state_access = dict.fromkeys(("step.xs", "step.ys"), Write)

    def move_data(self, part):
        return part.double()

    def on_step_begin(self, learner):
        learner.step.xs, learner.step.ys = (
            map_tensors(self.move_data, part) for part in (learner.step.xs, learner.step.ys)
        )


class Named(nn.Module):
    """A model that takes its inputs by name."""

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(3), nn.Linear(3, 1)

    def forward(self, left, right):
        return self.last(self.norm(left + right))


@pytest.mark.parametrize("kind", [tuple, dict])
def test_the_statistics_are_those_of_inputs_as_training_passes_and_moves_them(kind) -> None:
    data = [
        ({"left": xs, "right": xs} if kind is dict else (xs, xs), ys)
        for xs, ys in batches(4)  # the sum is twice xs
    ]
    swa = SWA(1)
    torch.manual_seed(0)
    learner = Learner(
        Named().double(),
        mse_loss,
        data=(data,),
        callbacks=[swa, ToDouble()],
        use_default_callbacks=False,
    )
    learner.fit(1)
    expected = torch.stack([(2 * xs.double()).mean(0) for xs, _ in batches(4)]).mean(0)
    assert torch.allclose(swa.model().norm.running_mean, expected)


def test_of_several_models_those_without_batch_norm_are_averaged_and_others_are_refused() -> None:
    models = {"first": nn.Linear(3, 1), "second": nn.Linear(3, 1)}
    learner_of(SWA(1), model=models)
    with pytest.raises(ArgumentValueError, match=r"SWA updates the statistics .* several: first, second\.\nFix: aver"):
        learner_of(SWA(1), model={**models, "second": network()})


def test_data_that_can_be_read_once_are_refused_for_batch_norm_alone() -> None:
    with pytest.raises(DataError, match=r"SWA updates the statistics .* read only once\.\nFix: pass a list"):
        epoch(learner_of(SWA(1)), TrainingPhase(), iter(batches(3)))
    epoch(learner_of(SWA(1), model=nn.Linear(3, 1)), TrainingPhase(), iter(batches(3)))


def test_a_fit_that_ends_before_its_start_is_warned_about_and_another_may_go_on() -> None:
    messages: list[str] = []
    sink = logger.add(messages.append, format="{message}")
    try:
        swa = SWA(start=8)
        learner = toy_learner(swa, nbatches=1)
        learner.fit(0)
        assert messages == []
        learner.fit(5)
        assert [str(message).strip() for message in messages] == [
            "SWA has averaged nothing: it begins with the end of epoch 8, and training has come to epoch 5. Until then "
            "the averaged weights are the trained ones.\nFix: train on, or begin earlier:\n    SWA(start=3)"
        ]
        learner.fit(5)
        assert (len(messages), swa.averaged) == (1, 3)
    finally:
        logger.remove(sink)


def test_beside_ema_it_is_refused() -> None:
    with pytest.raises(CallbackConflictError, match="Validation runs with the averages of one of them"):
        toy_learner(SWA(1), EMA())


def test_start_is_checked() -> None:
    with pytest.raises(ArgumentValueError, match="start must be a whole number of at least 1"):
        SWA(0)
    with pytest.raises(ArgumentTypeError, match="start must be a whole number"):
        SWA("75")
    assert repr(SWA(3)) == "<SWA(3)>"


def test_the_statistics_of_batchnorm_are_of_the_inputs_that_split_gives() -> None:
    def averaged(data, **options):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
        learner = Learner(
            model,
            torch.nn.functional.mse_loss,
            data=(data,),
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            callbacks=[swa := SWA(start=1)],
            use_default_callbacks=False,
            **options,
        )
        learner.fit(2)
        return swa.model()[1].running_mean

    generator = torch.Generator().manual_seed(1)
    pairs = [(xs := torch.randn(4, 2, generator=generator), xs.sum(1, True)) for _ in range(3)]
    mappings = [{"x": xs, "y": ys} for xs, ys in pairs]
    assert torch.equal(averaged(mappings, split=lambda batch: (batch["x"], batch["y"])), averaged(pairs))

import random

import numpy as np
import pytest
import torch
from loguru import logger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from treadle import (
    Callback,
    CancelEpochException,
    Learner,
    Phase,
    Read,
    TrainingPhase,
    ValidationPhase,
    epoch,
    run_epoch,
    run_step,
    step,
    toy_learner,
)
from treadle.state.modes import modes_of, put_back_modes, set_modes
from treadle.state.random_state import RandomState, own_generators

BATCH = (torch.ones(2, 3), torch.ones(2, 1))


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))


def learner_of(model, data=(), *callbacks, lr: float = 0.1) -> Learner:
    return Learner(
        model,
        nn.functional.mse_loss,
        data=data,
        optimizer=torch.optim.SGD(model.parameters(), lr=lr),
        callbacks=callbacks,
        use_default_callbacks=False,
    )


def mode(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.fixture
def warnings():
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(message.record["message"]), level="WARNING")
    yield messages
    logger.remove(sink)


class Watch(Callback):
    """Notes each module's mode, and whether gradients are computed, at each step."""

    state_access = {"model": Read}

    def __init__(self) -> None:
        self.seen: dict[str, tuple[list[bool], bool]] = {}

    def on_step_end(self, learner, phase):
        self.seen[type(phase).__name__] = (mode(learner.model), torch.is_grad_enabled())


# Train and eval mode.


def test_training_trains_validation_evaluates_and_both_put_back_what_was() -> None:
    watch, model = Watch(), net()
    learner = learner_of(model, ([BATCH], [BATCH]), watch)
    learner.fit(1)
    assert watch.seen == {"TrainingPhase": ([True] * 5, True), "ValidationPhase": ([False] * 5, False)}
    assert mode(model) == [True] * 5


def test_a_module_frozen_by_eval_stays_frozen_in_training_and_afterwards() -> None:
    watch, model = Watch(), net()
    model[1].eval()
    frozen = [True, True, False, True, True]
    before = model[1].running_mean.clone()
    learner_of(model, ([BATCH], [BATCH]), watch).fit(2)
    assert watch.seen["TrainingPhase"] == (frozen, True)
    assert watch.seen["ValidationPhase"] == ([False] * 5, False)
    assert mode(model) == frozen
    assert torch.equal(model[1].running_mean, before)
    assert model[1].num_batches_tracked.item() == 0


def test_a_model_wholly_in_eval_mode_is_trained_with_one_warning_and_left_in_eval_mode(warnings) -> None:
    watch, model = Watch(), net().eval()
    learner = learner_of(model, ([BATCH],), watch)
    learner.fit(3)
    step(learner, TrainingPhase(), BATCH)
    assert watch.seen["TrainingPhase"] == ([True] * 5, True)
    assert mode(model) == [False] * 5
    assert warnings == [
        "Sequential was wholly in eval mode; it trains in training mode.\nFix: to keep parts of it frozen, call "
        "model.train() and then .eval() on those parts."
    ]


def test_a_model_in_eval_mode_except_for_its_head_is_trained_so_with_one_warning(warnings) -> None:
    watch, model = Watch(), net().eval()
    model[3].train()
    before = model[1].running_mean.clone()
    learner_of(model, ([BATCH],), watch).fit(2)
    assert watch.seen["TrainingPhase"] == ([False, False, False, False, True], True)
    assert mode(model) == [False, False, False, False, True]
    assert torch.equal(model[1].running_mean, before)
    assert warnings == [
        "Sequential is in eval mode except for some of its parts, so 4 of its 5 modules stay frozen while it trains.\n"
        "Fix: if that is not meant, call model.train()."
    ]


def test_a_model_of_one_module_in_eval_mode_needs_no_warning(warnings) -> None:
    learner = toy_learner()
    learner.model.eval()
    learner.fit(1)
    assert (warnings, learner.model.training) == ([], False)


def test_every_model_of_several_is_set_and_put_back() -> None:
    models = {"a": net(), "b": net()}
    models["b"][1].eval()
    before = [mode(model) for model in models.values()]
    modes = modes_of(models.values())
    set_modes(models.values(), training=False)
    assert [any(mode(model)) for model in models.values()] == [False, False]
    put_back_modes(modes)
    assert [mode(model) for model in models.values()] == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, CancelEpochException])
def test_modes_and_gradients_are_put_back_after_every_exception(error) -> None:
    class Raises(Callback):
        def on_step_end(self, phase: ValidationPhase):
            raise error

    model = net()
    model[1].eval()
    before = mode(model)
    learner = learner_of(model, ([BATCH], [BATCH]), Raises())
    if error is CancelEpochException:
        epoch(learner, ValidationPhase())
    else:
        with pytest.raises(error):
            epoch(learner, ValidationPhase())
    assert (mode(model), torch.is_grad_enabled(), learner.progress.phase) == (before, True, None)


def test_an_error_at_the_begin_puts_back_too() -> None:
    class Raises(Callback):
        def on_epoch_begin(self, phase: ValidationPhase):
            raise ValueError("at the begin")

    model = net()
    learner = learner_of(model, ([BATCH], [BATCH]), Raises())
    with pytest.raises(ValueError, match="at the begin"):
        epoch(learner, ValidationPhase())
    assert (mode(model), torch.is_grad_enabled(), learner.progress.phase) == ([True] * 5, True, None)


def test_a_step_on_its_own_is_in_its_phase_too() -> None:
    watch, model = Watch(), net()
    learner = learner_of(model, (), watch)
    step(learner, ValidationPhase(), BATCH)
    assert watch.seen == {"ValidationPhase": ([False] * 5, False)}
    assert mode(model) == [True] * 5


def test_a_phase_of_no_kind_leaves_modes_and_gradients_alone() -> None:
    class Look(Phase):
        """Neither trains nor validates."""

    model = net()
    model[2].eval()
    with run_epoch(learner_of(model), Look()):
        assert (mode(model), torch.is_grad_enabled()) == ([True, True, True, False, True], True)
    with torch.no_grad(), run_step(learner_of(model), Look()):
        assert not torch.is_grad_enabled()


def test_validation_inside_of_a_training_epoch_comes_back_to_it() -> None:
    model = net()
    learner = learner_of(model, ([BATCH], [BATCH]))
    training = TrainingPhase()
    with run_epoch(learner, training):
        step(learner, training, BATCH)
        epoch(learner, ValidationPhase())
        assert (mode(model), torch.is_grad_enabled()) == ([True] * 5, True)
        assert (learner.progress.phase, learner.progress.step) == (training, 1)
        step(learner, training, BATCH)
    assert learner.progress.steps == 2


# Random numbers.


def draw() -> list[float]:
    return [random.random(), float(np.random.rand()), torch.rand(1).item()]


class Noise(Callback):
    """Draws from every global generator in validation."""

    def on_step_begin(self, phase: ValidationPhase):
        draw()


def test_validation_leaves_the_global_generators_as_they_were() -> None:
    learner = toy_learner(Noise())
    state = RandomState()
    epoch(learner, ValidationPhase())
    drawn = draw()
    state.put_back()
    assert drawn == draw()


def test_a_step_of_validation_alone_leaves_them_too() -> None:
    learner = toy_learner(Noise())
    state = RandomState()
    step(learner, ValidationPhase(), (torch.ones(1, 1), torch.ones(1, 1)))
    drawn = draw()
    state.put_back()
    assert drawn == draw()


@pytest.mark.parametrize("how", ["raises", "cancels"])
def test_also_when_validation_ends_early(how) -> None:
    class Ends(Callback):
        def on_step_end(self, phase: ValidationPhase):
            raise ZeroDivisionError if how == "raises" else CancelEpochException

    learner = toy_learner(Noise(), Ends())
    state = RandomState()
    if how == "raises":
        with pytest.raises(ZeroDivisionError):
            epoch(learner, ValidationPhase())
    else:
        epoch(learner, ValidationPhase())
    drawn = draw()
    state.put_back()
    assert drawn == draw()


def test_training_may_draw() -> None:
    class Draws(Callback):
        def on_step_begin(self, phase: TrainingPhase):
            torch.rand(1)

    learner = toy_learner(Draws())
    state = RandomState()
    drawn = draw()
    state.put_back()
    learner.fit(1)
    assert drawn != draw()


def shuffled(own: bool) -> DataLoader:
    data = TensorDataset(torch.arange(24.0).reshape(8, 3), torch.arange(8.0).reshape(8, 1))
    return DataLoader(data, batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(1) if own else None)


@pytest.mark.parametrize("own", [True, False], ids=["own generator", "global generator"])
def test_training_is_bit_equal_with_and_without_validation_from_a_shuffled_loader(own) -> None:
    weights = []
    for validate in (True, False):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        training, validation = shuffled(own), shuffled(own)
        model = net()
        learner = learner_of(model, (training, validation) if validate else (training,), Noise(), lr=1e-3)
        learner.fit(3)
        weights.append([parameter.detach().clone() for parameter in model.parameters()] + [*model.buffers()])
    assert all(map(torch.equal, *weights))


def test_a_loaders_own_generator_is_put_back_after_validation() -> None:
    loader = shuffled(own=True)
    learner = learner_of(net(), (loader, loader))
    before = loader.generator.get_state()
    epoch(learner, ValidationPhase())
    assert torch.equal(loader.generator.get_state(), before)


def test_a_loader_that_is_passed_for_one_epoch_counts_too() -> None:
    loader = shuffled(own=True)
    before = loader.generator.get_state()
    epoch(learner_of(net()), ValidationPhase(), loader)
    assert torch.equal(loader.generator.get_state(), before)


class Augmented(torch.utils.data.Dataset):
    """Draws from generators of its own."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.rng = np.random.default_rng(0)
        self.transform = lambda xs: xs
        self.transform.generator = random.Random(0)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int):
        if index == 4:
            raise IndexError
        noise = torch.rand(1, generator=self.generator).item() + self.rng.random() + self.transform.generator.random()
        return torch.full((3,), float(index)) + noise, torch.ones(1)


def test_generators_in_a_data_set_and_its_transforms_are_put_back_as_well() -> None:
    data = Augmented()
    loader = DataLoader(data, batch_size=2)
    assert len(list(own_generators([loader]))) == 3
    first = [xs for xs, _ in loader]
    fresh = DataLoader(Augmented(), batch_size=2)
    epoch(learner_of(net()), ValidationPhase(), fresh)
    assert all(map(torch.equal, first, [xs for xs, _ in fresh]))


class Shy:
    """Has a property that cannot say what it is."""

    @property
    def generator(self):
        raise RuntimeError("not now")

    def __iter__(self):
        return iter([BATCH])


def test_a_source_whose_attributes_raise_is_still_a_source() -> None:
    assert list(own_generators([Shy()])) == []
    assert learner_of(net(), (Shy(), Shy())).fit(1).steps == 1

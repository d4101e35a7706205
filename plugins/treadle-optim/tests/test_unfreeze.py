"""`Unfreeze` freezes parameters until their epoch begins, and trains as the loop by hand does."""

import fnmatch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CallbackConflictError,
    Learner,
    LossBegin,
    TrainingPhase,
    Write,
    run_step,
    run_update,
)
from treadle.authoring import named_tensors
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle.operations import Loss
from treadle.testing import check_callback, noisy_learner
from treadle_optim import Unfreeze

OPTIMIZERS = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
}


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 4), nn.Linear(4, 1))


DATA = [(torch.rand(5, 3), torch.rand(5, 1)) for _ in range(3)]


def learner_of(*callbacks, model=None, optimizer=OPTIMIZERS["SGD"], data=DATA):
    model = net() if model is None else model
    settings = {"optimizer": optimizer, "data": (data,), "use_default_callbacks": False}
    return Learner(model, nn.functional.mse_loss, callbacks=callbacks, **settings)


def by_hand(model, optimizer, patterns, epochs):
    """An epoch begins with a look at which parameters it trains."""
    for epoch in range(1, epochs + 1):
        for name, parameter in model.named_parameters():
            for begin in sorted(patterns):
                if fnmatch.fnmatch(name, patterns[begin]):
                    parameter.requires_grad_(epoch >= begin)
                    break
        for xs, ys in DATA:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(xs), ys).backward()
            optimizer.step()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["0.*", "1.*", "3.weight", "[34].bias"]), unique=True, max_size=4).flatmap(
        lambda names: st.permutations([1, 2, 3, 4]).map(lambda epochs: dict(zip(epochs, names, strict=False)))
    ),
    st.sampled_from(sorted(OPTIMIZERS)),
)
def test_it_trains_as_the_loop_by_hand(patterns, optimizer):
    learner = learner_of(Unfreeze(patterns), optimizer=OPTIMIZERS[optimizer])
    torch.manual_seed(1)
    learner.fit(4)
    model = net()
    torch.manual_seed(1)
    by_hand(model, OPTIMIZERS[optimizer](model.parameters()), patterns, 4)
    assert all(map(torch.equal, learner.model.state_dict().values(), model.state_dict().values()))


def trained(learner):
    """The names of the parameters that are trained."""
    return [name for name, parameter in named_tensors(learner.params) if parameter.requires_grad]


def test_parameters_are_frozen_from_when_the_learner_is_built_until_their_epoch() -> None:
    learner = learner_of(Unfreeze({2: "3.*", 3: ["0.*", "1.weight", "1.bias"]}))
    seen = [trained(learner)]
    for _ in range(3):
        learner.fit(1)
        seen.append(trained(learner))
    last, body = ["4.weight", "4.bias"], ["0.weight", "0.bias", "1.weight", "1.bias"]
    middle = ["3.weight", "3.bias"]
    assert seen == [last, last, middle + last, body + middle + last]


def test_a_frozen_parameter_keeps_its_bits_under_weight_decay_and_its_optimizer_state_begins_later() -> None:
    learner = learner_of(Unfreeze({2: "0.*"}), optimizer=OPTIMIZERS["AdamW"])
    weight = learner.model[0].weight.detach().clone()
    learner.fit(1)
    assert torch.equal(learner.model[0].weight, weight)
    assert learner.model[0].weight not in learner.optimizer.state
    learner.fit(1)
    assert not torch.equal(learner.model[0].weight, weight)
    assert learner.optimizer.state[learner.model[0].weight]["step"] == 3
    assert learner.optimizer.state[learner.model[4].weight]["step"] == 6


def test_running_statistics_of_a_frozen_layer_follow_the_data() -> None:
    learner = learner_of(Unfreeze({2: "1.*"}))
    learner.fit(1)
    assert learner.model[1].num_batches_tracked == 3
    assert torch.equal(learner.model[1].weight, torch.ones(4))


class Both(AbstractTrainingPhase):
    def step(self, learner, batch):
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            state.yhats = learner.model.head(learner.model.body(batch[0]))
            handle(LossBegin)
            state.loss = handle(Loss)
            run_update(learner, self)


def test_with_several_models_the_names_begin_with_the_models() -> None:
    models = {"body": nn.Linear(3, 2), "head": nn.Linear(2, 1)}
    optimizers = dict.fromkeys(models, OPTIMIZERS["SGD"])
    learner = learner_of(Unfreeze({2: "body.*"}), model=models, optimizer=optimizers)
    assert trained(learner) == ["head.weight", "head.bias"]
    learner.fit(2, phases=[Both()])
    assert trained(learner) == ["body.weight", "body.bias", "head.weight", "head.bias"]


def test_an_epoch_inside_of_another_trains_what_that_does() -> None:
    class Inner(Callback):
        state_access = {"loop": Write}

        def on_step_end(self, learner, phase: TrainingPhase):
            if learner.progress.epoch == 1 and learner.progress.step == 1:
                learner.loop.epoch(TrainingPhase())

    learner = learner_of(Unfreeze({2: "0.*"}), Inner())
    seen = []
    learner.model[0].register_forward_hook(lambda module, xs, ys: seen.append(module.weight.requires_grad))
    learner.fit(1)
    assert seen == [False] * 6


def test_it_keeps_what_callbacks_promise_also_in_a_run_that_is_resumed_while_parameters_are_frozen() -> None:
    check_callback(lambda: Unfreeze({2: "0.*"}), learner=noisy_learner, nbatches=4)


# What is refused.


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            {1: "0.wieght"},
            r"The pattern '0.wieght' of Unfreeze, for epoch 1, matches no parameter. Did you mean `0.weight`",
        ),
        ({1: "0.*", 3: ["3.*", "00.*"]}, r"The pattern '00.\*' of Unfreeze, for epoch 3, matches no .* mean `0.\*`"),
        (
            {2: "*", 3: "0.*"},
            r"The pattern '0.\*' .* epoch 3, matches nothing .* trained from epoch 2 on.\nFix: leave it",
        ),
    ],
)
def test_a_pattern_that_unfreezes_nothing_is_refused_when_the_learner_is_built(patterns, message) -> None:
    with pytest.raises(ArgumentValueError, match=message):
        learner_of(Unfreeze(patterns))


@pytest.mark.parametrize(
    ("patterns", "kind", "message"),
    [
        (["0.*"], ArgumentTypeError, "Unfreeze takes a mapping of epochs to patterns"),
        ({0: "0.*"}, ArgumentValueError, "An epoch of Unfreeze must be a whole number of at least 1, got 0"),
        ({1.5: "0.*"}, ArgumentTypeError, "An epoch of Unfreeze must be a whole number"),
        ({1: 5}, ArgumentTypeError, r"Unfreeze\[1\]"),
        ({1: ["0.*", 5]}, ArgumentTypeError, r"Unfreeze\[1\]"),
    ],
)
def test_invalid_patterns_are_refused(patterns, kind, message) -> None:
    with pytest.raises(kind, match=message):
        Unfreeze(patterns)


def test_an_epoch_in_which_all_is_frozen_is_refused_before_its_first_step() -> None:
    learner = learner_of(Unfreeze({2: "*"}))
    with pytest.raises(ArgumentValueError, match="All parameters are frozen in epoch 1, so there is nothing to train"):
        learner.fit(2)
    assert learner.progress.steps == 0


def test_two_of_them_are_refused() -> None:
    with pytest.raises(CallbackConflictError, match="Give one of them the patterns of both"):
        learner_of(Unfreeze({1: "0.*"}), Unfreeze({2: "1.*"}))


def test_a_lazy_parameter_is_frozen_before_it_has_a_shape() -> None:
    torch.manual_seed(0)
    lazy = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 1))
    batches = [(torch.rand(4, 3), torch.rand(4, 1)) for _ in range(2)]
    learner = Learner(lazy, nn.MSELoss(), data=(batches,), callbacks=[Unfreeze({2: "0.*"})])
    learner.fit(1)
    assert [parameter.grad is None for parameter in lazy.parameters()] == [True, True, False, False]
    learner.fit(1)
    assert [parameter.grad is None for parameter in lazy.parameters()] == [False] * 4

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import Callback, Learner, Read, TrainingPhase, Write, toy_learner
from treadle_schedule import (
    HyperParameterError,
    LearningRate,
    Momentum,
    WeightDecay,
    get_hyperparameter,
    set_hyperparameter,
)


def learner_with(make_optimizer, ngroups=1):
    """A learner whose optimizer has a parameter group for each of its layers."""
    model = torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in range(ngroups)))
    optimizer = make_optimizer([{"params": layer.parameters()} for layer in model])
    return Learner(model, torch.nn.functional.mse_loss, optimizer=optimizer, use_default_callbacks=False)


def gan(**optimizers):
    models = {"generator": torch.nn.Linear(1, 1), "critic": torch.nn.Linear(1, 1)}
    return Learner(models, torch.nn.functional.mse_loss, optimizer=optimizers, use_default_callbacks=False)


def of_groups(learner, key):
    return [group[key] for group in learner.optimizer.param_groups]


def sgd(groups):
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01)


def adam(groups):
    return torch.optim.Adam(groups, lr=0.1, betas=(0.9, 0.99))


@pytest.mark.parametrize(
    ("H", "make", "before"),
    [
        (LearningRate, sgd, 0.1),
        (Momentum, sgd, 0.9),
        (WeightDecay, sgd, 0.01),
        (LearningRate, adam, 0.1),
        (Momentum, adam, 0.9),
        (WeightDecay, adam, 0),
        (Momentum, lambda groups: torch.optim.RMSprop(groups, momentum=0.5), 0.5),
        (Momentum, torch.optim.NAdam, 0.9),
    ],
)
def test_what_was_set_is_what_there_is(H, make, before):
    learner = learner_with(make, 2)
    assert get_hyperparameter(learner, H) == before
    assert set_hyperparameter(learner, H, 0.25) is learner
    assert get_hyperparameter(learner, H) == 0.25


def groups_of(*rates):
    """A learner whose optimizer has a parameter group for each of some learning rates."""
    learner = learner_with(sgd, len(rates))
    for group, rate in zip(learner.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    return learner


RATES = st.floats(1e-6, 10.0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(RATES, st.just(0.0)), max_size=3), RATES, st.lists(st.one_of(RATES, st.just(0.0))), st.data())
def test_the_groups_keep_their_ratio_to_the_first_also_over_a_zero_and_a_resume(others, first, values, data):
    learner = groups_of(first, *others)
    resumed_at = data.draw(st.integers(0, len(values)))
    for i, value in enumerate(values):
        if i == resumed_at:
            state = copy.deepcopy(learner.optimizer.state_dict())
            resumed = groups_of(*(1.0 for _ in of_groups(learner, "lr")))
            resumed.optimizer.load_state_dict(state)
        set_hyperparameter(learner, LearningRate, value)
        assert of_groups(learner, "lr") == pytest.approx(
            [value, *(value * (rate / first) for rate in others)], rel=1e-9
        )
        if i >= resumed_at:
            set_hyperparameter(resumed, LearningRate, value)
            assert of_groups(resumed, "lr") == of_groups(learner, "lr")


def test_the_ratio_is_that_of_who_set_the_groups_last():
    learner = set_hyperparameter(groups_of(1.0, 0.1), LearningRate, 0.5)
    assert of_groups(learner, "lr") == [0.5, 0.05]
    learner.optimizer.param_groups[1]["lr"] = 0.25
    assert of_groups(set_hyperparameter(learner, LearningRate, 1.0), "lr") == [1.0, 0.5]
    set_hyperparameter(learner, LearningRate, [2.0, 0.0])
    assert of_groups(set_hyperparameter(learner, LearningRate, 1.0), "lr") == [1.0, 0.0]
    set_hyperparameter(learner, LearningRate(group=1), 3.0)
    assert of_groups(set_hyperparameter(learner, LearningRate, 0.0), "lr") == [0.0, 0.0]
    assert of_groups(set_hyperparameter(learner, LearningRate, 0.5), "lr") == [0.5, 1.5]


def test_groups_with_the_same_value_stay_the_same_and_nothing_is_kept_in_them():
    learner = set_hyperparameter(groups_of(0.1, 0.1), LearningRate, 0.0)
    assert of_groups(set_hyperparameter(learner, LearningRate, 0.3), "lr") == [0.3, 0.3]
    assert all("lr_base" not in group for group in learner.optimizer.param_groups)


def test_groups_without_a_ratio_are_refused_and_nothing_is_changed():
    learner = groups_of(0.0, 0.1)
    message = (
        r"LearningRate: the parameter groups have \[0\.0, 0\.1\], and the others have no ratio to the first, 0\.\n"
        r"Fix: pass a value for each group, or set one of them:\n    LearningRate\(group=1\)"
    )
    with pytest.raises(HyperParameterError, match=message):
        set_hyperparameter(learner, LearningRate, 0.5)
    assert of_groups(learner, "lr") == [0.0, 0.1]
    assert of_groups(set_hyperparameter(learner, LearningRate, [0.5, 0.5]), "lr") == [0.5, 0.5]


def test_a_ratio_that_leads_to_an_invalid_value_is_refused_by_group():
    learner = learner_with(sgd, 2)
    learner.optimizer.param_groups[0]["momentum"] = 0.45
    with pytest.raises(HyperParameterError, match=r"Momentum has an invalid value for the parameter group 1: 1\.8"):
        set_hyperparameter(learner, Momentum, 0.9)


def test_a_number_is_for_all_groups_that_have_the_same():
    learner = set_hyperparameter(learner_with(sgd, 3), LearningRate, 0.5)
    assert of_groups(learner, "lr") == [0.5, 0.5, 0.5]


def test_a_sequence_has_a_value_for_each_group():
    learner = set_hyperparameter(learner_with(sgd, 3), LearningRate, [0.1, 0.2, 0.3])
    assert of_groups(learner, "lr") == [0.1, 0.2, 0.3]
    assert get_hyperparameter(learner, LearningRate) == [0.1, 0.2, 0.3]


def test_a_sequence_of_another_length_is_refused():
    with pytest.raises(HyperParameterError, match=r"got 2 values for 3 parameter groups\.\nFix: pass one for each"):
        set_hyperparameter(learner_with(sgd, 3), LearningRate, [0.1, 0.2])


def test_one_group_alone_can_be_meant():
    learner = set_hyperparameter(learner_with(sgd, 3), LearningRate(group=1), 0.5)
    assert of_groups(learner, "lr") == [0.1, 0.5, 0.1]
    assert get_hyperparameter(learner, LearningRate(group=1)) == 0.5
    assert get_hyperparameter(learner, LearningRate(group=-1)) == 0.1


def test_a_group_that_is_not_there_is_refused():
    with pytest.raises(HyperParameterError, match=r"no parameter group 3\.\nFix: choose one of the 3, counted from 0"):
        get_hyperparameter(learner_with(sgd, 3), LearningRate(group=3))


def test_the_momentum_of_adam_is_its_first_beta_and_leaves_the_second():
    learner = set_hyperparameter(learner_with(adam), Momentum, 0.8)
    assert of_groups(learner, "betas") == [(0.8, 0.99)]


def test_a_value_that_the_optimizer_does_not_have_is_refused_with_what_it_has():
    learner = learner_with(torch.optim.Adagrad)
    with pytest.raises(
        HyperParameterError, match=r"Momentum: .* has no `momentum`\.\nFix: set something .*: lr, lr_decay"
    ):
        set_hyperparameter(learner, Momentum, 0.9)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), None, "0.1", True, torch.zeros(2)])
def test_an_invalid_learning_rate_is_refused_and_changes_nothing(value):
    learner = learner_with(sgd, 2)
    with pytest.raises(
        HyperParameterError,
        match=r"LearningRate has an invalid value for the parameter group 1: .*\nFix: set it to a number of at least 0",
    ):
        set_hyperparameter(learner, LearningRate, [0.5, value])
    with pytest.raises(HyperParameterError, match=r"LearningRate has an invalid value: .*\nFix: set it to a number"):
        set_hyperparameter(learner, LearningRate, value)
    assert of_groups(learner, "lr") == [0.1, 0.1]


def test_a_momentum_of_one_is_refused():
    with pytest.raises(
        HyperParameterError,
        match=r"Momentum has an invalid value: 1.*\nFix: set it to a number of at least 0 and less than 1",
    ):
        set_hyperparameter(learner_with(adam), Momentum, 1)


class TestInATensor:
    """As capturable optimizers keep it: a captured graph sees it change."""

    def test_a_value_is_changed_in_place(self):
        rate = torch.tensor(0.1)
        learner = learner_with(lambda groups: torch.optim.Adam(groups, lr=rate, foreach=False))
        set_hyperparameter(learner, LearningRate, 0.5)
        assert learner.optimizer.param_groups[0]["lr"] is rate
        assert rate == 0.5

    def test_another_tensor_is_copied_into_it(self):
        rate = torch.tensor(0.1)
        learner = learner_with(lambda groups: torch.optim.Adam(groups, lr=rate, foreach=False))
        set_hyperparameter(learner, LearningRate, torch.tensor(0.25))
        assert rate == 0.25

    def test_groups_that_share_a_tensor_can_have_different_values(self):
        learner = learner_with(lambda groups: torch.optim.Adam(groups, lr=torch.tensor(0.5), foreach=False), 2)
        set_hyperparameter(learner, LearningRate, [0.125, 0.25])
        assert get_hyperparameter(learner, LearningRate) == [0.125, 0.25]
        set_hyperparameter(learner, LearningRate(group=0), 1.0)
        assert get_hyperparameter(learner, LearningRate) == [1.0, 0.25]

    def test_where_the_optimizer_keeps_a_number_a_tensor_becomes_one(self):
        learner = set_hyperparameter(learner_with(sgd), LearningRate, torch.tensor(0.25))
        assert of_groups(learner, "lr") == [0.25]
        assert type(of_groups(learner, "lr")[0]) is float

    def test_groups_in_tensors_keep_their_ratio_and_are_read_once(self):
        rates = [torch.tensor(0.5), torch.tensor(0.25)]
        learner = learner_with(lambda groups: torch.optim.Adam(groups, lr=rates[0], foreach=False), 2)
        learner.optimizer.param_groups[1]["lr"] = rates[1]
        for value in (1.0, 0.0, torch.tensor(4.0)):
            set_hyperparameter(learner, LearningRate, value)
        assert [rate.item() for rate in rates] == [4.0, 2.0]

    def test_a_tensor_that_groups_share_stays_shared_by_one_number(self):
        rate = torch.tensor(0.5)
        learner = learner_with(lambda groups: torch.optim.Adam(groups, lr=rate, foreach=False), 2)
        set_hyperparameter(learner, LearningRate, 0.25)
        assert all(group["lr"] is rate for group in learner.optimizer.param_groups)
        assert rate == 0.25


class TestWithSeveralOptimizers:
    def test_a_value_is_for_the_first_of_them_and_the_others_keep_their_ratio(self):
        learner = set_hyperparameter(gan(generator=sgd_of(0.1), critic=sgd_of(0.2)), LearningRate, 0.5)
        assert get_hyperparameter(learner, LearningRate) == [0.5, 1.0]

    def test_one_of_them_can_be_named(self):
        learner = gan(generator=sgd_of(0.1), critic=sgd_of(0.2))
        set_hyperparameter(learner, LearningRate("critic"), 0.5)
        assert get_hyperparameter(learner, LearningRate) == [0.1, 0.5]
        assert get_hyperparameter(learner, LearningRate("generator")) == 0.1

    def test_a_name_that_is_not_there_is_refused(self):
        learner = gan(generator=sgd_of(0.1), critic=sgd_of(0.2))
        with pytest.raises(HyperParameterError, match=r"optimizer called 'critik'.* Did you mean `critic`\?"):
            get_hyperparameter(learner, LearningRate("critik"))

    def test_a_name_where_there_is_one_optimizer_is_refused(self):
        with pytest.raises(
            HyperParameterError, match=r"Fix: with a single optimizer, leave the name out:\n    LearningRate\(\)"
        ):
            get_hyperparameter(toy_learner(), LearningRate("critic"))

    def test_only_the_named_one_is_declared(self):
        assert LearningRate("critic").state_access == {"optimizer.critic": Write}
        assert LearningRate().state_access == {"optimizer": Write}


def sgd_of(lr):
    return lambda params: torch.optim.SGD(params, lr=lr)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LearningRate(0), r"LearningRate: `optimizer` must be a name, not 0\.\nFix: .*\n    LearningRate\("),
        (lambda: LearningRate("the critic"), "`optimizer` must be a name, not 'the critic'"),
        (lambda: Momentum(group="0"), "Momentum: `group` must be an index, not '0'"),
    ],
)
def test_an_invalid_optimizer_or_group_is_refused(make, message):
    with pytest.raises(HyperParameterError, match=message):
        make()


def test_names_show_optimizer_and_group():
    names = [H.name for H in (LearningRate(), LearningRate("critic"), Momentum(group=0), WeightDecay("g", 1))]
    assert names == ["LearningRate", "LearningRate[critic]", "Momentum[0]", "WeightDecay[g][1]"]


def test_they_are_equal_by_kind_optimizer_and_group():
    assert LearningRate() == copy.copy(LearningRate()) != Momentum()
    assert len({LearningRate(), LearningRate(group=0), LearningRate(group=0), Momentum(group=0)}) == 3


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        (LearningRate(), LearningRate(), True),
        (LearningRate(), Momentum(), False),
        (LearningRate(), LearningRate("critic"), True),
        (LearningRate("generator"), LearningRate("critic"), False),
        (LearningRate(group=0), LearningRate(group=1), False),
        (LearningRate(group=-1), LearningRate(group=1), True),
        (LearningRate(group=-1), LearningRate(group=-2), False),
        (LearningRate(group=0), LearningRate("critic"), True),
        (LearningRate("critic", group=0), LearningRate("critic", group=1), False),
    ],
)
def test_they_clash_where_they_set_the_same_number(first, second, clash):
    assert (first.clashes_with(second), second.clashes_with(first)) == (clash, clash)


def test_reading_needs_no_more_than_read():
    """A callback that only shows the learning rate declares Read."""
    rates = []

    class Watcher(Callback):
        state_access = {"optimizer": Read}

        def on_epoch_begin(self, learner, phase: TrainingPhase):
            rates.append(get_hyperparameter(learner, LearningRate))

    toy_learner(Watcher()).fit(1)
    assert rates == [0.001]

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from treadle import Learner, Read, TreadleError, Write
from treadle.authoring import overlaps
from treadle_schedule import HyperParameter, HyperParameterError, get_hyperparameter, set_hyperparameter
from treadle_schedule.hyperparameter import merged_access


class DropoutRate(HyperParameter):
    state_access = {"model": Write}

    def __init__(self, layer=1):
        self.layer = layer

    def get(self, learner):
        return learner.model[self.layer].p

    def set(self, learner, value):
        learner.model[self.layer].p = value


class NoDropout(DropoutRate):
    pass


def test_a_custom_one_is_got_and_set_like_the_others():
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout(0.5), torch.nn.Dropout(0.3))
    learner = Learner(model, torch.nn.functional.mse_loss, use_default_callbacks=False)
    set_hyperparameter(learner, DropoutRate, 0.1)
    set_hyperparameter(learner, DropoutRate(2), 0.2)
    assert get_hyperparameter(learner, DropoutRate) == 0.1
    assert get_hyperparameter(learner, DropoutRate(2)) == 0.2


def test_it_is_equal_by_type_and_fields():
    assert DropoutRate() == DropoutRate(1) != DropoutRate(2)
    assert NoDropout() != DropoutRate()
    assert len({DropoutRate(), DropoutRate(1), DropoutRate(2)}) == 2


def test_it_clashes_with_its_kind_unless_it_says_otherwise():
    assert DropoutRate(1).clashes_with(DropoutRate(2))
    assert NoDropout().clashes_with(DropoutRate())
    assert DropoutRate().clashes_with(NoDropout())


@pytest.mark.parametrize("value", ["lr", 0.1, int, None])
def test_what_is_not_a_hyperparameter_is_refused(value):
    with pytest.raises(HyperParameterError, match=r"is not a hyperparameter\.\nFix: pass LearningRate") as caught:
        get_hyperparameter(None, value)
    assert isinstance(caught.value, TreadleError)
    assert isinstance(caught.value, ValueError)


PATHS = ["model", "optimizer", "optimizer.critic", "optimizer.critic.state", "cbstate.a", "cbstate"]
DECLARATIONS = st.dictionaries(st.sampled_from(PATHS), st.sampled_from([Read, Write]))


def allows(declared, path, permission):
    """Whether a declaration, or several, allows the use of a path."""
    return any(
        overlaps(path, prefix) and len(prefix) <= len(path) and issubclass(granted, permission)
        for prefix, granted in declared.items()
    )


@given(st.lists(DECLARATIONS, max_size=4), st.sampled_from(PATHS), st.sampled_from([Read, Write]))
def test_merged_declarations_allow_what_any_of_them_does_and_nothing_else(declarations, path, permission):
    expected = any(allows(declared, path, permission) for declared in declarations)
    assert allows(merged_access(declarations), path, permission) == expected


def test_merging_keeps_no_path_that_another_covers():
    assert merged_access([{"optimizer.critic": Write}, {"optimizer": Write}]) == {"optimizer": Write}
    assert merged_access([{"optimizer": Read}, {"optimizer.critic": Write}]) == {
        "optimizer": Read,
        "optimizer.critic": Write,
    }

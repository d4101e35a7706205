"""In a fit that validates by steps, validations are what is counted."""

import itertools

import pytest
from treadle import toy_learner
from treadle_stopping import EarlyStopping, NumberLimit


class Endless:
    """The batches of the toy problem without an end."""

    def __iter__(self):
        return itertools.cycle(toy_learner().data.training)


def steps(stopping, data=None, **length):
    learner = toy_learner(stopping, nbatches=4)
    return learner.fit(data=data, **length).steps


@pytest.mark.parametrize("data", [None, (Endless(), toy_learner(nbatches=2).data.validation)])
def test_patience_and_start_epoch_count_validations_whatever_the_epochs_are(data):
    length = {"data": data, "steps": 100, "validate_every": 3}
    assert steps(EarlyStopping(NumberLimit(4)), **length) == 12
    assert steps(EarlyStopping(patience=2, min_delta=1000.0), **length) == 9
    assert steps(EarlyStopping(patience=2, min_delta=1000.0, start_epoch=3), **length) == 18


def test_so_it_is_for_epochs_that_are_validated_more_often():
    assert steps(EarlyStopping(NumberLimit(1), start_epoch=2), n=10, validate_every=2) == 6


def test_without_validation_epochs_are_counted():
    training = (toy_learner(nbatches=4).data.training,)
    assert steps(EarlyStopping(NumberLimit(1), start_epoch=2), data=training, steps=100) == 12


@pytest.mark.parametrize("length", [{"steps": 4, "validate_every": 2}, {"n": 2}])
def test_start_epoch_counts_over_the_fits_that_go_on_from_each_other(length):
    learner = toy_learner(EarlyStopping(NumberLimit(2), start_epoch=3, keep_state=True), nbatches=2)
    assert [learner.fit(**length).cancelled is not None for _ in range(3)] == [False, False, True]
    assert learner.progress.steps == 10  # five validations, of which the last two were looked at

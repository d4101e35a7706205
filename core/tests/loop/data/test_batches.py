import gc
import weakref

import pytest
import torch
from torch import nn
from treadle import ArgumentTypeError, DataError, Learner, PropDict, TrainingPhase, run_epoch, toy_learner
from treadle.loop.data.batches import batches, length_of

BATCH = (torch.ones(2, 1), torch.ones(2, 1))


def learner(**arguments) -> Learner:
    return Learner(nn.Linear(1, 1), nn.functional.l1_loss, use_default_callbacks=False, **arguments)


def test_data_come_in_a_tuple_or_a_mapping_or_not_at_all() -> None:
    training, validation = [BATCH], [BATCH] * 2
    assert dict(learner().data) == {}
    assert dict(learner(data=(training,)).data) == {"training": training}
    assert dict(learner(data=(training, validation)).data) == {"training": training, "validation": validation}
    assert dict(learner(data=[training, validation]).data) == {"training": training, "validation": validation}
    assert dict(learner(data={"test": validation}).data) == {"test": validation}
    assert type(learner(data={"test": validation}).data) is PropDict


@pytest.mark.parametrize("name", ["values", "items", "keys", "get", "two words"])
def test_data_may_have_any_name(name) -> None:
    made = learner(data={"training": [BATCH], "validation": [BATCH], name: [BATCH]})
    assert made.fit(1).steps == 1
    assert made.data[name] == [BATCH]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (
            torch.ones(2, 1),
            ArgumentTypeError,
            r"^data must be \(\), .*, got a Tensor\.\nFix: write one loader alone with a comma:\n    data=\(loader,\)$",
        ),
        (
            BATCH,
            ArgumentTypeError,
            r", got a tuple of 2\.\nFix: write one",
        ),
        (([BATCH],) * 3, ArgumentTypeError, r", got a tuple of 3\."),
        ("training", ArgumentTypeError, r"got a str\."),
        (iter([BATCH]), ArgumentTypeError, r"got a list_iterator\.\nFix: write one"),
        (
            torch.utils.data.DataLoader([1, 2]),
            ArgumentTypeError,
            r"^data must be \(\), \(training,\), \(training, validation\) or a mapping.*got a DataLoader\.\nFix",
        ),
        (
            {1: [BATCH]},
            ArgumentTypeError,
            r"^The names of data must be texts, got \[1\]\.\nFix: .*:\n    data=\{'training': loader\}$",
        ),
        (
            ([],),
            DataError,
            r"^data\.training got no batch from list\.\nFix: pass a loader with at least one batch \(with `drop_last",
        ),
        (([BATCH], []), DataError, r"^data\.validation got no batch from list"),
        ({"test": ()}, DataError, r"^data\.test got no batch from tuple"),
        ((3,), DataError, r"^data\.training needs an iterable of batches, got 3\.\nFix: pass a DataLoader or a list\."),
        (([BATCH], None), DataError, r"^data\.validation needs an iterable of batches, got None"),
        (
            (torch.utils.data.DataLoader([1, 2, 3], batch_size=5, drop_last=True),),
            DataError,
            r"^data\.training got no batch from DataLoader\.\n.*drop_last=True`, a batch may be larger than the data",
        ),
    ],
)
def test_what_is_not_data_is_refused_also_for_one_fit(data, error, message) -> None:
    with pytest.raises(error, match=message):
        learner(data=data)
    made = learner(data=([BATCH],))
    before = made.data
    with pytest.raises(error, match=message):
        made.fit(1, data)
    assert made.data is before
    assert made.fit(1).steps == 1


def test_a_custom_epoch_goes_over_its_batches() -> None:
    learner = toy_learner()
    with run_epoch(learner, TrainingPhase()):
        assert list(batches(learner, TrainingPhase(), [1, 2])) == [1, 2]


def test_the_number_of_batches_is_none_where_the_data_do_not_know_it() -> None:
    class Unknown(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(())

    assert length_of([1, 2]) == 2
    assert length_of(iter([1])) is length_of(torch.utils.data.DataLoader(Unknown())) is None


def test_data_that_were_passed_for_one_fit_are_not_held_after_it() -> None:
    class Batches(list):
        """A list that can be referred to weakly."""

    learner = toy_learner(nbatches=2)
    data = Batches(learner.data.training)
    reference = weakref.ref(data)
    learner.fit(1, (data,))
    del data
    gc.collect()
    assert reference() is None

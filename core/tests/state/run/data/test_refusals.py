import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset
from treadle.errors import NotResumableError
from treadle.state.run.data.refusals import refuse_unresumable

POINTS = torch.utils.data.TensorDataset(torch.rand(8, 1))


class Stateful:
    """An iterator that knows where it is."""

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration

    def state_dict(self):
        return {}

    def load_state_dict(self, state): ...


class Endless(IterableDataset):
    def __iter__(self):
        return iter(lambda: torch.rand(1), None)


@pytest.mark.parametrize(
    "batches",
    [
        [1, 2],
        range(3),
        Stateful(),
        DataLoader(POINTS, shuffle=True),
        DataLoader(POINTS, num_workers=1),
        DataLoader(Endless()),
    ],
    ids=lambda batches: type(batches).__name__,
)
def test_what_can_be_iterated_again_in_the_same_order_is_fine(batches):
    refuse_unresumable({"training": batches})


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (
            (x for x in [1]),
            r"data.training could not be resumed: generator is an iterator, and what it has yielded is gone",
        ),
        (zip([1], [2], strict=True), r"zip is an iterator"),
        (
            DataLoader(POINTS, num_workers=1, persistent_workers=True),
            r"its workers outlive the epoch[^\n]*\nFix: use persistent_workers=False",
        ),
        (
            DataLoader(POINTS, num_workers=1, in_order=False),
            r"the order in which its workers finish.\nFix: use in_order=True",
        ),
        (DataLoader(POINTS, sampler=iter([1, 2])), r"its sampler is an iterator"),
        (DataLoader(POINTS, batch_sampler=iter([[1]])), r"its batch_sampler is an iterator"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_is_refused_with_a_fix(batches, message):
    with pytest.raises(NotResumableError, match=message):
        refuse_unresumable({"validation": [1], "training": batches})

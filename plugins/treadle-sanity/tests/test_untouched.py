import torch
from torch import nn
from treadle_sanity.untouched import untouched


class Remembering(nn.Module):
    """A model that keeps what it saw in every way a model may."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.calls = 0
        self.seen: list[int] = []
        self.state = None

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        self.count += 1
        self.calls += 1
        self.seen.append(1)
        self.state = xs
        self.extra = nn.Linear(1, 1)
        return xs


def test_counters_containers_attributes_and_new_parts_are_gone_afterwards():
    model = Remembering()
    count, seen = model.count, model.seen
    with untouched(model):
        model(torch.ones(1))
        assert (model.count.item(), model.calls, model.seen) == (1, 1, [1])
    assert model.count is count
    assert count.item() == 0
    assert count._version == 0
    assert model.seen is seen
    assert (model.calls, model.seen, model.state) == (0, [], None)
    assert not hasattr(model, "extra")


def test_running_statistics_are_as_before():
    norm = nn.BatchNorm1d(2)
    with untouched(norm):
        norm(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert norm.running_mean.tolist() == [0, 0]
    assert norm.num_batches_tracked.item() == 0


def test_a_buffer_that_two_modules_share_is_shared_inside_and_afterwards():
    first, second = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    second.running_mean = shared = first.running_mean
    with untouched(nn.Sequential(first, second)):
        assert first.running_mean is second.running_mean
        assert first.running_mean is not shared
    assert first.running_mean is second.running_mean is shared


def test_modes_are_as_before_also_after_an_error():
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout().eval())
    try:
        with untouched(model):
            model.train()
            raise KeyError
    except KeyError:
        modes = [module.training for module in model.modules()]
    assert modes == [True, True, False]


def test_what_is_no_module_is_passed_over():
    model = nn.Dropout()
    with untouched(torch.nn.functional.mse_loss, model):
        model.eval()
    assert model.training

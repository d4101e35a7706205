import random
from collections import deque

import numpy as np
import pytest
import torch
from torch import nn
from treadle import Callback
from treadle.errors import NotSaveableError
from treadle.state.run.objects.preserved import preserved_state


class Holder(Callback):
    def __init__(self, value):
        self.value = value


def preserved(value, change):
    """The value that a callback holds after it was changed and put back."""
    holder = Holder(value)
    with preserved_state([holder]):
        change(holder)
    return holder.value


def change_of(method, *args):
    return lambda holder: getattr(holder.value, method)(*args)


@pytest.mark.parametrize(
    ("value", "change", "expected"),
    [
        ([1, 2], change_of("append", 3), [1, 2]),
        ({"a": 1}, change_of("clear"), {"a": 1}),
        ({1, 2}, change_of("add", 3), {1, 2}),
        (deque([1, 2], maxlen=2), change_of("append", 3), deque([1, 2], maxlen=2)),
        ([[1], {"a": [2]}], lambda holder: holder.value[1]["a"].append(3), [[1], {"a": [2]}]),
        (([1], 2), lambda holder: holder.value[0].append(3), ([1], 2)),
    ],
)
def test_containers_hold_again_what_they_held(value, change, expected):
    after = preserved(value, change)
    assert after is value
    assert after == expected


def test_an_attribute_that_was_set_or_removed_is_as_before():
    holder = Holder(1)
    with preserved_state([holder]):
        holder.other = 2
        del holder.value
    assert vars(holder) == {"value": 1}


def test_containers_that_hold_each_other_are_gone_through_once():
    value = [1]
    value.append(value)
    after = preserved(value, change_of("clear"))
    assert after[0] == 1
    assert after[1] is after


def test_a_tensor_keeps_its_memory_and_gets_its_values_back():
    value = torch.ones(3)
    memory = value.data_ptr()
    after = preserved(value, change_of("zero_"))
    assert (after.tolist(), after.data_ptr()) == ([1, 1, 1], memory)


def test_a_parameter_that_was_converted_is_as_before():
    layer = nn.Linear(1, 1)
    weight, memory, dtype = layer.weight, layer.weight.data_ptr(), layer.weight.dtype
    with preserved_state([layer]):
        layer.double().requires_grad_(False)
        layer.weight.data.zero_()
    assert layer.weight is weight
    assert (weight.data_ptr(), weight.dtype, weight.requires_grad) == (memory, dtype, True)
    assert weight.item() != 0


def test_a_tensor_that_cannot_be_written_to_is_left_alone():
    value = torch.zeros(1).expand(3)
    assert preserved(value, lambda holder: None) is value


@pytest.mark.parametrize(
    ("generator", "draw"),
    [
        (torch.Generator(), lambda g: torch.rand(1, generator=g).item()),
        (random.Random(0), lambda g: g.random()),
        (np.random.default_rng(0), lambda g: g.random()),
        (np.random.RandomState(0), lambda g: g.random()),
    ],
    ids=["torch", "python", "numpy", "numpy's older kind"],
)
def test_a_random_generator_draws_the_same_again(generator, draw):
    with preserved_state([Holder(generator)]):
        first = draw(generator)
    assert draw(generator) == first


def test_another_object_is_put_back_by_its_state_dict():
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    preserved(scaler, lambda holder: holder.value.load_state_dict({**scaler.state_dict(), "scale": 2.0}))
    assert scaler.get_scale() == 8


def test_a_callback_with_state_gets_it_back():
    class Hidden:
        __slots__ = ("count",)

    class Counter(Callback):
        def __init__(self):
            self.hidden = Hidden()
            self.hidden.count = 1

        def state_dict(self):
            return {"count": self.hidden.count}

        def load_state_dict(self, state):
            self.hidden.count = state["count"]

    counter = Counter()
    with preserved_state([counter]):
        counter.hidden.count = 5
    assert counter.hidden.count == 1


def test_the_attributes_of_a_loader_are_put_back_and_its_data_not_gone_into():
    class Loader:
        def __init__(self):
            self.epoch, self.dataset = 0, [torch.zeros(1)]

    loader = Loader()
    with preserved_state([], [loader]):
        loader.epoch = 5
        loader.dataset[0] += 1
    assert (loader.epoch, loader.dataset) == (0, [torch.ones(1)])


def test_a_loaders_own_generator_draws_the_same_again():
    loader = torch.utils.data.DataLoader([1.0, 2.0, 3.0, 4.0], shuffle=True, generator=torch.Generator().manual_seed(1))
    with preserved_state([], [loader]):
        first = list(loader)
    assert list(loader) == first


def test_everything_is_put_back_also_after_an_error():
    holder = Holder(1)
    with pytest.raises(ZeroDivisionError), preserved_state([holder]):
        holder.value = 2 / vars(holder).pop("value") / 0
    assert holder.value == 1


def test_without_parameters_buffers_and_attributes_are_put_back_and_parameters_are_not_copied():
    norm = nn.BatchNorm1d(2)
    mean = norm.running_mean
    with preserved_state([norm], parameters=False):
        norm(torch.ones(4, 2))
        norm.eval()
        nn.init.constant_(norm.weight, 3.0)
    assert (norm.training, norm.running_mean is mean, mean.tolist()) == (True, True, [0, 0])
    assert norm.weight.tolist() == [3, 3]


def test_a_lazy_parameter_is_refused():
    with (
        pytest.raises(NotSaveableError, match=r"cannot become lazy again .*\nFix: show the model a batch .*\n    le"),
        preserved_state([nn.LazyLinear(1)]),
    ):
        pass


# What a trial may leave behind, in a loader, a model or a loss.


class Counting:
    """A plain object that counts what it is called with, in all the ways that there are."""

    __slots__ = ("__dict__", "slot")

    def __init__(self):
        self.calls, self.slot, self.queue = 0, 0, deque([1], maxlen=3)
        self.nested = {"parts": [Holder(0)]}
        self.sums = np.zeros(2)
        self.seen = set()

    def __call__(self, *args):
        self.calls += 1
        self.slot += 1
        self.queue.append(self.calls)
        self.nested["parts"][0].value += 1
        self.sums += 1
        self.seen.add(self.calls)
        return torch.zeros(1)

    def content(self):
        return self.calls, self.slot, list(self.queue), self.nested["parts"][0].value, self.sums.tolist(), self.seen


def test_a_plain_object_that_counts_is_as_it_was_wherever_it_is():
    held, loss, untouched = Counting(), Counting(), Counting()
    model = nn.Sequential(nn.Linear(1, 1))
    model.held = (held,)
    with preserved_state([model, loss]):
        held(), loss(), loss()
        del loss.slot
    assert held.content() == loss.content() == untouched.content()


def test_the_variables_of_a_closure_are_as_they_were():
    count = 0

    def lossfn(yhats, ys):
        nonlocal count
        count += 1
        lossfn.calls = count

    with preserved_state([lossfn]):
        lossfn(1, 2)
    assert (count, vars(lossfn)) == (0, {})


class Queued:
    def __init__(self, source):
        self.source = source

    def __iter__(self):
        return iter(self.source)


def test_the_containers_orders_and_files_of_a_loader_are_as_they_were(tmp_path):
    (tmp_path / "lines").write_text("a\nb\n")
    with (tmp_path / "lines").open("rb") as file:
        parts = {"queue": deque([1, 2]), "order": torch.arange(4), "array": np.arange(4), "file": file}
        loader = Queued([parts, torch.zeros(2)])
        with preserved_state([], [loader]):
            parts["queue"].popleft()
            parts["order"].copy_(torch.randperm(4) + 4)
            parts["array"][:] = 0
            file.read(2)
            parts["new"] = 1
        assert (list(parts["queue"]), parts["order"].tolist(), parts["array"].tolist()) == (
            [1, 2],
            [*range(4)],
            [*range(4)],
        )
        assert (file.tell(), "new" in parts) == (0, False)


@pytest.mark.parametrize(
    "make",
    [
        lambda: iter([1, 2]),
        lambda: iter(deque([1, 2])),
        lambda: (x for x in [1]),
        lambda: zip([1], [2], strict=True),
        lambda: map(abs, [1]),
    ],
)
def test_data_that_hold_an_iterator_under_way_are_refused_and_left_as_they_are(make):
    loader = Queued([{"stream": make()}])
    loader.count = 1
    with (
        pytest.raises(
            NotSaveableError, match=r"data\[0\]\.source\[0\]\['stream'\] is a \w+ under way, .*\nFix: make a new one"
        ),
        preserved_state([], [loader]),
    ):
        raise AssertionError("Nothing is tried.")
    assert len(list(loader.source[0]["stream"])) >= 1


def test_an_iterator_that_is_used_up_does_no_harm():
    used = iter([1])
    list(used)
    with preserved_state([], [Queued([used])]):
        pass


def test_workers_that_were_started_before_stay_and_a_trial_has_some_of_its_own():
    loader = torch.utils.data.DataLoader([1.0, 2.0], num_workers=1, persistent_workers=True)
    list(loader)
    workers = loader._iterator
    with preserved_state([], [loader]):
        assert len(list(loader)) == 2
        assert loader._iterator is not workers
    assert loader._iterator is workers
    fresh = torch.utils.data.DataLoader([1.0, 2.0], num_workers=1, persistent_workers=True)
    with preserved_state([], [fresh]):
        list(fresh)
    assert fresh._iterator is None


def test_data_that_a_model_holds_are_not_copied():
    model = nn.Linear(1, 1)
    model.data = torch.utils.data.TensorDataset(torch.zeros(2))
    with preserved_state([model]):
        model.data.tensors[0].add_(1)
    assert model.data.tensors[0].tolist() == [1, 1]

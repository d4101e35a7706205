import random

import numpy
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from treadle.state.random_state import RandomState
from treadle_checkpoint import MismatchError
from treadle_checkpoint.plain import put_together, take_apart
from treadle_checkpoint.random_states import as_tree, from_tree


class Noisy(TensorDataset):
    def __init__(self):
        super().__init__(torch.rand(4, 1))
        self.rng = numpy.random.default_rng(1)
        self.transform = Transform()


class Transform:
    def __init__(self):
        self.generator = random.Random(2)


def loader():
    return DataLoader(Noisy(), generator=torch.Generator().manual_seed(3))


def draw(source):
    data = source.dataset
    own = torch.rand(1, generator=source.generator).item(), data.rng.random(), data.transform.generator.random()
    return random.random(), numpy.random.rand(), torch.rand(1).item(), *own


def test_every_generator_gives_again_what_it_gave():
    first, other = loader(), loader()
    draw(first)
    tensors = {}
    told = take_apart(as_tree(RandomState([first])), "random", tensors)
    drawn = draw(first)
    from_tree(put_together(told, tensors), [other]).put_back()
    assert draw(other) == drawn


def test_loaders_with_more_generators_than_were_saved_are_refused():
    tree = as_tree(RandomState([]))
    with pytest.raises(MismatchError, match=r"states of 0 random generators .* the learner's data have 3. Resume with"):
        from_tree(tree, [loader()])
    from_tree(tree, [loader()], own=False)


def test_states_of_devices_that_are_not_here_are_left_out_with_a_warning(loguru_warnings):
    tree = {**as_tree(RandomState([])), "devices": {"cuda": [torch.zeros(16, dtype=torch.uint8)] * 99}}
    assert from_tree(tree, []).devices == {}
    assert loguru_warnings == [
        "The checkpoint has random states of other cuda devices than there are here; they are left out."
    ]

import random

import numpy
import pytest
import torch
from loguru import logger
from torch.utils.data import DataLoader, TensorDataset
from treadle.errors import MismatchError
from treadle.state.random_state import RandomState, own_generators, preserved_random_state
from treadle.state.run.values import flatten, unflatten


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
    plain = flatten(RandomState([first]).as_dict(), "random", tensors)
    drawn = draw(first)
    RandomState.from_dict(unflatten(plain, tensors), [other]).put_back()
    assert draw(other) == drawn


def test_loaders_with_more_or_fewer_generators_than_were_saved_are_refused_by_their_paths():
    states = RandomState([]).as_dict()
    there = r"sources\[0\]\.generator, sources\[0\]\.dataset\.rng, sources\[0\]\.dataset\.transform\.generator"
    with pytest.raises(MismatchError, match=rf"has a random generator at {there}, and the .*\.\nFix: build"):
        RandomState.from_dict(states, [loader()])
    RandomState.from_dict(states, [loader()], needed=lambda name: False)
    states = RandomState([loader()]).as_dict()
    with pytest.raises(MismatchError, match=rf"the state of a random generator at {there}, and the .*\.\nFix: build"):
        RandomState.from_dict(states, [])


def test_states_of_devices_that_are_not_here_are_left_out_with_a_warning():
    warned = []
    sink = logger.add(lambda message: warned.append(message.record["message"]), level="WARNING")
    states = {**RandomState([]).as_dict(), "devices": {"cuda": [torch.zeros(16, dtype=torch.uint8)] * 99}}
    assert RandomState.from_dict(states, []).devices == {}
    logger.remove(sink)
    assert warned == ["The checkpoint has random states of other cuda devices than there are here; they are left out."]


def test_each_generator_is_found_once():
    generator = torch.Generator()
    data = TensorDataset(torch.ones(4, 1))
    sampler = torch.utils.data.RandomSampler(data, generator=generator)
    loader = DataLoader(data, sampler=sampler, generator=generator)
    assert own_generators([loader, loader, None, [generator], "text"]) == {"sources[0].generator": generator}


def test_preserved_random_state_holds_after_an_exception():
    state = RandomState()
    with pytest.raises(IndexError), preserved_random_state():
        _ = [torch.rand(1)][1]
    drawn = torch.rand(1)
    state.put_back()
    assert torch.equal(drawn, torch.rand(1))


def test_a_generator_is_found_under_any_name_and_one_without_a_state_is_left_out():
    sampler = torch.utils.data.SequentialSampler([1, 2])
    sampler.chance, sampler.bits, sampler.system = random.Random(1), numpy.random.PCG64(2), random.SystemRandom()
    sampler.older = numpy.random.RandomState(3)
    source = DataLoader([1, 2], sampler=sampler)
    assert set(own_generators([source]).values()) == {sampler.chance, sampler.bits, sampler.older}
    state = RandomState([source])
    first = sampler.chance.random(), sampler.bits.random_raw(), sampler.older.rand()
    state.put_back()
    assert (sampler.chance.random(), sampler.bits.random_raw(), sampler.older.rand()) == first

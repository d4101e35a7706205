import torch
from treadle.testing import noisy_learner


def weights(disturb) -> torch.Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = noisy_learner(nbatches=3)
        disturb(learner)
        learner.fit(1)
        return learner.model[0].weight.detach()


def test_without_a_disturbance_each_training_is_the_same():
    assert torch.equal(weights(lambda learner: None), weights(lambda learner: None))


def test_a_number_that_is_drawn_shows_in_the_weights():
    assert not torch.equal(weights(lambda learner: None), weights(lambda learner: torch.rand(1)))


def test_making_one_draws_no_number():
    before = torch.get_rng_state()
    noisy_learner()
    assert torch.equal(before, torch.get_rng_state())


def test_batches_are_as_many_and_as_large_as_asked_for():
    learner = noisy_learner(nbatches=3, batchsize=5, coeff=2.0)
    batches = list(learner.data.validation)
    assert [tuple(xs.shape) for xs, _ in batches] == [(5, 1)] * 3
    assert all(torch.equal(2 * xs, ys) for xs, ys in batches)

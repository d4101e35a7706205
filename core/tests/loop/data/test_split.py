"""What a batch is: a pair, what `split` makes one of, or, without a loss function, a mapping of inputs."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    ArgumentValueError,
    DataError,
    Learner,
    LossError,
    TrainingPhase,
    ValidationPhase,
    run_step,
    run_update,
    step,
    toy_learner,
)
from treadle.authoring import split_batch
from treadle.operations import Forward


class Output(OrderedDict):
    """An output as those of Hugging Face are: its entries are attributes, and its loss may be missing."""

    def __getattr__(self, name):
        if name in self:
            return self[name]
        raise AttributeError(name)


class WithLoss(nn.Module):
    """Takes named inputs, and computes its own loss where it gets labels."""

    def __init__(self, kind=Output) -> None:
        super().__init__()
        self.linear, self.kind = nn.Linear(2, 1), kind

    def forward(self, inputs, labels=None):
        outputs = self.linear(inputs)
        loss = {} if labels is None else {"loss": nn.functional.mse_loss(outputs, labels)}
        return self.kind(**loss, outputs=outputs)


def batches(count: int = 4) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [{"inputs": (xs := torch.randn(3, 2, generator=generator)), "labels": xs.sum(1, True)} for _ in range(count)]


def learner_of(model, lossfn, data, **options) -> Learner:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Learner(model, lossfn, data=(data, data), optimizer=optimizer, use_default_callbacks=False, **options)


def test_split_says_what_the_inputs_and_the_targets_are() -> None:
    torch.manual_seed(0)
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    other.load_state_dict(model.state_dict())
    split = learner_of(model, nn.MSELoss(), batches(), split=lambda batch: (batch["inputs"], batch["labels"]))
    plain = learner_of(other, nn.MSELoss(), [(batch["inputs"], batch["labels"]) for batch in batches()])
    assert split.fit(2).steps == plain.fit(2).steps == 8
    assert torch.equal(model.weight, other.weight)
    assert split.evaluate() == plain.evaluate()
    assert torch.equal(split.predict(batches()), plain.predict([batch["inputs"] for batch in batches()]))


def test_split_makes_a_pair_of_a_batch_of_three() -> None:
    learner = toy_learner(split=lambda batch: (batch[0] + batch[1], batch[2]))
    state = step(learner, TrainingPhase(), (torch.ones(2, 1), torch.ones(2, 1), torch.zeros(2, 1)))
    assert state.xs.tolist() == [[2.0], [2.0]]
    assert learner.predict([(torch.ones(2, 1), torch.ones(2, 1), None)]).shape == (2, 1)


def test_a_trial_of_a_learner_splits_as_the_learner() -> None:
    learner = toy_learner(split=lambda batch: (batch, batch))
    assert learner.trial([]).split is learner.split


@pytest.mark.parametrize(
    ("returned", "got"), [(3, "a int"), ((1, 2, 3), "a tuple of 3"), ({"a": 1}, "a dict of 'a'"), (None, "a NoneType")]
)
def test_split_must_return_a_pair(returned, got) -> None:
    learner = toy_learner(split=lambda batch: returned)
    with pytest.raises(DataError, match=rf"The learner's `split` returned {got}, not a pair \(xs, ys\).\nFix: return"):
        step(learner, TrainingPhase(), 1)


def test_an_error_of_split_says_what_it_was_called_with() -> None:
    learner = toy_learner(split=lambda batch: (batch["image"], batch["label"]))
    with pytest.raises(KeyError) as raised:
        step(learner, TrainingPhase(), {"images": 1})
    assert "Raised by the learner's `split`, which was called with a dict of 'images'." in raised.value.__notes__


def test_a_mapping_beside_a_loss_function_needs_split() -> None:
    with pytest.raises(DataError, match=r"needs batches that are pairs \(xs, ys\), got a dict of 'inputs', 'labels'."):
        learner_of(nn.Linear(2, 1), nn.MSELoss(), batches()).fit(1)


def test_a_callback_splits_a_batch_as_the_phases_do() -> None:
    learner = toy_learner(split=lambda batch: batch[:2])
    assert split_batch(learner, (1, 2, 3), ValidationPhase()) == {"xs": 1, "ys": 2}


# The loss that an output carries.


@pytest.mark.parametrize("kind", [Output, dict])
def test_without_a_loss_function_the_output_carries_the_loss_and_a_mapping_is_all_inputs(kind) -> None:
    torch.manual_seed(0)
    model = WithLoss(kind)
    by_hand = WithLoss(kind)
    by_hand.load_state_dict(model.state_dict())
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    for _ in range(2):
        for batch in batches():
            optimizer.zero_grad()
            by_hand(**batch)["loss"].backward()
            optimizer.step()
    learner = learner_of(model, None, batches())
    learner.fit(2)
    assert torch.equal(model.linear.weight, by_hand.linear.weight)
    assert "ys" not in learner.step
    with torch.no_grad():
        losses = [by_hand.eval()(**batch)["loss"].item() for batch in batches()]
    assert learner.evaluate()["Loss"] == pytest.approx(sum(losses) / 4)
    outputs = learner.predict([{"inputs": batch["inputs"]} for batch in batches()])
    assert {name: part.shape for name, part in outputs.items()} == {"outputs": (12, 1)}


def test_a_pair_works_without_a_loss_function_as_well() -> None:
    class Autoencoder(nn.Linear):
        def forward(self, xs):
            return {"loss": (super().forward(xs) - xs).abs().mean()}

    learner = learner_of(Autoencoder(2, 2), None, [(torch.ones(3, 2), None)])
    assert learner.fit(1).steps == 1


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            {"inputs": torch.ones(3, 2)},
            r"The learner has no loss function, and the output of the model, a mapping of 'ou",
        ),
        (torch.ones(3, 2), r"needs batches that are pairs \(xs, ys\) or mappings, got a Tensor of shape \(3, 2\)"),
    ],
)
def test_without_a_loss_anywhere_training_is_refused(batch, message) -> None:
    with pytest.raises((LossError, DataError), match=message):
        learner_of(WithLoss(), None, [batch]).fit(1)


def test_the_loss_that_is_carried_must_be_one_number() -> None:
    class Several(nn.Linear):
        def forward(self, inputs):
            return {"loss": super().forward(inputs)}

    with pytest.raises(LossError, match=r"The loss that the output of the model carries is a tensor of shape \(3, 2\)"):
        learner_of(Several(2, 2), None, [{"inputs": torch.ones(3, 2)}]).fit(1)


def test_a_carried_loss_without_gradients_is_refused_by_name() -> None:
    class Detached(nn.Linear):
        def forward(self, inputs):
            return {"loss": super().forward(inputs).mean().detach()}

    with pytest.raises(LossError, match="The loss that the model returned needs no gradient"):
        learner_of(Detached(2, 2), None, [{"inputs": torch.ones(3, 2)}]).fit(1)


# A phase of one's own knows what to do with its batches.


def test_a_phase_of_ones_own_gets_a_batch_of_three_as_it_is() -> None:
    class Weighted(AbstractTrainingPhase):
        def step(self, learner, batch):
            xs, ys, weights = batch
            with run_step(learner, self, xs=xs, ys=ys, weights=weights) as (handle, state):
                state.yhats = handle(Forward)
                state.loss = (state.weights * (state.yhats - state.ys).abs()).mean()
                run_update(learner, self)

    learner = toy_learner(data=([(torch.ones(2, 1), torch.ones(2, 1), torch.ones(2, 1))],))
    assert learner.fit(1, phases=[Weighted()]).steps == 1


# Models without parameters.


def test_a_model_without_parameters_is_evaluated_and_not_trained() -> None:
    data = [(torch.ones(2, 1), torch.zeros(2, 1))]
    learner = Learner(nn.Identity(), nn.L1Loss(), data=(data, data), use_default_callbacks=False)
    assert learner.evaluate() == {"Loss": 1.0}
    assert learner.predict(data).tolist() == [[1.0], [1.0]]
    assert learner.optimizer is None
    assert learner.fit(1, phases=[ValidationPhase()]).cancelled is None
    assert learner.trial([]).evaluate(data) == {"Loss": 1.0}
    message = (
        r"^The model Identity has no parameters, so there is nothing to train\.\nFix: pass one that has some, or u"
    )
    with pytest.raises(ArgumentValueError, match=message):
        learner.fit(1)

import pytest
import torch
import torchmetrics
from treadle import CustomCallback, StepEnd, epoch, toy_learner
from treadle_metrics import Metric, MetricError, Metrics, Recorder

F1 = torchmetrics.classification.BinaryF1Score
BATCHES = [(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1, 0, 0])), (torch.tensor([1.0, 1.0]), torch.tensor([1, 1]))]


class Share:
    """The share of equal elements, with nothing but the three methods."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.right = self.total = 0

    def update(self, yhats, ys):
        self.right += int((yhats == ys).sum())
        self.total += len(ys)

    def compute(self):
        return self.right / self.total


class Listing(Share):
    def update(self, yhats, ys):
        super().update(yhats, ys)
        self.seen = {1}


def run(phase, metric, batches=BATCHES):
    learner = toy_learner(Recorder(), Metrics(metric))
    epoch(learner, phase, batches)
    name = learner.get_callback(Metrics).metrics[1].name
    steps = learner.cbstate.metricsstep[phase][name]
    return list(steps.values), learner.cbstate.metricsepoch[phase][name].last[1]


def test_a_step_has_the_value_of_its_batch_and_the_epoch_that_of_everything(outputs):
    steps, whole = run(outputs, Share())
    assert steps == [2 / 3, 1.0]
    assert whole == 4 / 5


def test_the_same_holds_for_torchmetrics(outputs):
    steps, whole = run(outputs, F1())
    assert steps == pytest.approx([2 / 3, 1.0])
    assert whole == pytest.approx(6 / 7)


def test_it_starts_again_with_each_epoch(outputs):
    learner = toy_learner(Recorder(), Metrics(F1()))
    epoch(learner, outputs, BATCHES)
    epoch(learner, outputs, BATCHES[1:])
    assert list(learner.cbstate.metricsepoch[outputs]["BinaryF1Score"].values) == pytest.approx([6 / 7, 1.0])


def test_a_torchmetrics_object_works_as_a_statistic(outputs):
    def largest(yhats, ys):
        return yhats.sum()

    assert run(outputs, Metric(largest, statistic=torchmetrics.MinMetric())) == ([2.0, 2.0], 2.0)


def test_with_a_statistic_the_epochs_value_is_made_of_the_steps(outputs):
    assert run(outputs, Metric(Share(), statistic=torchmetrics.MeanMetric()))[1] == pytest.approx((2 / 3 + 1) / 2)


def test_a_torchmetrics_object_follows_the_outputs_to_their_device(outputs):
    metric = Metric(torchmetrics.MeanSquaredError())
    learner = toy_learner()
    outputs.step(learner, (torch.ones(2, device="meta"), torch.ones(2, device="meta")))
    metric.step(learner, outputs)
    assert metric.step_value().device.type == "meta"


@pytest.mark.parametrize("make", [Share, F1, torchmetrics.CatMetric, lambda: torchmetrics.MinMaxMetric(F1())])
def test_a_metric_resumed_in_the_middle_of_an_epoch_gives_the_same(make):
    def metric():
        if make is torchmetrics.CatMetric:
            return Metric(lambda yhats, ys: 1.0, name="X", statistic=make())
        return Metric(make(), name="X")

    def feed(target, batch):
        (part,) = target._parts().values()
        part.update(*([batch[0].sum()] if make is torchmetrics.CatMetric else batch))

    def value(target):
        (part,) = target._parts().values()
        result = getattr(part, "single", part).target.compute()
        return result["raw"] if isinstance(result, dict) else result

    whole, first, second = metric(), metric(), metric()
    for target, batches in ((whole, BATCHES), (first, BATCHES[:1])):
        for batch in batches:
            feed(target, batch)
    second.load_state_dict(first.state_dict())
    feed(second, BATCHES[1])

    assert torch.equal(torch.as_tensor(value(second)), torch.as_tensor(value(whole)))


def test_a_state_that_no_checkpoint_can_hold_is_refused_by_name_in_the_middle_of_an_epoch(outputs):
    learner = toy_learner(Recorder(), Metrics(Listing()))
    save = CustomCallback(lambda _: learner.get_callback(Metrics).state_dict(), StepEnd, type(outputs))
    save.run_after = ("metrics",)
    learner.add_callback(save)
    with pytest.raises(MetricError, match=r"metric 'Listing': `seen` of Listing is a set.*\nFix: .*`load_state_dict`"):
        epoch(learner, outputs, BATCHES)


def test_between_two_epochs_nothing_of_a_metric_needs_to_be_saved(outputs):
    learner = toy_learner(Recorder(), Metrics(Listing()))
    epoch(learner, outputs, BATCHES)
    state = learner.get_callback(Metrics).state_dict()
    assert (state["metrics"], state["measured"], state["since"]) == (["Loss", "Listing"], {}, {})

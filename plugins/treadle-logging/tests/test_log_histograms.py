import pytest
import torch
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    Callback,
    Learner,
    Read,
    TrainingPhase,
    Write,
    accesses,
    epoch,
    run_step,
    run_update,
    toy_learner,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import LogHistograms
from treadle_logging.log_histograms import collected_outputs
from treadle_metrics import Recorder

GOOD = (torch.ones(8, 1), torch.full((8, 1), 3.0))  # a gradient of -1


def test_the_weights_are_logged_as_they_are_after_the_step(memory) -> None:
    learner = toy_learner(Recorder(), LogHistograms(memory, freq=None), nbatches=2)
    learner.fit(1)
    assert [(tag, i) for tag, i, _ in memory.rows] == [
        ("Step/Histograms/Weights/weight", 1),
        ("Step/Histograms/Weights/weight", 2),
    ]
    assert memory.rows[-1][2] == [learner.model.weight.item()]
    assert memory.rows[0][2] != memory.rows[1][2]


def test_every_hundredth_step_is_the_default_and_the_first_one_counts(memory) -> None:
    toy_learner(Recorder(), LogHistograms(memory), nbatches=90).fit(3)
    assert [i for _, i, _ in memory.rows] == [1, 101, 201]


def test_validation_changes_no_weights_so_nothing_is_logged_there(memory) -> None:
    toy_learner(Recorder(), LogHistograms(memory, freq=None), nbatches=2).fit(3)
    assert len(memory.rows) == 6


def test_gradients_are_logged_on_request(memory) -> None:
    learner = toy_learner(Recorder(), LogHistograms(memory, freq=None, gradients=True), nbatches=1)
    learner.fit(1)
    assert memory.of("Step/Histograms/Gradients/weight") == [(1, [learner.model.weight.grad.item()])]


class Pairs(Callback):
    """Two batches for each update."""

    def accumulate(self, learner, phase: TrainingPhase):
        return learner.progress.accumulated == 0


@pytest.mark.parametrize(("freq", "steps"), [(None, [2, 4, 5]), (3, [2, 4]), (4, [2, 5])])
def test_gradients_are_logged_of_the_updates_of_those_steps_where_they_are_whole(memory, freq, steps) -> None:
    whole = []

    class Clip(Callback):
        state_access = {"step.grads": Write}

        def on_update_begin(self, learner):
            whole.append(learner.step.grads["weight"].clamp_(-1.5, 1.5).item())

    learner = toy_learner(
        Recorder(), LogHistograms(memory, freq=freq, gradients=True), Pairs(), Clip(), data=([GOOD] * 5,)
    )
    learner.fit(1)
    assert whole == [-1.5, -1.5, -1.0]  # the last one completes the epoch
    of_step = dict(zip([2, 4, 5], whole, strict=True))
    assert memory.of("Step/Histograms/Gradients/weight") == [(i, [of_step[i]]) for i in steps]


def test_a_phase_that_makes_no_updates_shows_its_gradients_at_the_end_of_a_step(memory) -> None:
    class ByHand(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self, xs=batch[0], ys=batch[1]) as (_, state):
                state.loss = learner.lossfn(learner.model(state.xs), state.ys)
                state.loss.backward()
                learner.optimizer.step()

    learner = toy_learner(Recorder(), LogHistograms(memory, gradients=True), data=([GOOD],))
    learner.fit(1, phases=[ByHand()])
    assert memory.of("Step/Histograms/Gradients/weight") == [(1, [-1.0])]


def test_each_update_of_several_models_shows_its_own(memory) -> None:
    class Adversarial(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self, xs=batch) as (_, state):
                for name, model in learner.model.items():
                    state.loss = model(batch).sum()
                    run_update(learner, self, models=name)

    models = {name: nn.Linear(1, 1, bias=False) for name in ("critic", "generator")}
    learner = Learner(
        models, nn.functional.mse_loss, optimizer=dict.fromkeys(models, lambda p: torch.optim.SGD(p, lr=0.1)),
        callbacks=[Recorder(), LogHistograms(memory, gradients=True)], use_default_callbacks=False,
    )  # fmt: skip
    epoch(learner, Adversarial(), [torch.tensor([[2.0]])])
    for name in models:
        assert memory.of(f"Step/Histograms/Gradients/{name}/weight") == [(1, [2.0])]


def test_a_phase_that_shows_no_gradients_has_none_to_log(memory) -> None:
    class Quiet(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self, xs=batch):
                pass

    learner = toy_learner(Recorder(), LogHistograms(memory, freq=1, gradients=True), nbatches=1)
    learner.fit(1, phases=[Quiet()])
    assert memory.tags() == ["Step/Histograms/Weights/weight"]


def network(*callbacks) -> Learner:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    data = [(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2)), (torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2))]
    return Learner(
        net, nn.functional.mse_loss, data=(data,), optimizer=lambda p: torch.optim.SGD(p, lr=0.0),
        callbacks=[Recorder(), *callbacks], use_default_callbacks=False,
    )  # fmt: skip


def test_activations_are_logged_on_request_by_layer(memory) -> None:
    learner = network(LogHistograms(memory, freq=None, activations=True))
    learner.fit(1)
    assert memory.of("Step/Histograms/Activations/0") == [(1, [1.0, -2.0]), (2, [3.0, -4.0])]
    assert memory.of("Step/Histograms/Activations/1") == [(1, [1.0, 0.0]), (2, [3.0, 0.0])]


def test_activations_are_only_watched_in_the_steps_that_are_logged(memory) -> None:
    hooks = []

    class Net(nn.Linear):
        def forward(self, xs):
            hooks.append(len(self._forward_hooks))
            return super().forward(xs)

    learner = toy_learner(Recorder(), LogHistograms(memory, freq=2, activations=True), nbatches=4)
    learner.model = Net(1, 1)
    learner.fit(1, (learner.data.training,))
    assert hooks == [1, 0, 1, 0]
    assert not learner.model._forward_hooks


def test_several_models_stand_before_their_parameters(memory) -> None:
    class Both(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self, xs=batch):
                for model in learner.model.values():
                    model(batch).sum().backward()

    models = {"left": nn.Linear(1, 1, bias=False), "right": nn.Linear(1, 1, bias=False)}
    learner = Learner(
        models,
        nn.functional.mse_loss,
        callbacks=[Recorder(), LogHistograms(memory, activations=True)],
        use_default_callbacks=False,
    )
    epoch(learner, Both(), [torch.tensor([[0.0]])])
    assert memory.tags() == [
        "Step/Histograms/Weights/left/weight",
        "Step/Histograms/Weights/right/weight",
        "Step/Histograms/Activations/left",
        "Step/Histograms/Activations/right",
    ]


def test_sparse_and_complex_numbers_are_logged_too(memory) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(3, 1, sparse=True)
            self.phase = nn.Parameter(torch.tensor([1 + 2j]))
            self.empty = nn.Parameter(torch.zeros(0))

        def forward(self, xs):
            return self.table(xs).sum() * self.phase.abs().sum() + self.empty.sum()

    learner = Learner(
        Net(),
        lambda yhats, ys: (yhats - ys).abs(),
        data=([(torch.tensor([1, 1]), torch.tensor(0.0))],),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.0),
        callbacks=[Recorder(), LogHistograms(memory, gradients=True)],
        use_default_callbacks=False,
    )
    learner.fit(1)
    assert memory.of("Step/Histograms/Weights/phase") == [(1, [1.0, 2.0])]
    assert len(memory.of("Step/Histograms/Gradients/table.weight")[0][1]) == 1
    assert memory.of("Step/Histograms/Weights/empty") == []


def test_watching_changes_nothing(memory) -> None:
    plain, watched = network(), network(LogHistograms(memory, freq=None, gradients=True, activations=True))
    for learner in (plain, watched):
        learner.optimizer.param_groups[0]["lr"] = 0.1
        learner.fit(3)
    assert torch.equal(plain.model[0].weight, watched.model[0].weight)


def test_it_reads_only_what_is_asked_for(memory) -> None:
    assert accesses(LogHistograms(memory), Read) == {"params", "cbstate.history"}
    everything = LogHistograms(memory, gradients=True, activations=True)
    assert accesses(everything, Read) == {"params", "cbstate.history", "step", "model"}
    assert accesses(everything, Write) == set()
    assert accesses(LogHistograms(memory), Read) == {"params", "cbstate.history"}


def test_the_arguments_are_checked(memory) -> None:
    with pytest.raises(ArgumentTypeError, match=r"LogHistograms\(freq\) must be a whole number of at least 1, got 'a'"):
        LogHistograms(memory, freq="a")  # type: ignore[arg-type]
    with pytest.raises(
        ArgumentValueError, match=r"Fix: .*\n    LogHistograms\(\.\.\., freq=100\), or freq=None for every step"
    ):
        LogHistograms(memory, freq=0)
    with pytest.raises(ArgumentValueError, match="LogHistograms has no backend"):
        LogHistograms()


def test_a_backend_that_fails_does_not_end_the_training(new_memory, warnings) -> None:
    learner = toy_learner(Recorder(), LogHistograms(new_memory(fail_on=lambda call: True), freq=None))
    assert learner.fit(1).steps == 16
    assert len(warnings) == 2


def test_layers_are_named_by_their_path_and_their_last_output_is_kept() -> None:
    net = nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU()))
    with collected_outputs(net) as outputs:
        net(torch.tensor([-1.0, 1.0]))
        net(torch.tensor([-2.0, 2.0]))
    assert {name: output.tolist() for name, output in outputs.items()} == {"0": [-2.0, 2.0], "1.0": [0.0, 2.0]}


def test_a_model_that_is_a_layer_goes_by_its_type() -> None:
    with collected_outputs(nn.ReLU()) as outputs:
        pass
    assert outputs == {}
    relu = nn.ReLU()
    with collected_outputs(relu) as outputs:
        relu(torch.ones(1))
    assert list(outputs) == ["ReLU"]


def test_several_models_stand_before_their_layers() -> None:
    models = {"generator": nn.Sequential(nn.ReLU()), "critic": nn.ReLU()}
    with collected_outputs(models) as outputs:
        models["generator"](torch.ones(1))
        models["critic"](torch.ones(1))
    assert list(outputs) == ["generator/0", "critic"]


def test_a_recurrent_layer_shows_its_output_and_integers_are_left_out() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.flag = nn.LSTM(1, 2, batch_first=True), nn.Identity()

        def forward(self, xs: torch.Tensor) -> torch.Tensor:
            self.flag(torch.tensor([1, 2]))
            return self.rnn(xs)[0]

    net = Net()
    with collected_outputs(net) as outputs:
        net(torch.ones(1, 3, 1))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {"rnn": (1, 3, 2)}


def test_the_model_is_left_without_hooks_also_after_an_error() -> None:
    net = nn.Sequential(nn.ReLU())
    try:
        with collected_outputs(net):
            raise RuntimeError("forward failed")
    except RuntimeError:
        pass
    assert not net[0]._forward_hooks

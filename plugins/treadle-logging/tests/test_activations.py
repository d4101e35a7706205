import torch
from torch import nn
from treadle_logging.activations import watch_activations


def test_layers_are_named_by_their_path_and_their_last_answer_is_kept() -> None:
    net = nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU()))
    with watch_activations(net) as seen:
        net(torch.tensor([-1.0, 1.0]))
        net(torch.tensor([-2.0, 2.0]))
    assert {name: answer.tolist() for name, answer in seen.items()} == {"0": [-2.0, 2.0], "1.0": [0.0, 2.0]}


def test_a_model_that_is_a_layer_goes_by_its_type() -> None:
    with watch_activations(nn.ReLU()) as seen:
        pass
    assert seen == {}
    relu = nn.ReLU()
    with watch_activations(relu) as seen:
        relu(torch.ones(1))
    assert list(seen) == ["ReLU"]


def test_several_models_stand_before_their_layers() -> None:
    models = {"generator": nn.Sequential(nn.ReLU()), "critic": nn.ReLU()}
    with watch_activations(models) as seen:
        models["generator"](torch.ones(1))
        models["critic"](torch.ones(1))
    assert list(seen) == ["generator/0", "critic"]


def test_a_recurrent_layer_shows_its_output_and_integers_are_left_out() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.flag = nn.LSTM(1, 2, batch_first=True), nn.Identity()

        def forward(self, xs: torch.Tensor) -> torch.Tensor:
            self.flag(torch.tensor([1, 2]))
            return self.rnn(xs)[0]

    net = Net()
    with watch_activations(net) as seen:
        net(torch.ones(1, 3, 1))
    assert {name: tuple(answer.shape) for name, answer in seen.items()} == {"rnn": (1, 3, 2)}


def test_the_model_is_left_without_hooks_also_after_an_error() -> None:
    net = nn.Sequential(nn.ReLU())
    try:
        with watch_activations(net):
            raise RuntimeError("forward failed")
    except RuntimeError:
        pass
    assert not net[0]._forward_hooks

"""Train a recurrent network on windows of a sequence, with its state carried from each to the next."""

from time import strftime

import torch
from torch import nn
from treadle import Callback, Learner, Phase, Write
from treadle_checkpoint import Checkpointer
from treadle_metrics import Metrics, accuracy


class Echo(nn.Module):  # gives the scores of each time step, and its state after the last
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(1, 16, batch_first=True), nn.Linear(16, 2)

    def forward(self, xs, state=None):
        outputs, state = self.gru(xs, state)
        return self.head(outputs).transpose(1, 2), state


class CarryState(Callback):
    """Begin each step of an epoch with the state that the step before it ended with."""

    state_access = {"step.xs": Write, "step.yhats": Write}
    run_after = ("to_device", "to_gpu")

    def on_init(self):
        self.states = {}  # of training and of validation, which may run in the middle of it

    def on_epoch_begin(self, phase: Phase):
        self.states.pop(str(phase), None)

    def on_step_begin(self, learner, phase: Phase):
        learner.step.xs = (learner.step.xs, self.states.get(str(phase)))

    def on_loss_begin(self, learner, phase: Phase):
        learner.step.yhats, state = learner.step.yhats
        self.states[str(phase)] = state.detach()  # here the backward pass is truncated

    def state_dict(self):
        return dict(self.states)

    def load_state_dict(self, states):
        self.states = dict(states)


def windows(seed, steps=200, delay=3, length=5, sequences=16):
    """Random bits and the same bits some time later, cut into windows that follow each other."""
    bits = torch.randint(2, (sequences, steps + delay), generator=torch.Generator().manual_seed(seed))
    return list(zip(bits[:, delay:, None].float().split(length, 1), bits[:, :-delay].split(length, 1), strict=True))


torch.manual_seed(0)
callbacks = [CarryState(), Metrics(accuracy), Checkpointer(f"runs/truncated_backpropagation/{strftime('%H%M%S')}")]
settings = {"data": (windows(0), windows(1)), "optimizer": torch.optim.RMSprop, "callbacks": callbacks}
learner = Learner(Echo(), nn.CrossEntropyLoss(), **settings)
learner.fit(5)

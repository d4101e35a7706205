"""Learn features of handwritten digits without labels: two views of each picture, and a momentum encoder."""

from copy import deepcopy
from time import strftime

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import affine_grid, grid_sample, normalize
from torch.utils.data import DataLoader
from treadle import AbstractTrainingPhase, Callback, Learner, LossBegin, Read, Write, run_step, run_update
from treadle.operations import Loss
from treadle_checkpoint import Checkpointer
from treadle_metrics import Metrics, accuracy


class ContrastiveTraining(AbstractTrainingPhase):
    """Find the picture that the online encoder sees among all that the momentum encoder sees."""

    def step(self, learner, batch):
        with run_step(learner, self, xs=(view(batch), view(batch)), ys=torch.arange(len(batch))) as (handle, state):
            queries = normalize(learner.model.online(state.xs[0]))
            keys = normalize(learner.model.momentum(state.xs[1]))
            state.yhats = queries @ keys.T / 0.2
            handle(LossBegin)
            state.loss = handle(Loss)
            run_update(learner, self)


class MomentumEncoder(Callback):
    """Move the momentum encoder a hundredth of the way to the online encoder, after each step."""

    state_access = {"model.online": Read, "model.momentum": Write}

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        for slow, fast in zip(learner.model.momentum.parameters(), learner.model.online.parameters(), strict=True):
            slow.lerp_(fast.detach(), 0.01)


def view(images):
    """The pictures moved, turned and stretched by chance, each in its own way, with some noise."""
    grid = affine_grid(torch.eye(2, 3) + 0.1 * torch.randn(len(images), 2, 3), images.shape, align_corners=False)
    return grid_sample(images, grid, align_corners=False) + 0.1 * torch.randn_like(images)


torch.manual_seed(0)
images = torch.tensor(load_digits().images / 16, dtype=torch.float32).unsqueeze(1)  # 1,797 of 8 x 8 pixels
models = {"online": nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32))}
models["momentum"] = deepcopy(models["online"]).requires_grad_(False)
data = (DataLoader(images[:1300], batch_size=128, shuffle=True),)
folder = f"runs/self_supervised/{strftime('%y%m%d-%H%M%S')}"
callbacks = [MomentumEncoder(), Metrics(accuracy), Checkpointer(folder, every_epochs=10)]
learner = Learner(models, nn.CrossEntropyLoss(), data=data, optimizer={"online": torch.optim.Adam}, callbacks=callbacks)
learner.fit(30, phases=[ContrastiveTraining()])

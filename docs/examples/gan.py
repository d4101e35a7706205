"""Train a generative adversarial network on scikit-learn's handwritten digits."""

from time import strftime

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader
from treadle import AbstractTrainingPhase, Learner, LossBegin, run_step, run_update
from treadle_checkpoint import Checkpointer
from treadle_logging import CSVBackend, LogTraces
from treadle_metrics import Metrics, Traces, accuracy
from treadle_schedule import CosAnneal, LearningRate, Scheduler
from treadle_stopping import StopOnNaNLoss


class GANTraining(AbstractTrainingPhase):
    """Train the critic with every batch, and the generator with every `n_critic`-th."""

    def __init__(self, n_critic):
        self.n_critic = n_critic

    def step(self, learner, batch):
        generator, critic = learner.model.generator, learner.model.critic
        with run_step(learner, self, xs=batch) as (handle, state):
            fakes = generator(torch.randn_like(state.xs[:, :16]))  # noise, where the digits are
            real, fake = state.xs.new_ones(len(fakes), dtype=int), state.xs.new_zeros(len(fakes), dtype=int)
            state.yhats, state.ys = critic(torch.cat([state.xs, fakes.detach()])), torch.cat([real, fake])
            handle(LossBegin)
            state.critic_loss = learner.lossfn(state.yhats, state.ys)
            run_update(learner, self, loss="critic_loss", models="critic")
            if learner.progress.steps % self.n_critic == 0:
                state.generator_loss = learner.lossfn(critic(fakes), real)
                run_update(learner, self, loss="generator_loss", models="generator")


torch.manual_seed(0)
images = torch.tensor(load_digits().data / 16, dtype=torch.float32)  # 1,797 pictures of 8 x 8 pixels
hidden = [nn.Sequential(nn.Linear(n, 128), nn.BatchNorm1d(128), nn.ReLU()) for n in (16, 128)]
generator = nn.Sequential(*hidden, nn.Linear(128, 64), nn.Sigmoid())
hidden = [nn.Sequential(nn.Linear(n, 128), nn.LeakyReLU(0.2), nn.Dropout(0.4)) for n in (64, 128)]
models = {"generator": generator, "critic": nn.Sequential(*hidden, nn.Linear(128, 2))}
optimizers = {name: torch.optim.Adam(model.parameters(), betas=(0.5, 0.99)) for name, model in models.items()}

folder = f"runs/gan/{strftime('%y%m%d-%H%M%S')}"
callbacks = [
    Traces({name: lambda learner, name=name: learner.step.get(f"{name}_loss") for name in models}),
    *(StopOnNaNLoss(f"{name}_loss") for name in models),
    *(Metrics(accuracy), Scheduler({LearningRate("critic"): CosAnneal(1e-3, 3e-4, period=870)})),
    *(LogTraces(CSVBackend(f"{folder}/losses.csv")), Checkpointer(folder, every_epochs=10, metric="Accuracy")),
]
data = (DataLoader(images, batch_size=64, shuffle=True),)
learner = Learner(models, nn.CrossEntropyLoss(), data=data, optimizer=optimizers, callbacks=callbacks)
learner.fit(30, phases=[GANTraining(n_critic=2)])

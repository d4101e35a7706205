"""Train a deep convolutional GAN on pictures of digits: two models, two optimizers, a phase of one's own."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader
from treadle import AbstractTrainingPhase, Learner, LossBegin, run_step, run_update
from treadle_checkpoint import Checkpointer
from treadle_metrics import Traces
from treadle_stopping import StopOnNaNLoss

EPOCHS, CODE = 10, 16


class Adversarial(AbstractTrainingPhase):
    """Teach the discriminator to tell pictures from fakes, then the generator to deceive it."""

    def step(self, learner, batch):
        generator, discriminator = learner.model.generator, learner.model.discriminator
        with run_step(learner, self, xs=batch) as (handle, state):
            ones, zeros = state.xs.new_ones(len(batch)), state.xs.new_zeros(len(batch))
            state.yhats = fakes = generator(torch.randn(len(batch), CODE, 1, 1, device=batch.device))
            handle(LossBegin)
            real, fake = discriminator(state.xs), discriminator(fakes.detach())
            state.discriminator_loss = learner.lossfn(real, ones) + learner.lossfn(fake, zeros)
            run_update(learner, self, loss="discriminator_loss", models="discriminator")
            state.generator_loss = learner.lossfn(discriminator(fakes), ones)
            run_update(learner, self, loss="generator_loss", models="generator")


def weights(module):
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    if isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


torch.manual_seed(0)
pictures = torch.tensor(load_digits().images / 8 - 1, dtype=torch.float32).unsqueeze(1)  # from -1 to 1
models = {
    "generator": nn.Sequential(
        *(nn.ConvTranspose2d(CODE, 32, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.ConvTranspose2d(16, 1, 4, 2, 1, bias=False), nn.Tanh()),
    ).apply(weights),
    "discriminator": nn.Sequential(
        *(nn.Conv2d(1, 16, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(16, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(32, 1, 2, bias=False), nn.Flatten(0)),
    ).apply(weights),
}
losses = [f"{name}_loss" for name in models]
learner = Learner(
    models,
    nn.functional.binary_cross_entropy_with_logits,
    data=(DataLoader(pictures, 64, shuffle=True),),
    optimizer={name: torch.optim.Adam(model.parameters(), 2e-4, (0.5, 0.999)) for name, model in models.items()},
    callbacks=[
        Traces({name: lambda learner, name=name: learner.step.get(name) for name in losses}),
        *map(StopOnNaNLoss, losses),
        Checkpointer("runs/dcgan", every_epochs=5),
    ],
    use_default_callbacks=("recorder", "progress_printer"),
)
learner.fit(EPOCHS, phases=[Adversarial()])

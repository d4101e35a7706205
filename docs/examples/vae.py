"""Train a variational autoencoder on pictures of digits; what it makes of them is logged as pictures."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, random_split
from treadle import Learner
from treadle_logging import Image, LogMetrics, LogVisualization
from treadle_metrics import Metrics
from treadle_tensorboard import TensorBoardBackend

EPOCHS = 10


class VAE(nn.Module):
    """An encoder to the mean and the logarithm of the variance of a code, and a decoder."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 2 * 8))
        self.decoder = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 64), nn.Sigmoid())

    def forward(self, xs):
        mean, log_variance = self.encoder(xs).chunk(2, -1)
        codes = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return self.decoder(codes), mean, log_variance


def lossfn(outputs, xs):
    """How far the pictures are from their originals, and the codes from a normal distribution, for a picture."""
    pictures, mean, log_variance = outputs
    far = nn.functional.binary_cross_entropy(pictures, xs, reduction="sum")
    return (far - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()) / len(xs)


def pictures(step):
    """Eight pictures, and below them what the model makes of them."""
    rows = [step.xs[:8], step.yhats[0][:8]]
    return Image(torch.cat([row.unflatten(1, (8, 8)).transpose(0, 1).flatten(1) for row in rows]).unsqueeze(0))


torch.manual_seed(0)
training, validation = random_split(torch.tensor(load_digits().data / 16, dtype=torch.float32), [0.8, 0.2])
logs = TensorBoardBackend("runs/vae")
learner = Learner(
    VAE(),
    lossfn,
    data=(DataLoader(training, 128, shuffle=True), DataLoader(validation, 128)),
    split=lambda xs: (xs, xs),
    callbacks=[Metrics(), LogMetrics(logs), LogVisualization(pictures, logs, freq=100)],
)
learner.fit(EPOCHS)

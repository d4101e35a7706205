"""Classify handwritten digits with a small convolutional network: Adadelta, a rate that falls from epoch to epoch."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from treadle import Learner
from treadle_device import ToGPU
from treadle_metrics import Metrics, accuracy
from treadle_schedule import Exp, LearningRate, Scheduler

EPOCHS = 14

torch.manual_seed(0)
digits = load_digits()  # 1,797 pictures of 8 x 8 pixels
pictures = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1)
training, test = random_split(TensorDataset(pictures, torch.tensor(digits.target)), [0.8, 0.2])
model = nn.Sequential(
    *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
    *(nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10), nn.LogSoftmax(1)),
)
learner = Learner(
    model,
    nn.functional.nll_loss,
    data=(DataLoader(training, 64, shuffle=True), DataLoader(test, 1000)),
    optimizer=torch.optim.Adadelta(model.parameters(), lr=1.0),
    callbacks=[Metrics(accuracy), Scheduler({LearningRate: Exp(1.0, 0.7)}, each="epoch"), ToGPU()],
)
learner.fit(EPOCHS)
result = learner.evaluate()
print(result)

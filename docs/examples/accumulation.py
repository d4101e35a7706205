"""Train on scikit-learn's handwritten digits with one update for every two batches."""

from time import strftime

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from treadle import Learner
from treadle_checkpoint import Checkpointer
from treadle_metrics import Metrics, accuracy
from treadle_optim import Accumulate
from treadle_schedule import Exp, LearningRate, Scheduler

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)  # 1,797 pictures of 8 x 8 pixels
digits = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
callbacks = [Accumulate(2, weight="rows"), Metrics(accuracy)]
callbacks += [Scheduler({LearningRate: Exp(start=0.2, decay=0.8)}, each="epoch")]
callbacks += [Checkpointer(f"runs/accumulation/{strftime('%y%m%d-%H%M%S')}", keep_top_k=1)]
settings = {"optimizer": torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9), "callbacks": callbacks}
learner = Learner(model, nn.CrossEntropyLoss(), data=(DataLoader(digits, batch_size=32),), **settings)
learner.fit(5)

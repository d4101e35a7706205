"""Train on scikit-learn's handwritten digits with the gradients of every two batches together."""

from time import strftime

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from treadle import AbstractTrainingPhase, BackwardBegin, BackwardEnd, Learner, LossBegin, run_epoch, run_step, step
from treadle.authoring import batches
from treadle.operations import Forward, Loss, Update
from treadle_checkpoint import Checkpointer
from treadle_metrics import Metrics, accuracy
from treadle_schedule import Exp, LearningRate, Scheduler


class AccumulatingTraining(AbstractTrainingPhase):
    """Train with the mean gradient over all rows of every `n` batches."""

    def __init__(self, n):
        self.n = n

    def epoch(self, learner, data):
        with run_epoch(learner, self) as handle:
            for batch in batches(learner, self, data):
                step(learner, self, batch)
            if not learner.position.clear_gradients:  # of a last group that is not full
                handle(Update)

    def step(self, learner, batch):
        xs, ys = batch
        before = 0 if learner.position.clear_gradients else learner.step.get("rows", 0)
        with run_step(learner, self, xs=xs, ys=ys, rows=before) as (handle, state):
            state.yhats = handle(Forward)
            handle(LossBegin)
            state.loss = handle(Loss)
            handle(BackwardBegin)
            learner.position.clear_gradients = True  # a step that is cancelled from here on drops them all
            state.rows += len(ys)
            for gradient in learner.grads.values():
                gradient *= before / state.rows
            (state.loss * len(ys) / state.rows).backward()
            state.grads = learner.grads
            handle(BackwardEnd)
            if learner.progress.step % self.n == 0:
                handle(Update)
            else:
                learner.position.clear_gradients = False


torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)  # 1,797 pictures of 8 x 8 pixels
digits = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
callbacks = [Metrics(accuracy), Scheduler({LearningRate: Exp(start=0.2, decay=0.8)}, each="epoch")]
callbacks += [Checkpointer(f"runs/accumulation/{strftime('%y%m%d-%H%M%S')}", keep_top_k=1)]
settings = {"optimizer": torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9), "callbacks": callbacks}
learner = Learner(model, nn.CrossEntropyLoss(), data=(DataLoader(digits, batch_size=32),), **settings)
learner.fit(5, phases=[AccumulatingTraining(n=2)])

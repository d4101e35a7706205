"""Train a small convolutional network on scikit-learn's handwritten digits."""

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from treadle import Learner, plugins
from treadle_metrics import Metrics, accuracy
from treadle_progress import ProgressPrinter
from treadle_sanity import SanityCheck

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)  # 1,797 pictures of 8 x 8 pixels
split = train_test_split(images.reshape(-1, 1, 8, 8) / 16, labels, test_size=0.25, random_state=0)
xs_train, xs_valid, ys_train, ys_valid = map(torch.tensor, split)
training = DataLoader(TensorDataset(xs_train.float(), ys_train), batch_size=32, shuffle=True)
validation = DataLoader(TensorDataset(xs_valid.float(), ys_valid), batch_size=128)

model = nn.Sequential(
    *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 10)),
)
callbacks = [Metrics(accuracy), ProgressPrinter(), SanityCheck()]
optimizer = torch.optim.Adam(model.parameters(), lr=0.004)
data = (training, validation)
learner = Learner(model, nn.CrossEntropyLoss(), data=data, optimizer=optimizer, callbacks=callbacks)

print("Installed callbacks:", ", ".join(plugin.name for plugin in plugins.installed("treadle.callbacks")))
print(learner.plan())
learner.fit(15)

runs = Path("runs/digits")
recorded = learner.cbstate.metricsepoch
recorded.to_csv(runs / "history.csv")
recorded.plot(runs / "curves.png")
(runs / "plan.svg").write_text(learner.plan().svg(), encoding="utf-8")

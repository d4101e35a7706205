"""Tell from a sentence of documentation whose it is, torch's, NumPy's or scikit-learn's, with a small transformer."""

import importlib
import re

import torch
from torch import nn
from torch.utils.data import DataLoader, random_split
from treadle import Learner
from treadle_metrics import Metrics, accuracy
from treadle_optim import ClipGradients
from treadle_schedule import Constant, LearningRate, Ramp, Scheduler, Sequence
from treadle_stopping import EarlyStopping

EPOCHS, SENTENCES = 4, 400  # of each
LENGTH, WIDTH, WORDS = 40, 32, 4096
MODULES = [["torch", "torch.nn.functional"], ["numpy", "numpy.linalg"], ["sklearn.metrics", "sklearn.linear_model"]]


def sentences(modules):
    """Sentences of six words and more from docstrings, each a tensor of numbers of words."""
    found = set()
    for value in (value for module in modules for value in vars(importlib.import_module(module)).values()):
        for sentence in re.split(r"\n\s*\n|(?<=\.)\s", str(getattr(value, "__doc__", ""))):
            words = re.findall(r"[a-z]+", sentence.lower())
            if 6 <= len(words) <= LENGTH and not {"torch", "numpy", "np", "sklearn", "scikit", "tensor"} & {*words}:
                found.add(tuple(1 + int.from_bytes(word.encode()) % (WORDS - 1) for word in words))
    return [torch.tensor(words) for words in sorted(found)[:SENTENCES]]


def collate(rows):
    words = nn.utils.rnn.pad_sequence([words for words, _ in rows], batch_first=True)
    return {"words": words, "label": torch.tensor([label for _, label in rows])}


class Classifier(nn.Module):
    """A transformer's encoder over the words, and the mean of what it says of them; 0 is no word."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, 0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.classes = nn.Linear(WIDTH, len(MODULES))

    def forward(self, words):
        there = (words > 0).unsqueeze(-1)
        encoded = self.encoder(
            self.words(words) + self.places.weight[: words.shape[1]], src_key_padding_mask=words == 0
        )
        return self.classes((encoded * there).sum(1) / there.sum(1))


torch.manual_seed(0)
rows = [(words, label) for label, modules in enumerate(MODULES) for words in sentences(modules)]
training, validation = random_split(rows, [0.9, 0.1])
learner = Learner(
    model := Classifier(),
    nn.functional.cross_entropy,
    data=(DataLoader(training, 32, shuffle=True, collate_fn=collate), DataLoader(validation, 128, collate_fn=collate)),
    split=lambda batch: (batch["words"], batch["label"]),
    optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
    callbacks=[
        Metrics(accuracy),
        ClipGradients(norm=1.0),
        Scheduler({LearningRate: Sequence((Ramp(1e-5, 1e-3, 20), 20), (Constant(1e-3), 10**9))}),
        EarlyStopping(patience=2, monitor="Accuracy", mode="max"),
    ],
)
learner.fit(EPOCHS)
result = learner.evaluate()
print(result)

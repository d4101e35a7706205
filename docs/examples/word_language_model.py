"""Train a word language model, an LSTM that is carried from window to window, on the manual that comes with Python."""

import re
from collections import Counter
from pydoc_data.topics import topics

import torch
from torch import nn
from treadle import Callback, Learner, Phase, Write
from treadle_checkpoint import Checkpointer, best, load_model
from treadle_metrics import Metrics
from treadle_optim import ClipGradients
from treadle_schedule import LearningRate, ReduceOnPlateau

EPOCHS, WORDS = 6, 30_000
LENGTH, COLUMNS, WIDTH = 35, 20, 64


class WordModel(nn.Module):
    """An embedding, two layers of LSTM, and a decoder that shares the embedding's weights; takes and gives a state."""

    def __init__(self, words):
        super().__init__()
        self.embedding, self.dropout = nn.Embedding(words, WIDTH), nn.Dropout(0.2)
        self.lstm, self.decoder = nn.LSTM(WIDTH, WIDTH, 2, dropout=0.2), nn.Linear(WIDTH, words)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.decoder.weight = self.embedding.weight

    def forward(self, words, state=None):
        outputs, state = self.lstm(self.dropout(self.embedding(words)), state)
        return self.decoder(self.dropout(outputs)).flatten(0, 1), state


class CarryState(Callback):
    """Begin each step of an epoch with the state that the step before it ended with; save it with the run."""

    state_access = {"step.xs": Write, "step.yhats": Write}
    run_after = ("to_device", "to_gpu")

    def on_init(self):
        self.states = {}

    def on_epoch_begin(self, phase: Phase):
        self.states.pop(str(phase), None)

    def on_step_begin(self, learner, phase: Phase):
        learner.step.xs = (learner.step.xs, self.states.get(str(phase)))

    def on_loss_begin(self, learner, phase: Phase):
        learner.step.yhats, state = learner.step.yhats
        self.states[str(phase)] = [part.detach() for part in state]

    def state_dict(self):
        return dict(self.states)

    def load_state_dict(self, states):
        self.states = dict(states)


def windows(numbers):
    """Windows of a text in columns that are read in parallel, and the words that follow, one after the other."""
    columns = numbers[: len(numbers) // COLUMNS * COLUMNS].view(COLUMNS, -1).t()
    starts = range(0, len(columns) - 1, LENGTH)
    return [
        (columns[i : i + LENGTH][: len(columns) - 1 - i], columns[i + 1 : i + 1 + LENGTH].flatten()) for i in starts
    ]


torch.manual_seed(0)
text = re.findall(r"\w+|[^\w\s]", " ".join(topics.values()).lower())[:WORDS]
numbers = {word: i for i, (word, count) in enumerate(Counter(text).most_common(3000))}
words = torch.tensor([numbers.get(word, 0) for word in text])
training, validation = windows(words[: WORDS * 9 // 10]), windows(words[WORDS * 9 // 10 :])
model = WordModel(len(numbers))
learner = Learner(
    model,
    nn.functional.cross_entropy,
    data=(training, validation),
    optimizer=torch.optim.SGD(model.parameters(), lr=20.0),
    callbacks=[
        Metrics(),
        CarryState(),
        ClipGradients(norm=0.25),
        ReduceOnPlateau(LearningRate, factor=0.25, patience=0, threshold=0.0),
        Checkpointer("runs/word_language_model", keep_top_k=1),
    ],
)
learner.fit(EPOCHS)
load_model(model, best("runs/word_language_model").path)
result = learner.evaluate(validation)
print(result)

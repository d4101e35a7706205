"""What `gpt.py` and `gpt_by_hand.py` train: a small transformer that predicts the next character of Python's manual."""

from pydoc_data.topics import topics

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CHARACTERS = 100_000  # of the text that comes with Python
EPOCHS = 5
LENGTH = 64  # characters that the model sees
WIDTH = 64


class Block(nn.Module):
    """Attention to what was before, and a small network."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.attend, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        wide = nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        self.network = nn.Sequential(*wide, nn.Dropout(0.1))

    def forward(self, xs):
        heads = [part.unflatten(-1, (4, -1)).transpose(1, 2) for part in self.attend(self.norms[0](xs)).chunk(3, -1)]
        mixed = nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
        xs = xs + self.project(mixed.transpose(1, 2).flatten(2))
        return xs + self.network(self.norms[1](xs))


class GPT(nn.Module):
    """Two blocks between an embedding of ASCII characters and the logits of the next ones."""

    def __init__(self):
        super().__init__()
        self.characters, self.positions = nn.Embedding(128, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.Sequential(Block(), Block(), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 128))

    def forward(self, xs):
        return self.blocks(self.characters(xs) + self.positions.weight)


def lossfn(yhats, ys):
    return nn.functional.cross_entropy(yhats.flatten(0, 1), ys.flatten())


def data():
    """Shuffled batches of 16 rows to train with, and a tenth of the rows to validate."""
    text = "".join(topics.values()).encode("ascii", "ignore")[:CHARACTERS]
    rows = torch.tensor(list(text)).unfold(0, LENGTH + 1, LENGTH)
    xs, ys, n = rows[:, :-1], rows[:, 1:], len(rows) * 9 // 10
    return DataLoader(TensorDataset(xs[:n], ys[:n]), 16, shuffle=True), [(xs[n:], ys[n:])]

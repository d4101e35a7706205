"""Loggables of every kind, in the forms that a backend meets."""

import torch
from torch import nn

from treadle_logging.audio import Audio
from treadle_logging.hyperparams import HyperParams
from treadle_logging.image import Image
from treadle_logging.loggable import File, Graph, Histogram, Loggable, Text, Value


class Unknown(Loggable):
    """A kind that no backend has heard of."""


def samples() -> dict[type[Loggable], dict[str, Loggable]]:
    """New loggables by their kind and what they are; the first of a kind is one that every backend of the kind takes.

    Those of `UNUSUAL` may be refused.
    """
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3).eval(), nn.Dropout())
    return {
        Value: {
            "Value(0.5)": Value(0.5),
            "Value of a tensor": Value(torch.tensor([0.25], requires_grad=True)),
            "Value of a whole number": Value(-3),
        },
        Text: {
            "Text of two lines": Text('# Notes\n*bold*, "quoted", 100 % äöü'),
            "an empty Text": Text(""),
        },
        Image: {
            "Image of 3 channels": Image(torch.linspace(0, 1, 18).reshape(3, 2, 3)),
            "Image of 1 channel": Image(torch.zeros(1, 2, 3)),
            "Image of 4 channels, as bytes": Image(torch.full((4, 2, 3), 7, dtype=torch.uint8)),
        },
        Audio: {
            "Audio of 1 channel": Audio([0.0, 0.5, -1.0, 0.0], 8000),
            "Audio of 2 channels": Audio([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]], 8000),
        },
        Histogram: {
            "Histogram of 12 numbers": Histogram(torch.linspace(-1, 1, 12).reshape(3, 4)),
            "Histogram of one number": Histogram([2.0]),
            "Histogram of whole numbers that are equal": Histogram([3, 3, 3]),
            "Histogram with NaN and an infinity": Histogram([1.0, float("nan"), float("inf")]),
            "Histogram of NaN alone": Histogram([float("nan")]),
        },
        Graph: {"Graph of a net with a dropout": Graph(net, torch.ones(4, 2))},
        File: {
            "File of text": File("config.toml", "lr = 0.1\nseed = 3\n"),
            "File of bytes": File("weights.bin", b"\xff\x00"),
        },
        HyperParams: {
            "HyperParams of every type": HyperParams({"lr": 0.1, "layers": 3, "optimizer": "sgd", "amp": True}),
        },
    }


def tensors(loggable: Loggable) -> dict[str, object]:
    """What logging might change of a loggable: copies of its tensors, and the modes of its modules."""
    if isinstance(loggable, Graph):
        state = {name: value.clone() for name, value in loggable.model.state_dict().items()}
        modes = {f"the mode of {name or 'the model'}": part.training for name, part in loggable.model.named_modules()}
        return {**state, **modes}
    data = getattr(loggable, "data", None)
    return {"its data": data.detach().clone() if isinstance(data, torch.Tensor) else data}


def changed(loggable: Loggable, before: dict[str, object]) -> list[str]:
    """What differs from how a loggable was before."""
    return [name for name, value in tensors(loggable).items() if not same(value, before[name])]


def same(value: object, other: object) -> bool:
    """Whether two values of `tensors` are equal; NaN equals NaN."""
    if isinstance(value, torch.Tensor) and isinstance(other, torch.Tensor):
        return value.shape == other.shape and bool(torch.allclose(value, other, rtol=0, atol=0, equal_nan=True))
    return value is other or value == other

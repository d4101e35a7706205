"""What `SummaryWriter` writes only in part or with side effects: sound with channels, graphs."""

from __future__ import annotations

import copy
import warnings

import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from treadle.state.random_state import preserved_random_state
from treadle_logging import Audio, Graph


def add_audio(writer: SummaryWriter, audio: Audio, tag: str, i: int) -> None:
    """Write a sound with all of its channels; `SummaryWriter.add_audio` takes only one."""
    channels, frames = audio.data.shape
    sound = Summary.Audio(
        sample_rate=audio.sample_rate,
        num_channels=channels,
        length_frames=frames,
        encoded_audio_string=audio.wav,
        content_type="audio/wav",
    )
    summary = Summary(value=[Summary.Value(tag=tag, audio=sound)])
    assert writer.file_writer is not None  # it is there until the writer is closed
    writer.file_writer.add_summary(summary, i)


def add_graph(writer: SummaryWriter, graph: Graph) -> None:
    """Write a model's graph, and leave the model and the random generators as they are.

    `SummaryWriter.add_graph` runs the model, and sets every module of it to the mode of the whole.
    """
    inputs = graph.inputs if isinstance(graph.inputs, tuple) else (graph.inputs,)
    model = copy.deepcopy(graph.model)
    with preserved_random_state(), torch.no_grad(), warnings.catch_warnings():
        # torch's own writer still traces the graph by the means that torch has deprecated.
        warnings.filterwarnings("ignore", message=".*torch.jit.trace.* is deprecated", category=DeprecationWarning)
        writer.add_graph(model, tuple(one.detach() for one in inputs))

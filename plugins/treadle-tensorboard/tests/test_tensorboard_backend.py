import io
import math
import wave

import PIL.Image
import pytest
import torch
from torch import nn
from treadle.errors import ArgumentTypeError
from treadle_logging import (
    Audio,
    BackendClosedError,
    File,
    Graph,
    Histogram,
    Image,
    Loggable,
    Text,
    Value,
    log_to,
)
from treadle_tensorboard import TensorBoardBackend


def test_numbers_are_stored_under_their_tags_and_iterations(tmp_path, read) -> None:
    with TensorBoardBackend(tmp_path) as backend:
        for i, number in [(1, 0.5), (2, -3.25), (10, math.inf)]:
            log_to(backend, Value(number), "Loss", i, group=("Step", "TrainingPhase", "Metrics"))
    events = read(tmp_path)
    assert events.Tags()["scalars"] == ["Step/TrainingPhase/Metrics/Loss"]
    assert [(event.step, event.value) for event in events.Scalars("Step/TrainingPhase/Metrics/Loss")] == [
        (1, 0.5),
        (2, -3.25),
        (10, math.inf),
    ]


def test_a_number_that_needs_64_bits_is_rounded_to_32(tmp_path, read) -> None:
    with TensorBoardBackend(tmp_path) as backend:
        log_to(backend, Value(0.1), "a", 1)
    assert read(tmp_path).Scalars("a")[0].value == torch.tensor(0.1).item()


def test_a_text_is_stored_as_it_is(tmp_path, read) -> None:
    with TensorBoardBackend(tmp_path) as backend:
        log_to(backend, Text("# Notes\näöü"), "Notes", 3, "Step")
    (event,) = read(tmp_path).Tensors("Step/Notes/text_summary")
    assert event.step == 3
    assert event.tensor_proto.string_val[0].decode() == "# Notes\näöü"


def test_an_image_keeps_its_pixels(tmp_path, read) -> None:
    pixels = torch.tensor([[[0.0, 1.0]], [[0.5, 0.25]], [[0.999, 0.001]]])
    with TensorBoardBackend(tmp_path) as backend:
        log_to(backend, Image(pixels), "Visualization", 7, "Step")
    (event,) = read(tmp_path).Images("Step/Visualization")
    assert (event.step, event.width, event.height) == (7, 2, 1)
    picture = PIL.Image.open(io.BytesIO(event.encoded_image_string))
    assert [picture.getpixel((x, 0)) for x in (0, 1)] == [(0, 128, 255), (255, 64, 0)]


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_images_are_taken_too(tmp_path, read, channels: int) -> None:
    with TensorBoardBackend(tmp_path) as backend:
        log_to(backend, Image(torch.full((channels, 2, 3), 7, dtype=torch.uint8)), "a", 1)
    (event,) = read(tmp_path).Images("a")
    picture = PIL.Image.open(io.BytesIO(event.encoded_image_string))
    assert picture.size == (3, 2)
    assert set(picture.convert("RGBA").getpixel((0, 0))[:3]) == {7}


def test_sound_keeps_its_channels(tmp_path, read) -> None:
    with TensorBoardBackend(tmp_path) as backend:
        log_to(backend, Audio([[0.0, 1.0], [-1.0, 0.0]], 8000), "Beep", 2, "Step")
    (event,) = read(tmp_path).Audio("Step/Beep")
    assert (event.step, event.sample_rate, event.length_frames, event.content_type) == (2, 8000, 2, "audio/wav")
    with wave.open(io.BytesIO(event.encoded_audio_string)) as file:
        assert file.getnchannels() == 2
        assert torch.frombuffer(bytearray(file.readframes(2)), dtype=torch.int16).tolist() == [0, -32767, 32767, 0]


def test_a_histogram_counts_every_number(tmp_path, read) -> None:
    numbers = torch.tensor([[-2.0, 0.5], [0.5, 3.0]])
    with TensorBoardBackend(tmp_path) as backend:
        log_to(backend, Histogram(numbers), "0.weight", 5, ("Step", "Histograms", "Weights"))
    (event,) = read(tmp_path).Histograms("Step/Histograms/Weights/0.weight")
    histogram = event.histogram_value
    assert event.step == 5
    assert (histogram.min, histogram.max, histogram.num) == (-2.0, 3.0, 4.0)
    assert (histogram.sum, histogram.sum_squares) == (2.0, 13.5)
    assert sum(histogram.bucket) == 4.0


def test_a_histogram_leaves_out_what_is_not_finite_with_one_warning(tmp_path, read, warnings) -> None:
    with TensorBoardBackend(tmp_path) as backend:
        for i in (1, 2):
            log_to(backend, Histogram([1.0, math.nan, math.inf]), "w", i)
        log_to(backend, Histogram([math.nan]), "gone", 1)
    events = read(tmp_path)
    assert [event.histogram_value.num for event in events.Histograms("w")] == [1.0, 1.0]
    assert "gone" not in events.Tags()["histograms"]
    assert warnings == [
        "The histogram 'w' has numbers that are not finite, 2 of 3 at 1; TensorBoard's histograms leave them out.",
        "The histogram 'gone' has numbers that are not finite, 1 of 1 at 1; TensorBoard's histograms leave them out.",
    ]


def test_a_graph_shows_the_layers_and_leaves_the_model_alone(tmp_path, read) -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3).eval(), nn.Dropout())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    with TensorBoardBackend(tmp_path) as backend:
        log_to(backend, Graph(net, torch.ones(4, 2)), "Graph", 1)
    nodes = [node.name for node in read(tmp_path).Graph().node]
    assert any("Linear" in name for name in nodes)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [module.training for module in net] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), random)


def test_a_file_of_text_is_shown_as_it_is(tmp_path, read) -> None:
    with TensorBoardBackend(tmp_path) as backend:
        log_to(backend, File("config.toml", "lr = 0.1\n*seed* = 3"), "Config", 0)
    (event,) = read(tmp_path).Tensors("Config/text_summary")
    assert event.tensor_proto.string_val[0].decode() == "**config.toml**\n\n    lr = 0.1\n    *seed* = 3\n"


def test_a_file_that_is_not_text_is_not_supported(tmp_path, warnings) -> None:
    with TensorBoardBackend(tmp_path) as backend:
        for i in (1, 2):
            log_to(backend, File("weights.bin", b"\xff\x00"), "Weights", i)
    assert warnings == [
        "TensorBoardBackend does not support File, so 'Weights' and others of its kind are not logged there. "
        "TensorBoard shows text, and the content of weights.bin is not text."
    ]


def test_a_custom_kind_is_not_supported_and_a_subclass_of_a_supported_kind_is(tmp_path, read, warnings) -> None:
    class Video(Loggable):
        pass

    class Percent(Value):
        pass

    with TensorBoardBackend(tmp_path) as backend:
        log_to(backend, Video(), "Video", 1)
        log_to(backend, Percent(50.0), "Accuracy", 1)
    assert read(tmp_path).Scalars("Accuracy")[0].value == 50.0
    assert warnings[0].startswith("TensorBoardBackend does not support Video")


def test_what_was_flushed_can_be_read_while_the_run_goes_on(tmp_path, read) -> None:
    backend = TensorBoardBackend(tmp_path)
    log_to(backend, Value(1), "a", 1)
    backend.flush()
    assert [event.value for event in read(tmp_path).Scalars("a")] == [1.0]
    backend.close()


def test_options_go_to_the_writer(tmp_path, read) -> None:
    with TensorBoardBackend(tmp_path) as backend:
        for i in range(4):
            log_to(backend, Value(i), "a", i)
    with TensorBoardBackend(tmp_path, purge_step=2, filename_suffix=".resumed") as backend:
        log_to(backend, Value(20), "a", 2)
    assert len(list(tmp_path.glob("*.resumed"))) == 1
    assert [(event.step, event.value) for event in read(tmp_path).Scalars("a")] == [(0, 0.0), (1, 1.0), (2, 20.0)]


def test_an_option_that_the_writer_does_not_have_is_refused(tmp_path) -> None:
    with pytest.raises(ArgumentTypeError, match=r"has no option `flush_sec`.*Did you mean `flush_secs`\?"):
        TensorBoardBackend(tmp_path, flush_sec=3)


@pytest.mark.parametrize("logdir", [3, "", None])
def test_the_folder_is_a_path(logdir) -> None:
    with pytest.raises(
        ArgumentTypeError,
        match=r'TensorBoardBackend\(logdir\) must be a path, got .*\n.*\n    TensorBoardBackend\("runs/1"\)',
    ):
        TensorBoardBackend(logdir)


def test_nothing_is_logged_after_closing(tmp_path) -> None:
    backend = TensorBoardBackend(tmp_path)
    backend.close()
    backend.close()
    with pytest.raises(BackendClosedError, match=r"was closed\.\nFix: make a new one, which adds to the same run"):
        log_to(backend, Value(1), "a", 1)
    assert len(list(tmp_path.iterdir())) == 1

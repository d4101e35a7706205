import io
import struct
import wave

import pytest
import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import Audio


def test_a_wav_file_holds_the_samples_of_both_channels_in_turn() -> None:
    audio = Audio(torch.tensor([[0.0, 1.0, -1.0], [0.5, 0.0, 0.0]]), 8000)
    with wave.open(io.BytesIO(audio.wav)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 8000, 3)
        assert struct.unpack("<6h", file.readframes(3)) == (0, 16384, 32767, 0, -32767, 0)


def test_sixteen_bit_samples_come_out_as_they_went_in() -> None:
    samples = [0, 1, -1, 12345, 32767, -32767]
    with wave.open(io.BytesIO(Audio(torch.tensor(samples, dtype=torch.int16), 1).wav)) as file:
        assert list(struct.unpack("<6h", file.readframes(6))) == samples


@pytest.mark.parametrize("shape", [(), (2, 3, 4), (0,)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentValueError, match=r"must have the shape \(samples,\) or \(channels, samples\)"):
        Audio(torch.zeros(shape), 1)


def test_channels_that_come_last_are_refused_with_the_fix() -> None:
    with pytest.raises(ArgumentValueError, match=r"not \(100, 2\)\.\nFix: .*swap them:\n    Audio\(data\.T, rate\)"):
        Audio(torch.zeros(100, 2), 1)


def test_another_range_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match=r"the loudest of these is 2\.\nFix: .*data\.clamp\(-1, 1\)"):
        Audio([0.0, -2.0], 1)
    with pytest.raises(ArgumentValueError, match="the loudest of these is nan"):
        Audio([0.0, float("nan")], 1)


def test_other_integers_are_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"floats in \[-1, 1\] or int16, not torch\.int64\.\nFix: convert"):
        Audio([0, 1], 1)


def test_the_rate_is_a_positive_int() -> None:
    with pytest.raises(
        ArgumentTypeError, match=r"Audio\(sample_rate\) must be .*, got 44100\.0\.\nFix: .*\n    Audio\(data, 44100\)"
    ):
        Audio([0.0], 44100.0)  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="at least 1, got 0"):
        Audio([0.0], 0)

import io

import numpy as np
import PIL.Image
import pytest
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import Image, to_image


def test_floats_become_the_nearest_bytes() -> None:
    image = Image(torch.tensor([[[0.0, 0.001, 0.5, 0.999, 1.0]]]))
    assert image.bytes.tolist() == [[[0, 0, 128, 255, 255]]]


def test_bytes_stay_bytes() -> None:
    assert Image(np.array([[[0, 7, 255]]], dtype=np.uint8)).bytes.tolist() == [[[0, 7, 255]]]


def test_an_image_is_a_copy_so_that_later_changes_do_not_show() -> None:
    pixels = torch.zeros(1, 1, 1)
    image = Image(pixels)
    pixels.fill_(1)
    assert image.data.item() == 0.0


def test_what_rounding_overshoots_is_cut_off() -> None:
    assert Image(torch.tensor([[[-1e-6, 1 + 1e-6]]])).data.tolist() == [[[0.0, 1.0]]]


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((4, 5), r"its one channel in front:\n    Image\(data\[None\]\)"),
        ((8, 3, 4, 5), r"a batch; log one picture of it:\n    Image\(data\[0\]\)"),
        ((6, 5, 3), r"move them:\n    Image\(data\.permute\(2, 0, 1\)\)"),
        ((2, 4, 5), "use 1 channel"),
        ((3, 0, 5), "use 1 channel"),
    ],
)
def test_another_shape_is_refused_with_its_fix(shape: tuple[int, ...], fix: str) -> None:
    with pytest.raises(ArgumentValueError, match=rf"not \({', '.join(map(str, shape))}\)\.\nFix: .*{fix}"):
        Image(torch.zeros(shape))


def test_another_range_is_refused_with_its_fix() -> None:
    with pytest.raises(ArgumentValueError, match=r"these go from -2 to 3\.\nFix: .*data\.clamp\(0, 1\)"):
        Image(torch.tensor([[[-2.0, 3.0]]]))
    with pytest.raises(ArgumentValueError, match=r"has NaN values\.\nFix: .*\n.*nan_to_num"):
        Image(torch.tensor([[[float("nan"), 0.0]]]))


def test_other_integers_are_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"floats in \[0, 1\] or uint8, not torch\.int64"):
        Image(torch.zeros(1, 2, 2, dtype=torch.int64))
    with pytest.raises(
        ArgumentTypeError, match=r"Image\(data\) must be a tensor or array of real numbers, got NoneType None"
    ):
        Image(None)


def test_a_pil_image_keeps_its_pixels() -> None:
    picture = PIL.Image.new("RGB", (2, 1), (1, 2, 3))
    picture.putpixel((1, 0), (4, 5, 6))
    assert to_image(picture).data.tolist() == [[[1, 4]], [[2, 5]], [[3, 6]]]


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGBA", 4), ("LA", 4), ("P", 3), ("1", 3)])
def test_pil_images_of_every_mode_are_taken(mode: str, channels: int) -> None:
    assert to_image(PIL.Image.new(mode, (3, 2))).data.shape == (channels, 2, 3)


def test_a_figure_is_drawn_as_it_is_and_left_alone() -> None:
    figure = Figure(figsize=(2, 1), dpi=10, facecolor=(1, 0, 0))
    canvas = figure.canvas
    image = to_image(figure)
    assert image.data.shape == (4, 10, 20)
    assert image.data[:, 0, 0].tolist() == [255, 0, 0, 255]
    assert figure.canvas is canvas


def test_a_figure_of_pyplot_stays_open() -> None:
    figure = pyplot.figure(figsize=(1, 1))
    to_image(figure)
    assert pyplot.fignum_exists(figure.number)
    pyplot.close(figure)


def test_an_image_stays_itself() -> None:
    image = Image(torch.zeros(1, 1, 1))
    assert to_image(image) is image


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_file_keeps_every_pixel(channels: int) -> None:
    pixels = torch.arange(channels * 6, dtype=torch.uint8).reshape(channels, 2, 3)
    picture = PIL.Image.open(io.BytesIO(Image(pixels).png))
    picture.load()
    assert torch.equal(to_image(picture).data, pixels)

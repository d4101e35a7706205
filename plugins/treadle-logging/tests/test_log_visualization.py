import pytest
import torch
from matplotlib import pyplot
from treadle import ProtectedException, Read, ValidationPhase, Write, accesses, toy_learner
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import Image, LogVisualization, Text
from treadle_metrics import Recorder

GREY = torch.full((1, 2, 2), 0.5)


def test_a_tensor_becomes_an_image(memory) -> None:
    toy_learner(Recorder(), LogVisualization(lambda step: GREY, memory, freq=5)).fit(1)
    assert memory.rows == [("Step/Visualization", step, "Image") for step in (1, 6, 11, 16)]
    assert torch.equal(memory.loggables[0].data, GREY)


def test_any_loggable_is_logged_as_it_is(memory) -> None:
    toy_learner(Recorder(), LogVisualization(lambda step: Text("hello"), memory)).fit(1)
    assert memory.rows == [("Step/Visualization", 1, "hello")]


def test_the_function_gets_the_whole_step(memory) -> None:
    def names(step) -> Text:
        return Text(", ".join(sorted(step)))

    toy_learner(Recorder(), LogVisualization(names, memory)).fit(1)
    assert memory.rows == [("Step/Visualization", 1, "accumulating, grads, loss, xs, yhats, ys")]


def test_none_means_every_step(memory) -> None:
    toy_learner(Recorder(), LogVisualization(lambda step: GREY, memory, freq=None), nbatches=3).fit(2)
    assert [i for _, i, _ in memory.rows] == [1, 2, 3, 4, 5, 6]


def test_another_phase_and_another_name_on_request(memory) -> None:
    shown = LogVisualization(lambda step: GREY, memory, name="Errors", phase=ValidationPhase, freq=2)
    toy_learner(Recorder(), shown, nbatches=3).fit(1)
    assert memory.rows == [("Step/Errors", 1, "Image"), ("Step/Errors", 3, "Image")]


def test_a_figure_of_pyplot_is_closed_after_it_was_logged(memory) -> None:
    numbers = []

    def draw(step):
        figure = pyplot.figure(figsize=(1, 1), dpi=10)
        numbers.append(figure.number)
        return figure

    toy_learner(Recorder(), LogVisualization(draw, memory)).fit(1)
    assert memory.loggables[0].data.shape == (4, 10, 10)
    assert not pyplot.fignum_exists(numbers[0])


def test_watching_changes_nothing_even_with_random_numbers(memory) -> None:
    def noise(step) -> Image:
        return Image(torch.rand(1, 2, 2))

    weights = []
    for callbacks in ([Recorder()], [Recorder(), LogVisualization(noise, memory, freq=None)]):
        torch.manual_seed(0)
        learner = toy_learner(*callbacks)
        learner.lossfn = lambda yhats, ys: (torch.rand(()) * (yhats - ys)).abs().mean()
        learner.fit(2)
        weights.append(learner.model.weight.item())
    assert weights[0] == weights[1]


def test_the_function_cannot_change_the_step(memory) -> None:
    def meddle(step):
        step.loss = 0

    learner = toy_learner(Recorder(), LogVisualization(meddle, memory))
    with pytest.raises(ProtectedException):
        learner.fit(1)


def test_what_the_function_raises_reaches_the_user(memory) -> None:
    def broken(step):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        toy_learner(Recorder(), LogVisualization(broken, memory)).fit(1)


def test_a_function_that_returns_nothing_is_refused(memory) -> None:
    def forgot(step):
        step.xs[0]

    with pytest.raises(ArgumentTypeError, match=r"forgot returned None to LogVisualization\.\nFix: return a picture"):
        toy_learner(Recorder(), LogVisualization(forgot, memory)).fit(1)


def test_a_picture_of_the_wrong_shape_is_refused(memory) -> None:
    learner = toy_learner(Recorder(), LogVisualization(lambda step: step.xs, memory))
    with pytest.raises(ArgumentValueError, match=r"not \(8, 1\)\.\nFix: a grey picture needs its one channel in front"):
        learner.fit(1)


def test_the_arguments_are_checked(memory) -> None:
    with pytest.raises(ArgumentTypeError, match=r"LogVisualization\(fn\) must be a function, got Memory"):
        LogVisualization(memory)
    with pytest.raises(
        ArgumentTypeError, match=r"LogVisualization\(phase\) must be Phase or a subclass of it, got Val"
    ):
        LogVisualization(lambda step: GREY, memory, phase=ValidationPhase())  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="LogVisualization has no backend"):
        LogVisualization(lambda step: GREY)
    with pytest.raises(ArgumentValueError, match=r"LogVisualization\(freq\) must be .* at least 1, got -1"):
        LogVisualization(lambda step: GREY, memory, freq=-1)


def test_it_only_reads(memory) -> None:
    shown = LogVisualization(lambda step: GREY, memory)
    assert accesses(shown, Read) == {"step", "cbstate.history"}
    assert accesses(shown, Write) == set()

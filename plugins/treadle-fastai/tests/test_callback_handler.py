"""`CallbackHandler` for a loop of one's own: what is passed, what is taken in, in which order."""

import pytest
import torch
from treadle.errors import CallbackError
from treadle_fastai import AverageMetric, Callback, CallbackHandler


class Log(Callback):
    """Note every handler that is called."""

    def __init__(self, log, label="") -> None:
        self.log, self.label = log, label

    def on_batch_begin(self, **kwargs):
        self.log.append(f"{self.label}begin")

    def on_batch_end(self, last_loss, **kwargs):
        self.log.append(f"{self.label}end {last_loss}")


def batch(handler, x=1.0, y=2.0, loss=0.5, *, train=True):
    handler.on_batch_begin(x, y, train=train)
    handler.on_loss_begin(x)
    if train:
        handler.on_backward_begin(loss)
        handler.on_backward_end()
        handler.on_step_end()
    return handler.on_batch_end(loss)


def begun(*callbacks, **options):
    handler = CallbackHandler(callbacks, **options)
    handler.on_train_begin(epochs=3)
    handler.on_epoch_begin()
    return handler


def test_lower_orders_come_first_and_equal_ones_as_they_are_listed() -> None:
    log = []
    late, a, b = Log(log, "late "), Log(log, "a "), Log(log, "b ")
    late._order = 5
    begun(late, b, a).on_batch_begin(1, 2)
    assert log == ["b begin", "a begin", "late begin"]


def test_what_one_returns_is_passed_to_the_next_and_to_the_loop() -> None:
    class Double(Callback):
        def on_batch_begin(self, last_input, **kwargs):
            return {"last_input": 2 * last_input}

    class Increment(Callback):
        _order = 1

        def on_batch_begin(self, last_input, last_target, **kwargs):
            return last_input + 1, last_target  # the older way

    assert begun(Increment(), Double()).on_batch_begin(3, 4) == (7, 4)


@pytest.mark.parametrize(
    ("handler", "passed", "returned", "result"),
    [
        ("on_loss_begin", (1,), 9, 9),
        ("on_loss_begin", (1,), {"last_output": 9}, 9),
        ("on_loss_begin", (1,), None, 1),
        ("on_backward_begin", (1.0,), 9, 9),
        ("on_backward_begin", (1.0,), {"last_loss": 9}, 9),
        ("on_backward_end", (), True, True),
        ("on_backward_end", (), {"skip_step": True}, True),
        ("on_backward_end", (), None, False),
        ("on_step_end", (), True, True),
        ("on_step_end", (), {"skip_zero": True}, True),
        ("on_batch_end", (1.0,), True, True),
        ("on_batch_end", (1.0,), {"stop_epoch": True}, True),
        ("on_epoch_end", (1.0,), True, True),
        ("on_epoch_end", (1.0,), {"stop_training": True}, True),
        ("on_epoch_end", (1.0,), False, False),
    ],
)
def test_the_loop_gets_what_a_handler_returned_the_older_way_or_by_keyword(handler, passed, returned, result) -> None:
    callback = Callback()
    setattr(callback, handler, lambda **kwargs: returned)
    assert getattr(begun(callback), handler)(*passed) == result


def test_flags_of_a_batch_are_gone_in_the_next_one() -> None:
    class Once(Callback):
        def on_backward_end(self, iteration, **kwargs):
            return iteration == 0

    handler = begun(Once())
    handler.on_batch_begin(1, 2)
    assert handler.on_backward_end()
    handler.on_batch_end(0.5)
    handler.on_batch_begin(1, 2)
    assert not handler.on_backward_end()


def test_batches_are_counted_from_0_and_in_training_alone() -> None:
    counts = []

    class Count(Callback):
        def on_batch_end(self, epoch, iteration, num_batch, train, **kwargs):
            counts.append((epoch, iteration, num_batch, train))

    handler = begun(Count())
    batch(handler)
    batch(handler)
    batch(handler, train=False)
    handler.on_epoch_end(None)
    handler.on_epoch_begin()
    batch(handler)
    assert counts == [(0, 0, 0, True), (0, 1, 1, True), (0, 2, 2, False), (1, 2, 0, True)]


def test_the_loss_is_smoothed_before_a_callback_changes_it() -> None:
    smoothed = []

    class Penalty(Callback):
        def on_backward_begin(self, last_loss, smooth_loss, **kwargs):
            smoothed.append(smooth_loss)
            return {"last_loss": 1000 * last_loss}

    handler = begun(Penalty())
    assert [handler.on_backward_begin(loss) for loss in (4, 2, 1)] == [4000, 2000, 1000]
    assert smoothed == pytest.approx([4, 2.98989899, 2.31315467])


def test_metrics_see_batches_of_validation_alone_and_come_first_at_the_end_of_an_epoch() -> None:
    class Seen(Callback):
        def on_epoch_end(self, last_metrics, **kwargs):
            self.metrics = last_metrics

    def rows(output, target):
        return float(len(target))

    seen = Seen()
    handler = begun(seen, metrics=[rows])
    batch(handler, torch.ones(8), torch.ones(8))
    batch(handler, torch.ones(3), torch.ones(3), train=False)
    batch(handler, torch.ones(1), torch.ones(1), train=False)
    handler.on_epoch_end(0.25)
    assert seen.metrics == [0.25, (3 * 3 + 1 * 1) / 4]


def test_a_callback_may_let_all_of_them_jump_to_an_epoch() -> None:
    class Jump(Callback):
        def on_train_begin(self, **kwargs):
            return {"epoch": 2}

    class Jumped(Callback):
        def jump_to_epoch(self, epoch):
            self.epoch = epoch

    jumped = Jumped()
    handler = begun(Jump(), jumped)
    assert (jumped.epoch, handler.state_dict["epoch"]) == (2, 2)


def test_the_end_of_a_training_is_told_what_ended_it() -> None:
    class End(Callback):
        def on_train_end(self, exception, **kwargs):
            self.exception = exception

    end = End()
    begun(end).on_train_end(exception=False)
    assert end.exception is False


@pytest.mark.parametrize(
    ("handler", "returned", "message"),
    [
        (
            "on_batch_begin",
            {"last_inputs": 1},
            r"Callback\.on_batch_begin returned a value for 'last_inputs', which is not in the state\. Did you mean "
            r"`last_input`\?\nFix: return values for known keywords, such as 'last_input':\n    return \{",
        ),
        ("on_batch_begin", 3, r"returned int, which is not a pair of input and target\.\nFix: return both"),
        (
            "on_epoch_begin",
            3,
            r"on_epoch_begin returned int, and nothing .* but a dictionary has a meaning there\.\nFix",
        ),
    ],
)
def test_what_nobody_knows_is_refused(handler, returned, message) -> None:
    callback = Callback()
    handlers = CallbackHandler([])
    setattr(callback, handler, lambda **kwargs: returned)
    handlers = CallbackHandler([callback])
    with pytest.raises(CallbackError, match=message):
        getattr(handlers, handler)(*((1, 2) if handler == "on_batch_begin" else ()))


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("on_batch_start", "on_batch_"),
        ("on_step_begin", "on_batch_begin"),
        ("on_update_begin", "on_backward_end"),
        ("on_fit_begin", "on_train_begin"),
    ],
)
def test_a_handler_that_there_is_not_is_refused_with_a_guess(name, guess) -> None:
    callback = type("Wrong", (Callback,), {name: lambda self, **kwargs: None})()
    with pytest.raises(
        CallbackError, match=rf"Wrong has a method `{name}`, .*Did you mean `{guess}[a-z]*`\?\nFix: ren"
    ):
        CallbackHandler([callback])


def test_a_handler_that_asks_for_what_is_not_passed_is_refused_with_a_guess() -> None:
    class Wrong(Callback):
        def on_batch_begin(self, last_inptu, **kwargs): ...

    with pytest.raises(CallbackError, match=r"asks for `last_inptu`, and nothing .* Did you mean `last_input`\?\nFix"):
        CallbackHandler([Wrong()])


def test_a_handler_may_take_what_it_needs_and_no_more() -> None:
    class Short(Callback):
        def on_loss_begin(self, last_output):
            return last_output + 1

    assert begun(Short()).on_loss_begin(1) == 2


def test_a_metric_that_is_neither_callback_nor_function_is_refused() -> None:
    with pytest.raises(CallbackError, match=r"has 'accuracy', which is neither a callback nor a function\.\nFix: pass"):
        CallbackHandler(metrics=["accuracy"])


def test_a_target_without_a_tensor_has_no_rows() -> None:
    metric = AverageMetric(lambda output, target: 1.0)
    with pytest.raises(CallbackError, match=r"weighs each batch by its rows, and the target has no tensor\.\nFix: use"):
        metric.on_batch_end("a", "b")

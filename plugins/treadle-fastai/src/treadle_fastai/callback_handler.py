"""`CallbackHandler`: calls fastai callbacks in their order, and takes in what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from treadle.errors import CallbackError

from treadle_fastai.average_metric import AverageMetric
from treadle_fastai.callback import Callback
from treadle_fastai.handlers import OF_A_BATCH, accepted, defined, name_of, new_state, returned_values
from treadle_fastai.smoothen_value import SmoothenValue


class CallbackHandler:
    """Manage callbacks and metrics for a training loop of one's own, and smooth the loss.

    In a `Learner` nobody needs it: there the callbacks stand in the list of all others. Each method calls the handler
    of its name: of the metrics, then of the callbacks in the order of their `_order`, those of an equal one as they are
    listed. Every keyword of the state is passed. What one of them returns is in the state when the next one is called.
    Metrics get the events of batches in validation alone.

    Args:
        callbacks: The callbacks. Default: none.
        metrics: Callbacks, or functions of an output and a target. Default: none.
        beta: The weight of the losses before in the smoothed loss. Default: 0.98.

    Attributes:
        state_dict: The state, by its keywords.

    Raises:
        CallbackError: for a callback with a handler that there is not, or one that asks for what is not passed; in a
            handler, for a returned value that is not known.

    Example:
        >>> class Double(Callback):
        ...     def on_batch_begin(self, last_input, **kwargs):
        ...         return {"last_input": 2 * last_input}
        >>> class Stop(Callback):
        ...     def on_batch_end(self, iteration, **kwargs):
        ...         return iteration >= 1
        >>> handler = CallbackHandler([Stop(), Double()])
        >>> handler.on_train_begin(epochs=1)
        >>> handler.on_epoch_begin()
        >>> for x, y in ((1, 1), (2, 2), (3, 3)):
        ...     x, y = handler.on_batch_begin(x, y)
        ...     loss = handler.on_backward_begin(handler.on_loss_begin(x) - y)
        ...     print(x, loss, handler.on_batch_end(loss))
        ...     if handler.state_dict["stop_epoch"]:
        ...         break
        2 1 False
        4 2 True
        >>> handler.on_epoch_end(val_loss=None)
        False
        >>> handler.on_train_end(exception=False)
    """

    def __init__(
        self,
        callbacks: Iterable[Any] | None = None,
        metrics: Iterable[Any] | None = None,
        beta: float = 0.98,
    ) -> None:
        self.callbacks = sorted(callbacks or (), key=lambda callback: getattr(callback, "_order", 0))
        self.metrics = [checked_metric(metric) for metric in metrics or ()]
        self._handlers = {
            id(callback): {name: accepted(getattr(callback, name)) for name in defined(callback, Callback)}
            for callback in (*self.callbacks, *self.metrics)
        }
        self.smoothener = SmoothenValue(beta)
        self.state_dict = new_state()

    def __call__(self, name: str, *, call_metrics: bool = True, **more: Any) -> None:
        """Call the handler of a name, such as "batch_begin", of all metrics and callbacks.

        Args:
            more: Keywords for this handler alone.
        """
        for callback in (*(self.metrics if call_metrics else ()), *self.callbacks):
            self._call(callback, f"on_{name}", more)

    def _call(self, callback: Any, name: str, more: dict[str, Any]) -> None:
        handlers = self._handlers[id(callback)]
        if name not in handlers:
            return
        passed, takes = {**self.state_dict, **more}, handlers[name]
        if takes is not None:
            passed = {key: value for key, value in passed.items() if key in takes}
        returned = getattr(callback, name)(**passed)
        self.state_dict.update(returned_values(callback, name, returned))

    # The methods that a loop calls.

    def on_train_begin(self, epochs: int, pbar: Any = None, metrics: Any = ()) -> None:
        """A training of so many epochs begins. A callback that returns another `epoch` makes all of them jump there."""
        names = [name_of(metric) for metric in metrics or ()] + [name_of(metric) for metric in self.metrics]
        self.state_dict = {**new_state(), "n_epochs": epochs, "pbar": pbar, "metrics": metrics}
        self.smoothener = SmoothenValue(self.smoothener.beta)
        self("train_begin", metrics_names=names)
        if self.state_dict["epoch"] != 0:
            for callback in (*self.metrics, *self.callbacks):
                callback.jump_to_epoch(self.state_dict["epoch"])

    def on_epoch_begin(self) -> None:
        """An epoch begins."""
        self.state_dict |= {"num_batch": 0, "stop_training": False}
        self("epoch_begin")

    def on_batch_begin(self, xb: Any, yb: Any, train: bool = True) -> tuple[Any, Any]:
        """A batch of training or validation begins; returns its input and target."""
        self.state_dict |= {"last_input": xb, "last_target": yb, "train": train, **dict.fromkeys(OF_A_BATCH, False)}
        self("batch_begin", call_metrics=not train)
        return self.state_dict["last_input"], self.state_dict["last_target"]

    def on_loss_begin(self, out: Any) -> Any:
        """The model was applied; returns the output that the loss is computed of."""
        self.state_dict["last_output"] = out
        self("loss_begin", call_metrics=False)
        return self.state_dict["last_output"]

    def on_backward_begin(self, loss: Any) -> Any:
        """The loss was computed; returns the one to go backward from, unless `state_dict["skip_bwd"]`."""
        self.smoothener.add_value(number_of(loss))
        self.state_dict |= {"last_loss": loss, "smooth_loss": self.smoothener.smooth}
        self("backward_begin", call_metrics=False)
        return self.state_dict["last_loss"]

    def on_backward_end(self) -> bool:
        """The gradients were computed; returns whether to leave out the optimizer's step."""
        self("backward_end", call_metrics=False)
        return bool(self.state_dict["skip_step"])

    def on_step_end(self) -> bool:
        """The optimizer made its step; returns whether to keep the gradients."""
        self("step_end", call_metrics=False)
        return bool(self.state_dict["skip_zero"])

    def on_batch_end(self, loss: Any) -> bool:
        """A batch is done; returns whether to end the epoch."""
        self.state_dict["last_loss"] = loss
        train = self.state_dict["train"]
        self("batch_end", call_metrics=not train)
        if train:
            self.state_dict["iteration"] += 1
            self.state_dict["num_batch"] += 1
        return bool(self.state_dict["stop_epoch"])

    def on_epoch_end(self, val_loss: Any) -> bool:
        """An epoch is done, its validation included; returns whether to end the training."""
        self.state_dict["last_metrics"] = [val_loss]
        self("epoch_end")
        self.state_dict["epoch"] += 1
        return bool(self.state_dict["stop_training"])

    def on_train_end(self, exception: bool | BaseException) -> None:
        """The training is over: False, or the exception that ended it."""
        self("train_end", exception=exception)


def checked_metric(metric: Any) -> Callback:
    """A metric as a callback; a function is wrapped in an `AverageMetric`."""
    if isinstance(metric, Callback):
        return metric
    if isinstance(metric, type) or not isinstance(metric, Callable):  # type: ignore[arg-type]
        raise CallbackError(
            f"CallbackHandler(metrics) has {metric!r}, which is neither a callback nor a function.\n"
            f"Fix: pass a function of an output and a target:\n    CallbackHandler(metrics=[accuracy])"
        )
    return AverageMetric(metric)


def number_of(loss: Any) -> Any:
    """A loss without its graph."""
    return loss.detach().float() if hasattr(loss, "detach") else loss

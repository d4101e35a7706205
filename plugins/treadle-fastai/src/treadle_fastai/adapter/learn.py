"""`Learn`: the learner that a callback sees, under fastai's names."""

from __future__ import annotations

from typing import Any

from treadle.errors import CallbackError

from treadle_fastai.optim_wrapper import OptimWrapper

#: What is called otherwise here: fastai's names of a learner's parts.
NAMES = {"loss_func": "lossfn"}


class Learn:
    """A learner, or the view of one, under fastai's names and its own."""

    __slots__ = ("_seen",)

    def __init__(self, seen: Any) -> None:
        object.__setattr__(self, "_seen", seen)

    @property
    def opt(self) -> OptimWrapper:
        """The optimizer: the learner's `OptimWrapper`, or one around its optimizer."""
        optimizer = self._seen.optimizer
        if isinstance(optimizer, OptimWrapper):
            return optimizer
        return OptimWrapper.around(optimizer, self._replace_optimizer)

    def _replace_optimizer(self, optimizer: Any) -> None:
        self._seen.optimizer = optimizer

    @property
    def data(self) -> Data:
        """The loaders, as `train_dl` and `valid_dl`."""
        return Data(self._seen)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._seen, NAMES.get(name, name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("opt", "data"):
            fix = "self.learn.opt.opt = optimizer" if name == "opt" else "self.learn.data.train_dl = loader"
            raise CallbackError(
                f"Setting self.learn.{name} does not change it inside of a fit, in fastai neither.\n"
                f"Fix: change what is in it:\n    {fix}"
            )
        setattr(self._seen, NAMES.get(name, name), value)


class Data:
    """The data of a learner; what is set here is used from the next epoch on."""

    __slots__ = ("_seen",)

    def __init__(self, seen: Any) -> None:
        self._seen = seen

    train_dl = property(
        lambda self: self._seen.data.training, lambda self, loader: setattr(self._seen.data, "training", loader)
    )
    valid_dl = property(
        lambda self: self._seen.data.get("validation"),
        lambda self, loader: setattr(self._seen.data, "validation", loader),
    )

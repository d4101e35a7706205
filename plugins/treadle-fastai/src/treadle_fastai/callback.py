"""`Callback` and `LearnerCallback`: what a callback that is written for fastai v1 derives from."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import treadle
from treadle import ConflictResolution, NoConflict, NotDefined, Permission, RunFirst, Write
from treadle.authoring import instance_of, unwrap
from treadle.errors import CallbackError

from treadle_fastai.handlers import NOT_ALWAYS, defined
from treadle_fastai.plain_state import NEVER, load_plain_state, plain_state

if TYPE_CHECKING:
    from treadle_fastai.adapter import Adapter

#: What fastai's callbacks of one learner share: the smoothed loss, the metrics of an epoch.
SHARED = "cbstate.fastai"


class Callback(treadle.Callback):
    """A callback as fastai v1 has them, in the list of a `Learner` beside all others.

    A subclass defines some of the ten handlers. Each is called with keywords: `n_epochs`, `epoch`, `iteration`,
    `num_batch`, `last_input`, `last_target`, `last_output`, `last_loss`, `smooth_loss`, `last_metrics`, `pbar` and
    `train`, and takes those that it needs, and `**kwargs`. It may return a dictionary of new values, or, the older way,
    the new value of what it is about.

    What it may touch follows from its handlers, and from the keywords that their code uses: `on_batch_begin` may change
    `step.xs` and `step.ys`, `on_loss_begin` `step.yhats`, `on_backward_begin` `step.loss`; a `LearnerCallback` also
    those parts of the learner that its code names. A narrower `state_access` lets it go with more callbacks, and is
    kept to.

    A phase of training that never comes to one of its handlers, as one without a `LossBegin` never does to
    `on_loss_begin`, is refused.

    Args:
        state_access: What it touches, where that is less: paths with `Read` or `Write`, as `treadle.Callback` has
            them; also as an attribute of a class, or of an instance before it joins a learner. Default: see above.

    Attributes:
        _order: Of two such callbacks that touch the same, the one with the lower number runs first; of equal ones, the
            one whose name is first. An `AverageMetric` runs before all others. Default: 0.
        exclude: Names of attributes that are not saved with a run. Default: none.
        not_min: Names of attributes that a minimal `get_state` leaves out as well. Default: none.
        skips_validation: Whether `on_train_begin` may return `skip_validate`. Default: whether it names that keyword.

    Example:
        >>> from treadle import toy_learner
        >>> class Negate(Callback):
        ...     "Train on the negative inputs."
        ...     def on_batch_begin(self, last_input, last_target, **kwargs):
        ...         return {"last_input": -last_input}
        >>> learner = toy_learner(Negate())
        >>> result = learner.fit(100)
        >>> round(learner.model.weight.item())
        -3
    """

    _order = 0
    exclude: tuple[str, ...] | list[str] = ()
    not_min: tuple[str, ...] | list[str] = ()
    skips_validation: bool | None = None
    guard_fix = "use a phase that does all that a fastai callback is called at:\n    TrainingPhase()"
    run_after: Iterable[type[treadle.Callback] | str] = (
        "to_device",
        "to_gpu",
    )  # so that it sees a batch where the model is

    _access: Any = None
    _for_metrics = False  # whether the batches of training are not for it

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        declared = vars(cls).get("state_access")
        if declared is not None and not isinstance(declared, property):
            cls._access = declared
            del cls.state_access

    def __init__(self, *, state_access: Mapping[str, type[Permission]] | None = None) -> None:
        if state_access is not None:
            self.state_access = state_access

    # As a callback of Treadle.

    @property
    def adapter(self) -> Adapter:  # type: ignore[override]
        """What handles Treadle's events, and calls the handlers of this callback."""
        found: Adapter | None = vars(self).get("_adapter")
        if found is None:
            from treadle_fastai.adapter import Adapter  # which has a handler of such callbacks

            found = vars(self)["_adapter"] = Adapter(self)
        return found

    @property
    def state_access(self) -> Mapping[str, type[Permission]]:
        """What it touches: what was declared, or else what its handlers may."""
        if isinstance(self._access, Mapping):
            return {**self._access, SHARED: Write}
        if self._access is not None:
            return self._access  # type: ignore[no-any-return]  # which is refused with the reason
        from treadle_fastai.adapter.access import default_access

        return {**default_access(self), SHARED: Write}

    @state_access.setter
    def state_access(self, state_access: Mapping[str, type[Permission]]) -> None:
        self._access = state_access
        vars(self).pop("_adapter", None)

    @property
    def guard(self) -> bool:  # type: ignore[override]
        """Whether a phase that passes one of its handlers by is refused: of those that not every phase calls."""
        return not set(NOT_ALWAYS).isdisjoint(defined(self, Callback))

    def resolve_conflict(self, other: treadle.Callback) -> ConflictResolution:
        """Two of them run in the order of `_order`, and then of their names; metrics before all others.

        Beside a gradient scaler any order is right: where it acts, around the backward pass and in the update, none of
        them is called.
        """
        inner = unwrap(other)
        if inner.skips_updates:
            return NoConflict()
        if not isinstance(inner, Callback) or self._place() == inner._place():
            return NotDefined()
        return RunFirst(self if self._place() < inner._place() else other)

    def _place(self) -> tuple[bool, float, str]:
        return not self._for_metrics, self._order, self.name

    def state_dict(self) -> dict[str, Any]:
        """The attributes that a checkpoint keeps: plain values and tensors, and what has a `state_dict` itself."""
        return plain_state(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_plain_state(self, state)

    # The handlers: keywords are passed, and `*args` says that a subclass takes of them what it needs.

    def on_train_begin(self, *args: Any, **kwargs: Any) -> Any:
        """Initialize what the training needs."""

    def on_epoch_begin(self, *args: Any, **kwargs: Any) -> Any:
        """An epoch begins."""

    def on_batch_begin(self, *args: Any, **kwargs: Any) -> Any:
        """A batch begins; returns the new input and target."""

    def on_loss_begin(self, *args: Any, **kwargs: Any) -> Any:
        """The model was applied; returns the new output."""

    def on_backward_begin(self, *args: Any, **kwargs: Any) -> Any:
        """The loss was computed; returns the new loss."""

    def on_backward_end(self, *args: Any, **kwargs: Any) -> Any:
        """The gradients are whole, and the optimizer's step comes next; returns whether to leave that out."""

    def on_step_end(self, *args: Any, **kwargs: Any) -> Any:
        """The optimizer made its step; returns whether the next batch adds to these gradients."""

    def on_batch_end(self, *args: Any, **kwargs: Any) -> Any:
        """A batch is done; returns whether to end the epoch."""

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> Any:
        """An epoch and its validation are done; returns whether to end the training."""

    def on_train_end(self, *args: Any, **kwargs: Any) -> Any:
        """The training is over, in whatever way; `exception` is what ended it, or False."""

    def jump_to_epoch(self, epoch: int) -> None:
        """A `CallbackHandler` goes on at an epoch; a `Learner` resumes a run by its checkpoint, and calls it never."""

    def get_state(self, minimal: bool = True) -> dict[str, Any]:
        """The attributes, without those of `exclude` and, if it is to be minimal, of `not_min`.

        Example:
            >>> callback = Callback()
            >>> callback.best = 0.5
            >>> callback.get_state()
            {'best': 0.5}
        """
        left_out = {*NEVER, *self.exclude, *(self.not_min if minimal else ())}
        return {name: value for name, value in vars(self).items() if name not in left_out}


class LearnerCallback(Callback):
    """A callback that uses the learner, as `self.learn`.

    In its handlers `self.learn` is the learner under fastai's names: `model`, `opt` (an `OptimWrapper`), `loss_func`,
    and `data.train_dl` and `data.valid_dl`; and under Treadle's, `params`, `step` and so on. It lets through what the
    callback declares.

    Args:
        learn: The learner, where it is there already; needed nowhere but outside of the handlers. Default: none.
        **settings: What becomes attributes of the callback, for classes that need no `__init__` of their own; and
            `state_access`.

    Example:
        >>> from torch import nn
        >>> from treadle import toy_learner
        >>> class GradientClipping(LearnerCallback):
        ...     def on_backward_end(self, **kwargs):
        ...         if self.clip:
        ...             nn.utils.clip_grad_norm_(self.learn.model.parameters(), self.clip)
        >>> learner = toy_learner(GradientClipping(clip=1.0))
        >>> result = learner.fit(1)
        >>> round(learner.model.weight.item(), 3)  # 16 updates with a learning rate of 0.001
        0.016
    """

    def __init__(self, learn: Any = None, **settings: Any) -> None:
        example = f"{type(self).__name__}(learner)"
        if learn is not None:
            instance_of(learn, f"{type(self).__name__}(learn)", treadle.Learner, example)
            vars(self)["_learn"] = weakref.ref(learn)
        for name, value in settings.items():
            if name.startswith("_") or callable(getattr(type(self), name, None)):
                raise CallbackError(
                    f"{type(self).__name__} got {name!r}, which is not a setting: it would hide what the class has.\n"
                    f"Fix: leave it out, or define `__init__`."
                )
            setattr(self, name, value)

    def __repr__(self) -> str:
        """The name, and the settings that are plain values."""
        settings = {name: value for name, value in vars(self).items() if name[0] != "_" and name != "name"}
        plain = [f"{n}={v!r}" for n, v in settings.items() if v is None or isinstance(v, bool | int | float | str)]
        listed = ", ".join(plain)
        return f"<{self.name}({listed})>" if plain else f"<{self.name}>"

    @property
    def access_fix(self) -> str:  # type: ignore[override]
        """What can be done about a declaration that nobody wrote."""
        if self._access is not None:
            return ""
        paths = {path: mode.__name__ for path, mode in self.state_access.items() if path not in (SHARED, "callbacks")}
        listed = ", ".join(f'"{path}": {mode}' for path, mode in paths.items())
        return (
            f"say what {self.name} touches, of which its code shows this much, with `Read` for what it leaves as it "
            f'is, and "step.grads" for gradients alone:\n    {type(self).__name__}(..., state_access={{{listed}}})'
        )

    @property
    def learn(self) -> Any:
        """The learner under fastai's names, as this callback may see it."""
        from treadle_fastai.adapter.learn import Learn

        view = vars(self).get("_view")
        if view is None and "_learn" in vars(self):
            view = vars(self)["_learn"]()
        if view is None:
            raise CallbackError(
                f"{self.name}.learn is there in its handlers alone, or where the callback was made with a learner.\n"
                f"Fix: use it in a handler, or pass the learner:\n    {type(self).__name__}(learner)"
            )
        return Learn(view)

    @property
    def opt(self) -> Any:
        """The optimizer, as `self.learn.opt`."""
        return self.learn.opt

"""`Unfreeze`: train parameters from an epoch on, and leave them as they are until then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Self

from treadle import AbstractTrainingPhase, Callback, ConflictResolution, NotDefined, Unresolvable, Write
from treadle.authoring import OpenEpochs, did_you_mean, list_of, named_tensors, unwrap, whole_number
from treadle.errors import ArgumentTypeError, ArgumentValueError

EXAMPLE = 'Unfreeze({3: "encoder.layer4.*", 5: ["encoder.*", "embedding.weight"]})'


class Unfreeze(Callback):
    """Freeze parameters until the epoch begins from which on they are trained.

    A frozen parameter needs no gradient (`requires_grad` is False) and has none, so no optimizer of torch changes it:
    neither weight decay nor momentum does, and Adam begins to count its steps when it is unfrozen. It stays in the
    optimizer. The parameters that no pattern matches are as they were.

    Only parameters are frozen. The running statistics of a BatchNorm layer are buffers, and follow the data of each
    training step all the same; a layer that is to keep them has to be in eval mode.

    Args:
        patterns: Maps the number of an epoch, from 1, to shell patterns (`*`, `?`, `[...]`) of parameter names: one,
            or a list. With several models the names are "generator.0.weight". A parameter that matches those of
            several epochs is unfrozen in the first of them.

    Writes: `params`, of which it sets `requires_grad`.

    Raises:
        ArgumentTypeError: if it is not such a mapping.
        ArgumentValueError: if an epoch is below 1; when the learner is built, if a pattern matches no parameter, or
            none that is still frozen; as an epoch begins, if all parameters are frozen.

    Example:
        >>> import torch
        >>> from treadle import CustomCallback, Learner, Read, StepEnd, toy_learner
        >>> def show(learner):
        ...     print(learner.progress.epoch, [name for name, p in learner.params.items() if p.requires_grad])
        >>> model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Linear(2, 1))
        >>> callbacks = [Unfreeze({2: "0.*"}), CustomCallback(show, StepEnd, state_access={"params": Read})]
        >>> data = (toy_learner(nbatches=1).data.training,)
        >>> learner = Learner(model, torch.nn.L1Loss(), data=data, callbacks=callbacks, use_default_callbacks=False)
        >>> result = learner.fit(2)
        1 ['1.weight', '1.bias']
        2 ['0.weight', '0.bias', '1.weight', '1.bias']
    """

    state_access = {"params": Write}

    @classmethod
    def example(cls) -> Self:
        return cls({1: "*"})

    def __init__(self, patterns: Mapping[int, str | Iterable[str]]) -> None:
        self.patterns = checked(patterns)
        self._first: dict[str, int] = {}  # the epochs from which on parameters are trained, by their names
        self._open: OpenEpochs[None] = OpenEpochs()

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        if isinstance(unwrap(other), Unfreeze):
            return Unresolvable("Each of them freezes parameters. Give one of them the patterns of both.")
        return NotDefined()

    def on_init(self, learner: Any) -> None:
        self._first = first_epochs(self.patterns, [name for name, _ in named_tensors(learner.params)])
        self._set(learner)

    def on_epoch_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        self._open.begin(learner, phase, None)
        if self._open.depth(learner) > 1:  # an epoch inside of another trains what that does
            return
        self._set(learner)
        if not any(parameter.requires_grad for _, parameter in named_tensors(learner.params)):
            epoch = learner.progress.epoch
            raise ArgumentValueError(
                f"All parameters are frozen in epoch {epoch}, so there is nothing to train.\n"
                f"Fix: let some be trained from the beginning:\n    Unfreeze({{{epoch}: ..., {epoch + 1}: ...}})"
            )

    def _set(self, learner: Any) -> None:
        epoch = learner.progress.epoch
        for name, parameter in named_tensors(learner.params):
            if name in self._first:
                parameter.requires_grad = epoch >= self._first[name]  # by which lazy ones can be set, too


def checked(patterns: Any) -> dict[int, tuple[str, ...]]:
    """The patterns of each epoch, the first one first.

    Example:
        >>> checked({5: ["b*", "c"], 2: "a"})
        {2: ('a',), 5: ('b*', 'c')}
    """
    if not isinstance(patterns, Mapping):
        raise ArgumentTypeError(
            f"Unfreeze takes a mapping of epochs to patterns of parameter names, got {patterns!r}.\n"
            f"Fix: write, for example:\n    {EXAMPLE}"
        )
    found = {}
    for epoch, names in patterns.items():
        number = whole_number(epoch, "An epoch of Unfreeze", EXAMPLE, least=1)
        found[number] = (names,) if isinstance(names, str) else list_of(names, f"Unfreeze[{number}]", str, EXAMPLE)
    return dict(sorted(found.items()))


def first_epochs(patterns: Mapping[int, Iterable[str]], names: list[str]) -> dict[str, int]:
    """The epoch from which on each parameter that a pattern matches is trained.

    Args:
        patterns: Patterns by epochs, the first one first.
        names: The names of all parameters.

    Example:
        >>> first_epochs({2: ["head.*"], 3: ["*"]}, ["body.weight", "head.weight"])
        {'head.weight': 2, 'body.weight': 3}
    """
    first: dict[str, int] = {}
    for epoch, of_epoch in patterns.items():
        before = set(first)
        for pattern in of_epoch:
            matched = [name for name in names if fnmatchcase(name, pattern)]
            if not matched:
                raise ArgumentValueError(
                    f"The pattern {pattern!r} of Unfreeze, for epoch {epoch}, matches no parameter. "
                    f"{did_you_mean(pattern, [*names, *(f'{part}.*' for part in modules(names))])}\n"
                    f"Fix: write shell patterns of the names in `learner.params`:\n    {EXAMPLE}"
                )
            if before.issuperset(matched):
                earlier = sorted({first[name] for name in matched})
                raise ArgumentValueError(
                    f"The pattern {pattern!r} of Unfreeze, for epoch {epoch}, matches nothing that is still frozen "
                    f"then: all of it is trained from epoch {' or '.join(map(str, earlier))} on.\n"
                    f"Fix: leave it out, or let the patterns of earlier epochs match less"
                )
            first |= {name: epoch for name in matched if name not in first}
    return first


def modules(names: Iterable[str]) -> list[str]:
    """The names of all modules that hold these parameters, in whatever depth.

    Example:
        >>> modules(["encoder.0.weight", "encoder.0.bias", "head"])
        ['encoder.0', 'encoder']
    """
    found: dict[str, None] = {}
    for name in names:
        while name := name.rpartition(".")[0]:
            found[name] = None
    return list(found)

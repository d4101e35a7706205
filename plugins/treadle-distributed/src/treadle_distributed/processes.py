"""`GroupProcesses`: a run of several processes, each with its share of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.data import DataLoader
from treadle import Phase, PredictionPhase
from treadle.authoring import OpenEpochs, Processes, differing_entries, length_of, map_tensors
from treadle.errors import DataError

from treadle_distributed.agreement.requests import ApartError
from treadle_distributed.data.facts import facts_of
from treadle_distributed.data.shares import IterableShare, Share, distributed_sampler, share_of
from treadle_distributed.exchange import exchanged
from treadle_distributed.group import Group, ProcessGroupError

#: What is exchanged here begins with it, so that nothing else is taken for it.
MARK = "treadle-distributed"


@dataclass
class UnderWay:
    """An epoch that is under way.

    Attributes:
        share: The share of its data, where they are not divided already.
        divided: Whether it has asked for its share.
    """

    share: Share | None = None
    divided: bool = True


class GroupProcesses(Processes):
    """The processes of a process group.

    All exchange is in the methods of this class and in torch's own engine, in the thread of the loop.

    Args:
        group: The group.
        before_epoch: Called with the learner and the phase when an epoch begins, in every process; returns what must be
            alike in all, by its names.
        after_epoch: Called with them when it ends.
    """

    def __init__(
        self,
        group: Group,
        before_epoch: Callable[[Any, Phase], dict[str, str]],
        after_epoch: Callable[[Any, Phase], object],
    ) -> None:
        self.rank, self.size, self.seed = group.rank, group.size, 0
        self._before_epoch, self._after_epoch = before_epoch, after_epoch
        self._by_data: WeakKeyDictionary[Any, dict[bool, tuple[Any, Share | None]]] = WeakKeyDictionary()
        self._epochs: OpenEpochs[UnderWay] = OpenEpochs()
        self._under_way: tuple[Any, Phase, Share | None] | None = None

    def open_epoch(self, learner: Any, phase: Phase) -> None:
        """An epoch begins, which is to ask for its share."""
        self._epochs.begin(learner, phase, UnderWay(divided=False))

    def share(self, learner: Any, phase: Phase, data: Any) -> Any:
        """This process's share of some data; the same object for the same data."""
        training, name = bool(phase.training), f"data.{phase.data_name or 'data'}"
        if not phase.observed:
            name = f"the data of {type(phase).__name__}"
        sampler = distributed_sampler(data) if isinstance(data, DataLoader) else None
        if sampler is not None and isinstance(phase, PredictionPhase):
            raise DataError(
                f"{type(sampler).__name__} divides the data, and `predict` gives all rows in their order.\n"
                f"Fix: leave the sampler out: the batches are divided anyway."
            )
        mine, share = self._shared(data, training, name)
        epoch = learner.progress.epoch
        if share is not None:
            share.seed = self.seed + epoch
        elif sampler is not None and hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        self._under_way = learner, phase, share
        return mine

    def _shared(self, data: Any, training: bool, name: str) -> tuple[Any, Share | None]:
        def made() -> tuple[Any, Share | None]:
            return share_of(data, self.rank, self.size, training=training, name=name)

        try:
            known = self._by_data.setdefault(data, {})
        except TypeError:  # a list, which is divided anew each time
            return made()
        if training not in known:
            known[training] = made()
        return known[training]

    def begin(self, data: Any, batches: Iterator[Any]) -> Iterator[Any]:
        """Take the first batch, and see whether all processes divide the same data."""
        assert self._under_way is not None
        learner, phase, share = self._under_way
        settings = self._before_epoch(learner, phase)
        try:
            first = list(islice(batches, 1))
        except BaseException as error:
            self.gather(("failed", f"{type(error).__name__}: {error}", {}))
            raise
        whole = share.batches if isinstance(share, IterableShare) else data
        entries = facts_of(whole) | {"what comes first": "" if share is None else share.digest}
        begun = self.gather(("begun", entries, settings))
        for rank, (what, found, theirs) in enumerate(begun):
            if what == "failed":
                raise ProcessGroupError(
                    f"Process {rank} could not load the first batch of {phase}: {found}\nFix: see its own error."
                )
            names = ("process 0", f"process {rank}")
            if lines := differing_entries(begun[0][2], theirs, names):
                raise ApartError(
                    f"The processes would not train alike in {phase}:\n    "
                    + "\n    ".join(lines)
                    + "\nFix: let the script pass the same arguments in every process.",
                    rank,
                )
            if lines := differing_entries(begun[0][1], found, names):
                raise DataError(
                    f"The processes do not see the same data in {phase}, so that some rows would be left out and "
                    f"others repeated: each must be given all of them, in one order, and takes its share.\n    "
                    + "\n    ".join(lines)
                    + "\nFix: let the script make the same data in every process, the generators that they hold with "
                    "the same seed, and leave the division to the callback."
                )
        epoch = self._epochs.innermost(learner, phase)
        if epoch is not None:
            epoch.share, epoch.divided = share, True
        return chain(first, batches)

    def check_divided(self, learner: Any, phase: Phase) -> None:
        """Refuse a step of an epoch that has gone over its data without dividing them.

        Raises:
            DataError: if it has.
        """
        epoch = self._epochs.innermost(learner, phase)
        if epoch is not None and not epoch.divided:
            kind = type(phase).__name__
            raise DataError(
                f"{kind} goes over its data by itself, so that each of {self.size} processes would see all rows.\n"
                f"Fix: go over what is divided between them, in {kind}.epoch:\n"
                f"    from treadle.authoring import batches\n"
                f"    for batch in batches(learner, self, data): ..."
            )

    def end(self, learner: Any, phase: Phase) -> None:
        """See whether the data of an epoch were alike to their end, and let the engine make equal what is not."""
        if learner.progress.step:
            self.check_divided(learner, phase)
        epoch = self._epochs.end(learner, phase)
        share = None if epoch is None else epoch.share
        if isinstance(share, IterableShare) and length_of(share.batches) is None:
            ended = self.gather((share.drawn, share.exhausted))
            whole = next((drawn for drawn, exhausted in ended if exhausted), None)
            for rank, (drawn, exhausted) in enumerate(ended):
                if whole is not None and (drawn > whole or (exhausted and drawn < whole)):
                    raise DataError(
                        f"The data of {phase} end at another batch in process {rank} than in others, so that some "
                        f"were left out: after {drawn}{'' if exhausted else ' or more'}, and in others after {whole}.\n"
                        f"Fix: let the script make the same data in every process."
                    )
        self._after_epoch(learner, phase)

    def gather(self, value: Any) -> list[Any]:
        """What all processes pass here; tensors come back on the CPU."""
        gathered = exchanged((MARK, map_tensors(torch.Tensor.cpu, value)))
        for rank, theirs in enumerate(gathered):
            if not (isinstance(theirs, tuple) and theirs[:1] == (MARK,)):
                raise ProcessGroupError(
                    f"Process {rank} is at another place than process {self.rank}, and sent {theirs!r:.200}.\n"
                    f"Fix: look for its own error, or for what the script does on some of the processes alone."
                )
        return [value for _, value in gathered]

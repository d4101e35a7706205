"""`EpochsUnderWay`: which epochs have begun and not ended, also across a resumption."""

from __future__ import annotations

from typing import Any

from treadle import Phase

from treadle_metrics.by_phase import phase_key


class EpochsUnderWay:
    """Which epochs have begun and not ended.

    A checkpoint that was written in the middle of an epoch holds counts of that epoch. When the
    run is resumed and that epoch begins again, for what is left of it, those counts must go on.

    Example:
        >>> from treadle import TrainingPhase
        >>> before, after = EpochsUnderWay(), EpochsUnderWay()
        >>> before.begin(TrainingPhase())
        True
        >>> after.load_state_dict(before.state_dict())
        >>> after.begin(TrainingPhase())
        False
    """

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._resumed: set[str] = set()

    def __contains__(self, key: str | None) -> bool:
        return key in self._begun

    def begin(self, phase: Phase) -> bool:
        """Note that an epoch begins. Whether it is a new one, and not the rest of a resumed one."""
        key = phase_key(phase)
        new = key not in self._resumed
        self._resumed.discard(key)
        self._begun.add(key)
        return new

    def end(self, phase: Phase) -> None:
        """Note that an epoch ended."""
        key = phase_key(phase)
        self._resumed.discard(key)
        self._begun.discard(key)

    def clear(self) -> None:
        """Note that no epoch is under way any more, however they ended."""
        self._resumed.clear()
        self._begun.clear()

    def state_dict(self) -> list[str]:
        """The epochs under way, by the keys of their phases."""
        return sorted(self._begun)

    def load_state_dict(self, state: Any) -> None:
        """Take over what `state_dict` gave."""
        self._begun = set(state)
        self._resumed = set(state)

"""Schedules that go up and down: triangles and sines, steady or fading, and `CosAnneal`."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

from treadle_schedule.schedule import Flag, NotNegative, Number, Positive, Schedule


@dataclass(frozen=True)
class Wave(Schedule):
    """A wave between two bounds: `min(l0, l1) + abs(l0 - l1) * height(t) * shape(t)`."""

    l0: Number
    l1: Number
    period: Positive

    def at(self, t: int) -> float:
        return min(self.l0, self.l1) + abs(self.l0 - self.l1) * self.height(t) * self.shape(t)

    def height(self, t: int) -> float:
        """How much is left of the wave's height at step `t`: 1 for all of it."""
        return 1.0

    @abstractmethod
    def shape(self, t: int) -> float:
        """The wave without its bounds, from 0 to 1."""

    def phase(self, t: int) -> float:
        """How far step `t` is into its period, from 0 to less than 1."""
        return ((t - 1) % self.period) / self.period


class Halving(Wave):
    """A wave of which every period is half as high as the one before."""

    def height(self, t: int) -> float:
        return float(0.5 ** ((t - 1) // self.period))


@dataclass(frozen=True)
class Fading(Wave):
    """A wave whose height is multiplied by `decay` at every step."""

    decay: NotNegative

    def height(self, t: int) -> float:
        return self.decay ** (t - 1)


@dataclass(frozen=True)
class Triangle(Wave):
    """Straight up from the lower bound to the upper one, reached at half the period, and down again.

    Args:
        l0, l1: The bounds, in any order.
        period: How many steps it takes to go up and down.

    Example:
        >>> s = Triangle(l0=0.0, l1=1.0, period=4)
        >>> [s(t) for t in range(1, 7)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (2015).
    """

    def shape(self, t: int) -> float:
        return 1 - abs(2 * self.phase(t) - 1)


@dataclass(frozen=True)
class TriangleDecay2(Halving, Triangle):
    """`Triangle`, each period half as high as the one before.

    Example:
        >>> s = TriangleDecay2(l0=0.0, l1=1.0, period=2)
        >>> [s(t) for t in (2, 4, 6)]
        [1.0, 0.5, 0.25]
    """


@dataclass(frozen=True)
class TriangleExp(Fading, Triangle):
    """`Triangle`, its height multiplied by `decay` at every step.

    Example:
        >>> s = TriangleExp(l0=0.0, l1=1.0, period=2, decay=0.5)
        >>> [s(t) for t in (2, 4, 6)]
        [0.5, 0.125, 0.03125]
    """


@dataclass(frozen=True)
class Sin(Wave):
    """Up from the lower bound to the upper one and down again, as the arch of a sine.

    Args:
        l0, l1: The bounds, in any order.
        period: How many steps one arch takes.

    Example:
        >>> s = Sin(l0=0.0, l1=1.0, period=4)
        >>> [round(s(t), 4) for t in range(1, 6)]
        [0.0, 0.7071, 1.0, 0.7071, 0.0]
    """

    def shape(self, t: int) -> float:
        return math.sin(math.pi * self.phase(t))


@dataclass(frozen=True)
class SinDecay2(Halving, Sin):
    """`Sin`, each arch half as high as the one before.

    Example:
        >>> s = SinDecay2(l0=0.0, l1=1.0, period=2)
        >>> [s(t) for t in (2, 4, 6)]
        [1.0, 0.5, 0.25]
    """


@dataclass(frozen=True)
class SinExp(Fading, Sin):
    """`Sin`, its height multiplied by `decay` at every step.

    Example:
        >>> s = SinExp(l0=0.0, l1=1.0, period=2, decay=0.5)
        >>> [s(t) for t in (2, 4, 6)]
        [0.5, 0.125, 0.03125]
    """


@dataclass(frozen=True)
class CosAnneal(Wave):
    """Down from the upper bound to the lower one as half a cosine.

    Args:
        l0, l1: The bounds, in any order.
        period: How many steps the way down takes.
        restart: Jump back up after each period; the lower bound itself is then never reached.
            Otherwise go back up the way it came down. Default: True.

    Example:
        >>> s = CosAnneal(l0=0.0, l1=1.0, period=4)
        >>> [round(s(t), 4) for t in range(1, 6)]
        [1.0, 0.8536, 0.5, 0.1464, 1.0]
        >>> s = CosAnneal(l0=0.0, l1=1.0, period=4, restart=False)
        >>> [round(s(t), 4) for t in range(1, 7)]
        [1.0, 0.8536, 0.5, 0.1464, 0.0, 0.1464]

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2016).
    """

    restart: Flag = True

    def shape(self, t: int) -> float:
        periods = self.phase(t) if self.restart else (t - 1) / self.period
        return (1 + math.cos(math.pi * periods)) / 2

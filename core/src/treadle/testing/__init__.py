"""Tools for the tests of callbacks."""

from treadle.testing.toy import toy_learner

__all__ = ["toy_learner"]

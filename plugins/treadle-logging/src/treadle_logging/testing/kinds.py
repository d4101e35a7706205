"""Does a backend take the kinds of loggable that it supports, and refuse the others?"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator

import torch
from treadle.testing import Checked, DoesNotApply, Finding

from treadle_logging.backend import LoggerBackend, UnsupportedLoggable
from treadle_logging.loggable import Loggable
from treadle_logging.testing.place import Places, warnings
from treadle_logging.testing.samples import Unknown, changed, samples, tensors

GROUP = ("Step", "Kinds")
FIX_SUPPORTED = (
    "Fix: name the kinds that `log` takes, or refuse the others:\n    supported = (Value, Text)\n"
    '    raise UnsupportedLoggable(f"{type(loggable).__name__} cannot be shown here.")'
)


def supported(places: Places) -> Checked:
    """It names the kinds of loggable that it takes."""
    with places.place() as place:
        backend = place.make()
        kinds = backend.supported
        valid = isinstance(kinds, tuple) and all(
            isinstance(kind, type) and issubclass(kind, Loggable) for kind in kinds
        )
        if not valid or not kinds:
            raise Finding(
                f"`supported` is {kinds!r:.100}, and it is a tuple of kinds of loggable.\n"
                f"Fix: name those that `log` takes:\n    supported = (Value, Text)"
            )
        return Checked(len(kinds), "kinds")


def kinds(places: Places) -> Checked:
    """It takes every form of the kinds that it supports."""
    with places.place() as place:
        backend, taken, found = place.make(), 0, []
        for kind, forms in samples().items():
            for number, (what, loggable) in enumerate(forms.items()):
                if not backend.supports(loggable):
                    continue
                try:
                    log(backend, loggable, what)
                    taken += 1
                except UnsupportedLoggable as error:
                    if kind in backend.supported and number == 0:
                        found.append(
                            f"`supported` has {kind.__name__}, and `log` refuses a plain one ({what}): {error}\n"
                            f"Fix: write it, or take {kind.__name__} out of `supported`."
                        )
                except Exception as error:
                    found.append(
                        f"Logging a loggable that it supports ({what}) fails: {type(error).__name__}: {error}\n"
                        f"Fix: write it, or refuse it with the reason:\n"
                        f'    raise UnsupportedLoggable("what cannot be shown here, and why")'
                    )
        if found:
            raise Finding("\n".join(found))
        return Checked(taken, "loggables")


def refusals(places: Places) -> Checked:
    """What it cannot take is refused by UnsupportedLoggable and reported once."""
    refused = 0
    for loggable in (Unknown(), *(next(iter(forms.values())) for forms in samples().values())):
        with places.place() as place:
            backend, kind = place.make(), type(loggable).__name__
            if backend.supports(loggable):
                if not isinstance(loggable, Unknown):
                    continue
                try:
                    log(backend, loggable, kind)
                except UnsupportedLoggable as error:
                    if not str(error):
                        raise Finding(
                            "UnsupportedLoggable was raised without a message.\nFix: say what cannot be written here, "
                            'and why:\n    raise UnsupportedLoggable("...")'
                        ) from error
                except Exception as error:
                    raise Finding(
                        f"A loggable of a kind that it has not heard of fails with {type(error).__name__}: {error}\n"
                        f"{FIX_SUPPORTED}"
                    ) from error
                else:
                    raise Finding(
                        f"`log` took a loggable of a kind that it cannot know, and raised nothing: whatever it has "
                        f"not heard of is lost silently.\n{FIX_SUPPORTED}"
                    )
            with warnings() as messages:
                for i in (1, 2):
                    backend.receive(loggable, "Unknown", i, GROUP)
            if len(messages) != 1 or kind not in messages[0]:
                raise Finding(
                    f"Of two loggables of a kind that it does not support ({kind}), {len(messages)} were reported by a "
                    f"warning with the kind's name, not the first alone.\n"
                    f"Fix: leave `receive` and `supports` as LoggerBackend has them, and implement `log`."
                )
            refused += 1
    return Checked(refused, "kinds")


def unchanged(places: Places) -> Checked:
    """Logging leaves the random generators, the data and the model as they were."""
    with places.place() as place:
        backend, count = place.make(), 0
        for what, loggable in supported_samples(backend):
            drawn, before = generators(), tensors(loggable)
            try:
                log(backend, loggable, what)
                backend.flush()
                backend.position()
            except Exception as error:  # the others check that
                if isinstance(error, UnsupportedLoggable):
                    continue
                raise DoesNotApply("Something cannot be logged, see `kinds`.") from error
            for name, state in generators().items():
                if str(state) != str(drawn.get(name, state)):
                    raise Finding(
                        f"Logging a {what} draws from {name}, so that a training with this log differs from one "
                        f"without.\nFix: put the generators back:\n"
                        f"    from treadle.authoring import preserved_random_state\n"
                        f"    with preserved_random_state(): ..."
                    )
            if names := changed(loggable, before):
                raise Finding(
                    f"Logging a {what} changes {', '.join(names)}, which others use as well.\n"
                    f"Fix: work on a copy:\n    copy.deepcopy(loggable)"
                )
            count += 1
        return Checked(count, "loggables")


def supported_samples(backend: LoggerBackend) -> Iterator[tuple[str, Loggable]]:
    """Loggables that a backend takes, judged by their kinds."""
    for forms in samples().values():
        for what, loggable in forms.items():
            if backend.supports(loggable):
                yield what, loggable


def log(backend: LoggerBackend, loggable: Loggable, name: str) -> None:
    """Log one, whatever it raises, under a name that every backend takes: odd ones are for the check `names`."""
    with backend.lock, warnings():
        backend.log(loggable, re.sub(r"\W", "_", name), 1, GROUP)


def generators() -> dict[str, object]:
    """The states of the random generators that everybody shares."""
    numpy = sys.modules.get("numpy")
    states: dict[str, object] = {
        "torch's random numbers": torch.get_rng_state().tolist(),
        "Python's `random`": random.getstate(),
    }
    if numpy is not None:
        states["NumPy's `random`"] = [
            str(part.tolist()) if hasattr(part, "tolist") else part for part in numpy.random.get_state()
        ]
    return states

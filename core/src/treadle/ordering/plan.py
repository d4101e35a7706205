"""The plan: what will run at each event of each phase, and why in that order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import groupby
from typing import Any

from treadle.arguments import html_table, not_a_learner
from treadle.arguments.html import escaped
from treadle.callback import Callback
from treadle.events import BackwardBegin, BackwardEnd, Hook, LossBegin, UpdateBegin, UpdateEnd, subclasses
from treadle.operations import Accumulate, Backward, FinalizeGradients, Loss, Update
from treadle.ordering.graph import Ordering
from treadle.ordering.handlers import known_hooks
from treadle.phases import EvaluationPhase, Phase, PredictionPhase, TrainingPhase, ValidationPhase
from treadle.plugins.discovery import distribution_of
from treadle.state.views.learner_view import learner_of

#: What a step of validation or evaluation leaves out, and what one of prediction leaves out.
TRAINING_ONLY = (Accumulate, BackwardBegin, Backward, BackwardEnd, FinalizeGradients, UpdateBegin, Update, UpdateEnd)
LEFT_OUT: dict[Any, tuple[type[Hook], ...]] = {
    ValidationPhase.step: TRAINING_ONLY,
    EvaluationPhase.step: TRAINING_ONLY,
    PredictionPhase.step: (LossBegin, Loss, *TRAINING_ONLY),
}


class Plan:
    """What will run, in which order, for which reasons.

    `print(plan)` shows it as text, a notebook as a table; `mermaid()`, `dot()` and `svg()` draw it; `digest` names it.

    Args:
        phases: The types of phase to show. Default: those of `fit`, and every other that a handler names
            and that can be run.
        observer_errors: Whether errors of observers are reported and end no fit, so that it is shown whose these are.

    Example:
        >>> from treadle import Callback, Read, Write, toy_learner
        >>> class Keeper(Callback):
        ...     state_access = {"cbstate.kept": Write}
        ...     def on_step_end(self, learner): ...
        >>> class Announcer(Callback):
        ...     state_access = {"cbstate.kept": Read}
        ...     def on_step_end(self, learner): ...
        >>> print(toy_learner(Announcer(), Keeper()).plan())
        TrainingPhase
          on_step_end  Keeper > Announcer
        <BLANKLINE>
        ValidationPhase
          on_step_end  Keeper > Announcer
        <BLANKLINE>
        Why in this order
          Keeper before Announcer: Announcer reads `cbstate.kept`, which Keeper writes.
        <BLANKLINE>
        Where they come from
          Announcer: not installed as a plugin
          Keeper: not installed as a plugin
    """

    def __init__(
        self, ordering: Ordering, phases: Iterable[type[Phase]] | None = None, *, observer_errors: bool = False
    ) -> None:
        self._ordering, self._observer_errors, self._shared_only = ordering, observer_errors, False
        self._phases = tuple(dict.fromkeys(named_phases(ordering) if phases is None else phases))

    @property
    def callbacks(self) -> tuple[Callback, ...]:
        """The callbacks, sorted by name."""
        return self._shown_of(self._ordering.callbacks)

    @property
    def everywhere(self) -> Plan:
        """The plan without what takes part on the main process only, which all processes of a run have in common.

        Example:
            >>> from treadle import CustomCallback, StepEnd, toy_learner
            >>> hello = CustomCallback(print, StepEnd)
            >>> hello.main_process_only = True
            >>> toy_learner(hello).plan().everywhere
            No callbacks: nothing runs beside the loop itself.
        """
        plan = Plan(self._ordering, self._phases, observer_errors=self._observer_errors)
        plan._shared_only = True
        return plan

    @property
    def observers(self) -> tuple[Callback, ...]:
        """Those that only watch: with `Learner(..., observer_errors="warn")` their errors end no fit."""
        return tuple(callback for callback in self.callbacks if callback not in self._ordering.no_observers)

    @property
    def rows(self) -> list[tuple[str, str, tuple[Callback, ...]]]:
        """For each phase and hook that is handled: their names, and the callbacks in order.

        What belongs to no phase comes first, under an empty name.
        """
        return [
            (phase.__name__ if phase else "", hook.hook, ordered)
            for phase in (None, *self._phases)
            for hook in known_hooks().values()
            if (phase is None) != hook.phased and dispatched(hook, phase)
            if (ordered := self._shown_of(self._ordering.order(hook, phase)))
        ]

    @property
    def edges(self) -> list[tuple[Callback, Callback, str, tuple[str, ...]]]:
        """The edges: who runs before whom, the reason, and the hooks at which both meet."""
        return sorted(
            (
                (before, after, data["reason"], tuple(hook.hook for hook in data["events"]))
                for before, after, data in self._ordering.graph.edges(data=True)
                if len(self._shown_of((before, after))) == 2
            ),
            key=lambda edge: (edge[0].name, edge[1].name),
        )

    @property
    def digest(self) -> str:
        """16 characters for what runs in which order, for which reasons: the same for equal plans, in every process.

        To be logged with a run, and compared with that of another. Classes, settings and versions are not part of it.

        Example:
            >>> from treadle import CustomCallback, EpochEnd, StepEnd, toy_learner
            >>> hello, goodbye = CustomCallback(print, StepEnd), CustomCallback(print, EpochEnd)
            >>> plan = toy_learner(hello).plan()
            >>> plan.digest == toy_learner(hello).plan().digest, plan.digest == toy_learner(goodbye).plan().digest
            (True, False)
        """
        names = sorted(callback.name for callback in self.callbacks)
        rows = sorted((phase, hook, *self._rings(hook, ordered)) for phase, hook, ordered in self.rows)
        edges = sorted((first.name, then.name, reason, sorted(hooks)) for first, then, reason, hooks in self.edges)
        return blake2b(json.dumps([names, rows, edges]).encode(), digest_size=8).hexdigest()

    @property
    def entries(self) -> dict[str, str]:
        """What the digest is of, in texts: to be sent to another process, and compared with its by `differing_entries`.

        Example:
            >>> from treadle import CustomCallback, StepEnd, TrainingPhase, toy_learner
            >>> toy_learner(CustomCallback(print, StepEnd, TrainingPhase)).plan().entries
            {'callbacks': 'CustomCallback', 'TrainingPhase, on_step_end': 'CustomCallback'}
        """
        found = {"callbacks": ", ".join(callback.name for callback in self.callbacks)}
        for phase, hook, ordered in self.rows:
            found[f"{phase}, {hook}" if phase else hook] = self._shown(hook, ordered)
        for before, after, reason, hooks in self.edges:
            key, text = f"{before.name} before {after.name}", f"{reason} ({', '.join(hooks)})"
            found[key] = f"{found[key]}; {text}" if key in found else text
        return found

    def __str__(self) -> str:
        if not self.callbacks:
            return "No callbacks: nothing runs beside the loop itself."
        rows = self.rows
        width = max((len(hook) for _, hook, _ in rows), default=0)
        lines = []
        for phase, group in groupby(rows, key=lambda row: row[0]):
            lines += ["", phase or "Outside of the phases"]
            lines += [f"  {hook:<{width}}  {self._shown(hook, ordered)}" for _, hook, ordered in group]
        lines += ["", "Why in this order" if self.edges else "No ordering constraints."]
        lines += [f"  {before.name} before {after.name}: {reason}." for before, after, reason, _ in self.edges]
        if self._observer_errors:
            lines += ["", "Whose errors are reported, and end no fit"]
            lines.append(f"  {', '.join(callback.name for callback in self.observers) or 'nobody'}")
            lines += [f"  not {callback.name}: {why}" for callback, why in self._ordering.no_observers.items()]
        lines += ["", "Where they come from"]
        for callback in self.callbacks:
            lines.append(f"  {callback.name}: {distribution_of(callback) or 'not installed as a plugin'}")
        return "\n".join(lines[1:])

    __repr__ = __str__

    def mermaid(self) -> str:
        """The graph of the callbacks as a Mermaid flowchart; an edge is labelled with its reason."""
        ids = self._ids()
        lines = ["flowchart LR"]
        lines += [f'    {ids[callback]}["{_escaped(callback.name)}"]' for callback in self.callbacks]
        for before, after, reason, _ in self.edges:
            lines.append(f'    {ids[before]} -->|"{_escaped(reason)}"| {ids[after]}')
        return "\n".join(lines)

    def dot(self) -> str:
        """The graph of the callbacks in Graphviz' DOT; an edge is labelled with its reason."""
        ids = self._ids()
        lines = ["digraph plan {", "    rankdir=LR;", "    node [shape=box, style=rounded];"]
        lines += [f"    {ids[callback]} [label={_quoted(callback.name)}];" for callback in self.callbacks]
        for before, after, reason, _ in self.edges:
            lines.append(f"    {ids[before]} -> {ids[after]} [label={_quoted(reason)}];")
        return "\n".join([*lines, "}"])

    def svg(self) -> str:
        """The plan as a picture: a line for each event of each phase, its callbacks from left to right."""
        return draw(self)

    def _shown_of(self, callbacks: tuple[Callback, ...]) -> tuple[Callback, ...]:
        """Those among them that this plan shows."""
        return tuple(c for c in callbacks if not c.main_process_only) if self._shared_only else callbacks

    def _rings(self, hook: str, ordered: tuple[Callback, ...]) -> tuple[list[str], list[str]]:
        """The names of those that wrap a hook, and of the others, in their order."""
        around = [callback for callback in ordered if self._ordering.wraps(callback, hook)]
        return [callback.name for callback in around], [c.name for c in ordered if c not in around]

    def _shown(self, hook: str, ordered: tuple[Callback, ...]) -> str:
        """The callbacks of a hook in their order; those that wrap it are rings around the others."""
        around, inside = self._rings(hook, ordered)
        shown = [" > ".join(names) for names in (around, inside) if names]
        if around:
            shown = [f"{where}: {names}" for where, names in zip(("around", "inside"), shown, strict=False)]
        return "; ".join(shown)

    def _ids(self) -> dict[Callback, str]:
        return {callback: f"c{i}" for i, callback in enumerate(self.callbacks)}

    def _repr_html_(self) -> str:
        """The plan as a table, for notebooks."""
        if not self.callbacks:
            return f"<p>{escaped(str(self))}</p>"
        rows = [(phase, hook, self._shown(hook, ordered)) for phase, hook, ordered in self.rows]
        shown = html_table(["phase", "event", "callbacks, in order"], rows, most=len(rows))
        if self.edges:
            reasons = [(before.name, after.name, reason) for before, after, reason, _ in self.edges]
            shown += html_table(["first", "then", "why in this order"], reasons, most=len(reasons))
        if self._observer_errors:
            why = [(callback.name, self._ordering.no_observers.get(callback, "")) for callback in self.callbacks]
            shown += html_table(["callback", "why its errors end a fit"], why, most=len(why))
        return shown


def plan_of(learner: Any) -> Plan:
    """The plan of a learner, or of the learner that a callback has a view of.

    Example:
        >>> from treadle import CustomCallback, FitBegin, toy_learner
        >>> show = CustomCallback(lambda learner: print(plan_of(learner).rows), FitBegin)
        >>> _ = toy_learner(show).fit(1)
        [('', 'on_fit_begin', (<CustomCallback(<lambda>, FitBegin)>,))]
    """
    try:
        plan = learner_of(learner).plan
    except AttributeError:
        raise not_a_learner(learner, "plan_of(learner)") from None
    shown: Plan = plan()
    return shown


def differing_entries(
    first: Mapping[str, str], second: Mapping[str, str], names: tuple[str, str] = ("the first", "the second")
) -> list[str]:
    """A line for each entry in which two plans differ, from what `Plan.entries` gives.

    Args:
        names: What to call the two. Default: "the first" and "the second".

    Example:
        >>> from treadle import CustomCallback, StepEnd, TrainingPhase, toy_learner
        >>> one, other = toy_learner().plan(), toy_learner(CustomCallback(print, StepEnd, TrainingPhase)).plan()
        >>> for line in differing_entries(one.entries, other.entries, ("rank 0", "rank 1")):
        ...     print(line)
        callbacks: rank 0 has none, rank 1 has CustomCallback
        TrainingPhase, on_step_end: rank 0 has none, rank 1 has CustomCallback
    """
    return [
        f"{key}: {names[0]} has {first.get(key) or 'none'}, {names[1]} has {second.get(key) or 'none'}"
        for key in dict.fromkeys((*first, *second))
        if first.get(key, "") != second.get(key, "")
    ]


def dispatched(hook: type[Hook], phase: type[Phase] | None) -> bool:
    """Whether a phase performs a hook, as far as that is known: a step of validation has no backward pass."""
    return phase is None or hook not in LEFT_OUT.get(phase.step, ())


def named_phases(ordering: Ordering) -> Iterator[type[Phase]]:
    """The phases of `fit`, and every other that a handler names and that can be run."""
    named = {phase for by_name in ordering.handlers for handler in by_name.values() for phase in handler.phases}
    yield TrainingPhase
    yield ValidationPhase
    for phase in sorted(subclasses(Phase), key=lambda phase: (phase.__name__, phase.__module__)):
        if phase in named and phase not in (TrainingPhase, ValidationPhase) and phase.step is not Phase.step:
            yield phase


def _escaped(text: str) -> str:
    return escaped(text).replace("`", "")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# The picture: pixels, font and colours.

CHARACTER, LINE, MARGIN, LABEL = 7.3, 34, 20, 150
FONT = "font-family='DejaVu Sans Mono, Menlo, Consolas, monospace' font-size='12'"
BOX, ARROW, INK, FAINT = "#e8f0fe", "#5f6368", "#202124", "#80868b"


def draw(plan: Plan) -> str:
    """The plan as an SVG document: a line for each event of each phase, and the reasons below."""
    parts: list[str] = []
    y, width = float(MARGIN), 0.0

    def write(x: float, text: str, *, colour: str = INK, bold: bool = False) -> None:
        nonlocal width
        weight = " font-weight='bold'" if bold else ""
        parts.append(f"<text x='{x:.1f}' y='{y + 16:.1f}' fill='{colour}' {FONT}{weight}>{escaped(text)}</text>")
        width = max(width, x + len(text) * CHARACTER)

    for phase, rows in groupby(plan.rows, key=lambda row: row[0]):
        write(MARGIN, phase or "Outside of the phases", bold=True)
        y += LINE * 0.8
        for _, hook, ordered in rows:
            write(MARGIN + 12, hook, colour=FAINT)
            x = float(MARGIN + LABEL)
            for i, callback in enumerate(ordered):
                if i:
                    parts.append(
                        f"<path d='M{x:.1f} {y + 12:.1f} h16 m-5 -4 l5 4 l-5 4' fill='none' stroke='{ARROW}'/>"
                    )
                    x += 22
                box = len(callback.name) * CHARACTER + 16
                parts.append(
                    f"<rect x='{x:.1f}' y='{y:.1f}' width='{box:.1f}' height='24' rx='6' "
                    f"fill='{BOX}' stroke='{ARROW}'/>"
                )
                write(x + 8, callback.name)
                x += box + 6
            y += LINE
        y += LINE * 0.3
    if plan.edges:
        write(MARGIN, "Why in this order", bold=True)
        y += LINE * 0.8
    for before, after, reason, _ in plan.edges:
        write(MARGIN + 12, f"{before.name} before {after.name}: {reason.replace('`', '')}")
        y += LINE * 0.65
    width, height = width + MARGIN, y + MARGIN
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}' "
        f"viewBox='0 0 {width:.0f} {height:.0f}'><rect width='100%' height='100%' fill='white'/>{''.join(parts)}</svg>"
    )

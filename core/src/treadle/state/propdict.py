"""`PropDict`: names and values, by attribute or by item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

from treadle.errors import ArgumentTypeError, did_you_mean

T = TypeVar("T")


class PropDict(MutableMapping[str, Any]):
    """A mapping of names to values whose values are attributes as well.

    Args:
        values: A mapping to start from. Default: none.
        **named: More names and values.

    Raises:
        AttributeError: for an attribute that is not there; it says what there is.
        KeyError: likewise for an item.

    Example:
        >>> state = PropDict(xs=1, ys=2)
        >>> state.loss = 0.5
        >>> state["xs"], state.loss, "grads" in state
        (1, 0.5, False)
        >>> state.los
        Traceback (most recent call last):
        ...
        AttributeError: There is no `los` here. Did you mean `loss`?
    """

    def __init__(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        state = self.__dict__  # attribute access stays native, so it costs nothing extra
        if values is not None:
            if not isinstance(values, Mapping):
                raise ArgumentTypeError(
                    f"A PropDict is made of a mapping of names, got {values!r}.\n"
                    f"Fix: write, for example:\n    PropDict(loss=0.5)"
                )
            state.update(values)
            for name in state:
                if not isinstance(name, str):
                    raise ArgumentTypeError(
                        f"The names in a PropDict must be texts, got {name!r}.\n"
                        f"Fix: write, for example:\n    PropDict({{'loss': 0.5}})"
                    )
        if named:
            state.update(named)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(missing(name, self), name=name)

    if TYPE_CHECKING:  # natively, a value is set without a detour through Python

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __delattr__(self, name: str) -> None:
        try:
            del self.__dict__[name]
        except KeyError:
            raise AttributeError(missing(name, self), name=name) from None

    def __getitem__(self, name: str) -> Any:
        try:
            return self.__dict__[name]
        except KeyError:
            raise KeyError(missing(name, self)) from None

    def __setitem__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value

    def __delitem__(self, name: str) -> None:
        try:
            del self.__dict__[name]
        except KeyError:
            raise KeyError(missing(name, self)) from None

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __repr__(self) -> str:
        return f"PropDict({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


def named(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping's values by name; also where one of a `PropDict`'s names is that of a method, such as "values"."""
    if isinstance(mapping, PropDict):
        return vars(mapping)
    try:
        return dict(mapping)
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"A mapping of names to values is needed, got {mapping!r}.\n"
            f"Fix: write, for example:\n    {{'training': loader}}"
        ) from None


def missing(name: str, known: Mapping[str, Any]) -> str:
    """The message for a name that is not there."""
    return f"There is no `{name}` here. {did_you_mean(name, known)}"


def by_name(state: Any) -> dict[str, Any]:
    """One or several models or optimizers of a learner by their names; one alone has the empty name.

    Example:
        >>> from treadle import toy_learner
        >>> by_name(toy_learner().model)
        {'': Linear(in_features=1, out_features=1, bias=False)}
    """
    return dict(named(state)) if isinstance(state, Mapping) else {"": state}


def named_tensors(state: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """All tensors of `learner.params` or `learner.step.grads`, of one or several models, with their names.

    With one model these map the names of parameters to tensors; with several, the names of models to such
    mappings. Here the names are those of the parameters, with several models after the model's.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner()
        >>> [name for name, parameter in named_tensors(learner.params)]
        ['weight']
        >>> nested = {"generator": learner.params, "critic": learner.params}
        >>> [name for name, parameter in named_tensors(nested)]
        ['generator.weight', 'critic.weight']
    """
    for name, value in named(state).items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{part}", tensor) for part, tensor in named_tensors(value))
        else:
            yield name, value


def tensors_of(state: Mapping[str, Any]) -> list[Any]:
    """What `named_tensors` gives, without the names."""
    values = list(named(state).values())
    if values and isinstance(values[0], Mapping):  # of several models, as all of them are
        return [tensor for value in values for tensor in tensors_of(value)]
    return values


def by_unique_name(items: Iterable[T]) -> dict[str, T]:
    """Callbacks, or whatever has a `name`, by their names; those that share one get a number, in the order given.

    Example:
        >>> from treadle import CustomCallback, StepEnd
        >>> list(by_unique_name([CustomCallback(print, StepEnd), CustomCallback(repr, StepEnd)]))
        ['CustomCallback', 'CustomCallback #2']
    """
    if not isinstance(items, Iterable):
        raise ArgumentTypeError(
            f"A list of things with names is needed, got {items!r}.\n"
            f"Fix: pass, for example, callbacks:\n    by_unique_name(learner.callbacks)"
        )
    found: dict[str, T] = {}
    for item in items:
        name = getattr(item, "name", None)
        if not isinstance(name, str):
            raise ArgumentTypeError(
                f"What is numbered by its name needs one, got {item!r}.\n"
                f"Fix: pass, for example, callbacks:\n    by_unique_name(learner.callbacks)"
            )
        key, count = name, 1
        while key in found:
            count += 1
            key = f"{name} #{count}"
        found[key] = item
    return found

"""Objects as values, and back: what one process hands to the next is made of dataclasses with the fields of an object.

A field of a state has the name of the attribute that it keeps, without the underscore that the attribute may have.
"""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

State = TypeVar("State", bound="DataclassInstance")

_names: dict[tuple[type, type], list[tuple[str, str]]] = {}  # fields and attributes, since all calls wait meanwhile


def keep(state: type[State], source: object, /, **others: object) -> State:
    """A ``state`` of the attributes of ``source``; fields in ``others`` have their values from there."""
    for field, attribute in _pairs(state, source, others):
        others[field] = getattr(source, attribute)
    return state(**others)


def put_back(state: "DataclassInstance", target: Any, /, **others: object) -> None:
    """Give ``target`` the attributes that ``state`` kept; fields in ``others`` become that instead."""
    for field, attribute in _pairs(type(state), target, others):
        setattr(target, attribute, getattr(state, field))
    for field, value in others.items():
        setattr(target, _attribute(target, field), value)


def _pairs(state: type, of: object, others: dict[str, object]) -> list[tuple[str, str]]:
    """The fields of ``state`` that are not in ``others``, which are always the same ones, with their attributes."""
    pairs = _names.get((state, type(of)))
    if pairs is None:
        names = [field.name for field in fields(state) if field.name not in others]
        pairs = _names[state, type(of)] = [(name, _attribute(of, name)) for name in names]
    return pairs


def _attribute(of: object, name: str) -> str:
    return name if hasattr(of, name) else f"_{name}"

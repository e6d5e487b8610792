"""Entries: several callables that are exported together, and which output of one is an input of another or of itself.

A decoder has two, ``prefill(tokens) -> logits, cache`` and ``decode(token, cache) -> logits, cache``. An output that an
argument takes later has the name of that input and ``.next``: ``cache.k.next`` of both is what ``cache.k`` is next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jax2onnx._accepted import nearest, shown
from jax2onnx._compat import is_symbolic
from jax2onnx.errors import InputSpecError
from jax2onnx.frontend.specs import InputSpec, described

__all__ = ["Entry", "Link", "Ports", "find_links", "read_entries"]

_FORM = "{'prefill': (fn, inputs), 'decode': (fn, inputs, {'output_names': [...]})}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One of several callables that are exported together.

    Attributes:
        fn: the callable.
        inputs: its specs.
        options: options of its own.
    """

    fn: Any
    inputs: Any
    options: Mapping[str, Any] = field(default_factory=dict)


def read_entries(given: Mapping[str, Any]) -> dict[str, Entry]:
    """Return the entries that the user gives.

    Raises:
        InputSpecError: they are not of an accepted form.
    """
    if not given:
        raise InputSpecError(f"fn: there is no entry; write {_FORM}")
    entries = {}
    for name, value in given.items():
        if isinstance(value, Entry):
            entries[name] = value
            continue
        if not isinstance(value, tuple) or len(value) not in {2, 3}:
            raise InputSpecError(f"fn: the entry {name!r} is {shown(value)}; write {_FORM}")
        fn, inputs, *rest = value
        options = rest[0] if rest else {}
        if not isinstance(options, Mapping) or not all(isinstance(option, str) for option in options):
            raise InputSpecError(f"fn: the options of the entry {name!r} are {shown(options)}; write a dict")
        entries[name] = Entry(fn, inputs, options)
    return entries


@dataclass(frozen=True, slots=True)
class Ports:
    """The inputs and outputs of an entry.

    Attributes:
        inputs: the flattened inputs.
        paths: the path of each flattened output in the result.
        avals: the abstract value of each.
    """

    inputs: Sequence[InputSpec]
    paths: Sequence[str]
    avals: Sequence[Any]

    def arguments(self) -> dict[str, dict[str, InputSpec]]:
        """Return the inputs by argument, and below that by their path in it."""
        found: dict[str, dict[str, InputSpec]] = {}
        for spec in self.inputs:
            found.setdefault(spec.argument, {})[spec.below] = spec
        return found

    def results(self) -> dict[str, dict[str, int]]:
        """Return the indices of the outputs by each part of the result that they are in, and by their path in that."""
        found: dict[str, dict[str, int]] = {}
        for index, path in enumerate(self.paths):
            steps = path.split(".") if path else []
            for count in range(len(steps) + 1):
                part, below = ".".join(steps[:count]), ".".join(steps[count:])
                found.setdefault(part, {})[below] = index
        return found


@dataclass(frozen=True, slots=True)
class Link:
    """An output of an entry that is an input later.

    Attributes:
        output: the index of the output among the entry's.
        argument: the argument that the input is a part of.
        below: its path in that.
        name: the name of the input.
    """

    output: int
    argument: str
    below: str
    name: str


def find_links(entries: Mapping[str, Ports], carry: Mapping[str, str] | None = None) -> dict[str, list[Link]]:
    """Return which outputs of each entry an argument of any of them takes later.

    A part of the result is taken for an argument if it is a pytree of several arrays with the same paths, dtypes and
    sizes (symbolic ones may differ), or if it has the name of the argument and is like it.

    Args:
        entries: the entries.
        carry: argument -> the part of the result that it takes, by its path (``1``, ``1.cache``, ``cache``); an empty
            mapping: no argument takes any.

    Raises:
        InputSpecError: it cannot be decided, or what ``carry`` says is not so.
    """
    arguments: dict[str, list[dict[str, InputSpec]]] = {}
    for ports in entries.values():
        for name, leaves in ports.arguments().items():
            arguments.setdefault(name, []).append(leaves)
    parts = {name: ports.results() for name, ports in entries.items()}
    if carry is not None:
        _check_carry(carry, arguments, parts)
    links: dict[str, list[Link]] = {}
    for name, ports in entries.items():
        taken: dict[str, str] = {}
        links[name] = []
        for argument, versions in arguments.items():
            part = _part_for(argument, versions, ports, carry, name)
            if part is None:
                continue
            if part in taken:
                raise _undecided(name, argument, [part], f"{taken[part]!r} is like it too")
            taken[part] = argument
            below = versions[0]
            links[name] += [Link(i, argument, path, below[path].name) for path, i in parts[name][part].items()]
    return links


def _part_for(
    argument: str,
    versions: Sequence[Mapping[str, InputSpec]],
    ports: Ports,
    carry: Mapping[str, str] | None,
    entry: str,
) -> str | None:
    """Return the part of an entry's result that an argument takes, None if there is none."""
    parts = ports.results()
    alike = [part for part, leaves in parts.items() if any(_is_like(leaves, ports, specs) for specs in versions)]
    if carry is not None:
        wanted = carry.get(argument)
        if wanted is None or wanted not in parts:
            return None
        if wanted not in alike:
            has, takes = _shown_part(parts[wanted], ports), _shown_argument(versions[0])
            raise InputSpecError(
                f"carry: {wanted!r} of the result of {entry!r} is {has}, and the argument {argument!r} takes {takes}; "
                "name a result of its shape and dtype"
            )
        return wanted
    named = [part for part in alike if part.rpartition(".")[2] == argument]
    if named:
        alike = named
    elif len(versions[0]) == 1:
        return None
    if len(alike) > 1:
        raise _undecided(entry, argument, alike, "each is like it")
    return alike[0] if alike else None


def _undecided(entry: str, argument: str, parts: Sequence[str], why: str) -> InputSpecError:
    listed = ", ".join(map(repr, parts))
    return InputSpecError(
        f"fn: which part of the result of {entry!r} the argument {argument!r} takes is not clear: {listed} ({why}); "
        f"pass carry={{{argument!r}: {parts[0]!r}}} to say it, or carry={{}} if it takes none"
    )


def _check_carry(
    carry: Mapping[str, str], arguments: Mapping[str, object], parts: Mapping[str, Mapping[str, object]]
) -> None:
    for argument, part in carry.items():
        if argument not in arguments:
            raise InputSpecError(f"carry: there is no argument {argument!r}; {nearest(argument, arguments)}")
        if not any(part in known for known in parts.values()):
            known = sorted({path for of_entry in parts.values() for path in of_entry})
            raise InputSpecError(f"carry: no result has the part {part!r}; {nearest(str(part), known)}")


def _is_like(leaves: Mapping[str, int], ports: Ports, specs: Mapping[str, InputSpec]) -> bool:
    if leaves.keys() != specs.keys():
        return False
    return all(_may_be(ports.avals[index], specs[below].aval) for below, index in leaves.items())


def _may_be(result: Any, argument: Any) -> bool:
    """Return whether an array is one that an argument takes, at some sizes of the symbolic dims."""
    if result.dtype != argument.dtype or len(result.shape) != len(argument.shape):
        return False
    pairs = zip(result.shape, argument.shape, strict=True)
    return all(one == other or is_symbolic(one) or is_symbolic(other) for one, other in pairs)


def _shown_part(leaves: Mapping[str, int], ports: Ports) -> str:
    return ", ".join(f"{below or 'array'}={described(ports.avals[index])}" for below, index in leaves.items())


def _shown_argument(specs: Mapping[str, InputSpec]) -> str:
    return ", ".join(f"{below or 'array'}={described(spec.aval)}" for below, spec in specs.items())

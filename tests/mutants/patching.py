"""Patches of modules, applied at import; no file is written, not even a compiled one.

A module that is imported already can't be patched any more, so a mutant has a process of its own.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass
from importlib.machinery import PathFinder, SourceFileLoader
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutant of one module.

    Attributes:
        name: its name, such as ``retry-limit-off-by-one``.
        module: the dotted name of the module.
        old: text of the module, which is there exactly once.
        new: its replacement.
        about: what it breaks, as a sentence.
        where: the scenarios to search; all by default.
        rare: whether few runs show it, so that the search takes three times as long.
    """

    name: str
    module: str
    old: str
    new: str
    about: str
    where: tuple[str, ...] = ()
    rare: bool = False

    def apply(self, source: str) -> str:
        """Return a module's source with the patch."""
        count = source.count(self.old)
        if count != 1:
            raise DoesNotApply(
                f"Mutant {self.name!r} does not apply to {self.module}: the text that it replaces is there "
                f"{count} times, and should be once; adapt it to the module as it is now"
            )
        return source.replace(self.old, self.new)


class Tested(NamedTuple):
    """A mutant, and the tests that find it, as arguments of pytest."""

    mutant: Mutant
    tests: tuple[str, ...]


def tested(name: str, module: str, old: str, new: str, about: str, *tests: str) -> Tested:
    """Return a mutant of these parts with its tests."""
    return Tested(Mutant(name, module, old, new, about), tests)


class DoesNotApply(Exception):
    """A mutant's module is imported already, or has no such text."""


def install(mutants: Iterable[Mutant]) -> None:
    """Patch modules that will be imported by this process from now on."""
    patches: defaultdict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        if mutant.module in sys.modules:
            raise DoesNotApply(
                f"Mutant {mutant.name!r} comes too late: {mutant.module} is imported already; install it "
                "first"
            )
        patches[mutant.module].append(mutant)
    sys.meta_path.insert(0, _Finder(patches))


def is_installed(mutant: Mutant) -> bool:
    """Return whether this process has imported the module with the mutant in it."""
    module = sys.modules.get(mutant.module)
    return module is not None and isinstance(module.__loader__, _Loader)


class _Finder:
    """Finds the modules that have patches as usual, and gives them another loader."""

    def __init__(self, patches: dict[str, list[Mutant]]) -> None:
        self._patches = patches

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a patched module's spec, and None for every other."""
        mutants = self._patches.get(fullname)
        if mutants is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            raise DoesNotApply(f"Mutant {mutants[0].name!r}: there is no module {fullname}")
        spec.loader = _Loader(fullname, spec.origin, mutants)
        return spec


class _Loader(SourceFileLoader):
    """Loads one module from its source, patched."""

    def __init__(self, fullname: str, path: str, mutants: list[Mutant]) -> None:
        super().__init__(fullname, path)
        self._mutants = mutants

    def get_source(self, fullname: str) -> str:
        """Return the patched text."""
        source = super().get_source(fullname) or ""
        for mutant in self._mutants:
            source = mutant.apply(source)
        return source

    def get_code(self, fullname: str) -> CodeType:
        """Compile the patched text; the compiled files of the original text are not touched."""
        return compile(self.get_source(fullname), self.get_filename(fullname), "exec", dont_inherit=True)

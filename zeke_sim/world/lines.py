"""Points in an application's code at which a simulated process can be killed.

The source of a function is compiled again with a call before each statement, and after an ``await`` that
no statement follows; the new code replaces the old one in the function. A call does nothing unless a handler
of a running world executes it. Points depend on the source alone, so they are the same on every Python.

A trace function cannot do this: one that does not return disables tracing.
"""

from __future__ import annotations

import ast
import gc
import inspect
import sys
import tokenize
import warnings
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from zeke_sim.history.events import Line
from zeke_sim.loop.event_loop import HANDLER

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

T = TypeVar("T")

TEXT_MAX: Final = 60
"""Maximum length of a statement's text in reports."""

_BEFORE: Final = "@zeke_line"
_AFTER: Final = "@zeke_after"
_LOADED: Final = "@zeke_loaded"
"""Names in rewritten modules, of the two functions and of the module's spec, which is another one after a
reload; they cannot collide with names of the application."""

_OURS: Final = ("zeke_queue", "zeke_sim")
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_PLAIN: Final = (*_FUNCTIONS, ast.ClassDef, ast.Global, ast.Nonlocal, ast.Pass, ast.Try, ast.TryStar)
"""Statements without a point of their own: nothing happens between them and the next point."""

_ENDING: Final = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_GUARDING: Final = (ast.With, ast.AsyncWith, ast.Try, ast.TryStar)
"""Statements that do something after their block."""


_TESTS: Final = ("test_", "conftest")
"""Prefixes of the names of modules that belong to tests."""


LINES: Final[list[Line]] = []
"""All points by number."""

DEPTH: Final = 20_000
"""The recursion limit during compilation: each ``elif`` and each ``+`` of a sum nests the next one."""

_rewritten: Final[dict[str, tuple[str, dict[tuple[str, int], CodeType]]]] = {}
"""The source and the new code by file; the code by qualified name and first line."""

_paths: Final[dict[str, str]] = {}
"""The paths of rewritten files by the names that lines have."""

_of_function: Final[dict[tuple[str, str], list[int]]] = {}
"""The points of each function by file and qualified name."""


def insert(modules: Sequence[str]) -> frozenset[int]:
    """Insert points into the functions of modules, except those that have them since they were loaded.

    Points stay until the process ends.

    Returns:
        All points in these modules.
    """
    codes: dict[str, dict[tuple[str, int], CodeType]] = {}
    for name in modules:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if module is None or file is None or not file.endswith(".py"):
            continue
        loaded, space = getattr(module, "__spec__", None), vars(module)
        if space.get(_LOADED, space) is loaded:
            continue
        codes[file] = _compiled(module, file)
        space |= {_BEFORE: _before, _AFTER: _after, _LOADED: loaded}
    for one in gc.get_objects() if codes else ():
        if type(one) is FunctionType and one.__code__.co_filename in codes:
            _replace(one, codes[one.__code__.co_filename])
    files = {getattr(sys.modules.get(name), "__file__", None) for name in modules}
    return frozenset(line for (file, _), numbers in _of_function.items() if file in files for line in numbers)


def _replace(function: FunctionType, codes: Mapping[tuple[str, int], CodeType]) -> None:
    old = function.__code__
    new = codes.get((old.co_qualname, old.co_firstlineno))
    # One that has points may be that of the module before a reload, and of another source.
    fits = new is not None and new.co_freevars == old.co_freevars and _BEFORE not in old.co_names
    if new is not None and fits and _BEFORE in function.__globals__:
        kept = old.co_flags & inspect.CO_ITERABLE_COROUTINE  # set by types.coroutine
        function.__code__ = new.replace(co_flags=new.co_flags | kept)


@cache
def modules_of(names: tuple[str, ...]) -> list[str]:
    """Return modules and those of the same top-level package that they import, without the queue's own.

    What they import later, in a function, is not among them, so that all runs have the same points.
    """
    found: dict[str, None] = {}
    left = [name for name in names if name in sys.modules]
    while left:
        name = left.pop(0)
        root = _root(name)
        if name in found or root in _OURS:
            continue
        found[name] = None
        left += [other for other in _imported_by(name) if _root(other) == root]
    return list(found)


def left_out(names: tuple[str, ...], folder: Path) -> dict[str, str]:
    """Return the modules below a folder, by those that import them, that ``modules_of`` leaves out.

    Installed packages are left alone, and so are modules that tests import.
    """
    found = modules_of(names)
    return {
        other: name
        for name in found
        if not name.rpartition(".")[2].startswith(_TESTS)
        for other in _imported_by(name)
        if other not in found
        and _root(other) not in _OURS
        and (file := getattr(sys.modules[other], "__file__", None)) is not None
        and Path(file).is_relative_to(folder)
        and "site-packages" not in file
    }


def _root(name: str) -> str:
    return name.partition(".")[0]


def _imported_by(name: str) -> Iterator[str]:
    """Return the modules that a module has, and those of its classes and functions."""
    for value in list(vars(sys.modules[name]).values()):
        # Of other objects, such as proxies, an attribute may raise.
        kind = cast("type[Any]", type(value))
        other = value.__name__ if kind is ModuleType else None
        if issubclass(kind, type | FunctionType):
            other = value.__module__
        if isinstance(other, str) and other in sys.modules:
            yield other


def count_in(function: Callable[..., Any]) -> int:
    """Return the number of points in a function itself, or in the one that it wraps, at least 1."""
    code: CodeType | None = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return 1
    return max(1, len(_of_function.get((code.co_filename, code.co_qualname), ())))


def lines_of_function(file: str, owner: str) -> list[Line]:
    """Return the points of a function, by the file and the qualified name that its lines have."""
    return [line for line in LINES if (line.file, line.owner) == (file, owner)]


def file_of(shown: str) -> str | None:
    """Return the path of a file by its name in lines, or None if it has no points."""
    return _paths.get(shown)


def lines_of_class(kind: type) -> list[int]:
    """Return the points in the methods of a class that is defined in rewritten code, and of its bases."""
    found: list[int] = []
    for base in kind.__mro__:
        file = getattr(sys.modules.get(base.__module__), "__file__", None)
        if file in _rewritten:
            found += [
                line
                for (where, owner), lines in _of_function.items()
                if where == file and owner.startswith(f"{base.__qualname__}.")
                for line in lines
            ]
    return found


def _before(line: int) -> None:
    """Tell the running handler's watch that a point is reached."""
    watch = HANDLER.get()
    if watch is not None:
        watch.pass_line(line)


def _after(value: T, line: int) -> T:
    """Tell the watch that a point after an ``await`` is reached, and return the awaited value."""
    watch = HANDLER.get()
    if watch is not None:
        watch.pass_line(line)
    return value


# Compilation.


def _compiled(module: ModuleType, file: str) -> dict[tuple[str, int], CodeType]:
    """Return the code of a module's functions with points, nothing if there is no source."""
    try:
        source = _source(module, file)
        known, codes = _rewritten.get(file, ("", {}))
        if source != known:
            with _deep():
                codes = _compiled_source(module, file, source)
    except (OSError, SyntaxError, UnicodeDecodeError, RecursionError):
        source, codes = "", {}
    _rewritten[file] = source, codes
    return codes


def _compiled_source(module: ModuleType, file: str, source: str) -> dict[tuple[str, int], CodeType]:
    tree = ast.parse(source, file)
    shown = _relative(module, file)
    _paths[shown] = file
    inserter = _Inserter(shown, source.split("\n"))
    tree = ast.fix_missing_locations(inserter.visit(tree))
    if "@pytest_ar" in vars(module):
        # Pytest did this when it imported the module, and would not explain assertions otherwise.
        from _pytest.assertion.rewrite import rewrite_asserts  # noqa: PLC0415 - only below pytest

        rewrite_asserts(tree, source.encode(), file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reported when the module was imported
        code = compile(tree, file, "exec", dont_inherit=True)
    for place in [place for place in _of_function if place[0] == file]:
        del _of_function[place]
    _of_function.update({(file, owner): lines for owner, lines in inserter.made.items()})
    # Lambdas have no points, and several in one line have the same name and line.
    return {(one.co_qualname, one.co_firstlineno): one for one in _nested(code) if one.co_name != "<lambda>"}


@contextmanager
def _deep() -> Generator[None]:
    """Raise the recursion limit, up to what the compiler of Python allows."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, DEPTH))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _source(module: ModuleType, file: str) -> str:
    """Return a module's source from its loader, which may have changed the text of the file."""
    get_source = getattr(module.__loader__, "get_source", None)
    with suppress(ImportError):  # of a module that runs as __main__
        if get_source is not None and (source := get_source(module.__name__)) is not None:
            return source
    with tokenize.open(file) as opened:
        return opened.read()


def _relative(module: ModuleType, file: str) -> str:
    """Return a module's path from the folder that it is imported from, the same on every machine."""
    path = Path(file)
    if module.__name__ == "__main__":
        return path.name
    depth = module.__name__.count(".") + 1 + (path.stem == "__init__")
    return "/".join(path.parts[-depth:])


def _nested(code: CodeType) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _nested(one)


class _Inserter(ast.NodeTransformer):
    """Inserts calls into the bodies of functions.

    Attributes:
        made: the inserted points by the qualified name of their function.
    """

    def __init__(self, shown: str, source: list[str]) -> None:
        self._shown = shown
        self._source = source
        self._names: list[str] = []
        self._in_function = False
        self._guarded = 0
        self._followed: set[ast.expr] = set()
        self.made: dict[str, list[int]] = {}

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Visit the methods of a class."""
        outside, self._in_function = self._in_function, False
        self._names.append(node.name)
        self.generic_visit(node)
        self._names.pop()
        self._in_function = outside
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Insert points into a function, but not into a finalizer, whose exceptions Python only prints."""
        return node if node.name == "__del__" else self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """Insert points into an async function."""
        return self._visit_function(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        before = self._in_function, self._guarded
        self._in_function, self._guarded = True, 0
        self._names += [node.name, "<locals>"]
        node.body = self._block(node.body, of=node)
        del self._names[-2:]
        self._in_function, self._guarded = before
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """Skip a lambda, since it has no statements."""
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """Skip the parts of an assertion, since pytest would show the calls in its explanation."""
        return node

    def visit_Await(self, node: ast.Await) -> ast.AST:
        """Insert a point after an ``await``, unless one follows anyway."""
        followed = node in self._followed
        super().generic_visit(node)
        return node if followed else self._call(_AFTER, [node], node, after=True)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Insert points into each block of a node."""
        guards = isinstance(node, _GUARDING)
        self._guarded += guards
        for name, value in ast.iter_fields(node):
            parts = cast("list[Any]", value) if isinstance(value, list) else []
            if parts and isinstance(parts[0], ast.stmt):
                of = node if name == "body" else None
                setattr(node, name, self._block(parts, of=of) if self._in_function else self._plain(parts))
            elif parts:
                setattr(node, name, self._plain(parts))
            elif isinstance(value, ast.AST):
                setattr(node, name, self.visit(value))
        self._guarded -= guards
        return node

    def _plain(self, parts: list[Any]) -> list[Any]:
        return [self.visit(one) if isinstance(one, ast.AST) else one for one in parts]

    def _block(self, body: list[ast.stmt], *, of: ast.AST | None) -> list[ast.stmt]:
        """Insert points into a block.

        Args:
            of: the node whose body it is; None for other blocks, such as ``else``.
        """
        made: list[ast.stmt] = []
        last = body[-1]
        # Code outside of this function follows, such as ``__exit__``.
        exits = isinstance(of, _GUARDING) and not isinstance(last, (*_ENDING, *_PLAIN))
        for statement, following in zip(body, [*body[1:], None], strict=True):
            value = getattr(statement, "value", None)
            if isinstance(value, ast.Await):
                returns = following is None and isinstance(of, _FUNCTIONS)
                returns = (returns or isinstance(statement, ast.Return)) and not self._guarded
                if returns or (exits if following is None else not isinstance(following, _PLAIN)):
                    self._followed.add(value)
            docstring = isinstance(statement, ast.Expr) and isinstance(value, ast.Constant)
            if not docstring and not isinstance(statement, _PLAIN):
                made.append(ast.Expr(self._call(_BEFORE, [], statement)))
            made.append(self.visit(statement))
        if exits:
            made.append(ast.Expr(self._call(_BEFORE, [], last, after=True)))
        return made

    def _call(
        self, name: str, values: list[ast.expr], at: ast.stmt | ast.expr, *, after: bool = False
    ) -> Any:
        """Return a call that marks a point, at the location of a node."""
        text = self._source[at.lineno - 1].strip()
        text = text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"
        owner = ".".join(self._names[:-1])
        number = len(LINES)
        LINES.append(Line(self._shown, owner, at.lineno, text, after))
        self.made.setdefault(owner, []).append(number)
        called = ast.Call(ast.Name(name, ast.Load()), [*values, ast.Constant(number)], [])
        for node in ast.walk(called):
            if not hasattr(node, "lineno"):
                ast.copy_location(node, at)
        return called

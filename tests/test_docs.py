"""The pages say what the code does, where both name the same things."""

from __future__ import annotations

import ast
import re

from tests.tidy import ROOT
from zeke_queue import Catalog
from zeke_queue.config import Settings


def _variables(page: str) -> dict[str, str]:
    """Each documented variable with its default, as the page writes it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*?) +\|", text, re.MULTILINE))


def _defaults() -> dict[str, str]:
    """Each setting's variable with its default, as a page would write it."""
    written: dict[str, str] = {}
    for name, setting in Settings.model_fields.items():
        value = setting.default
        text = f"{value:g}" if isinstance(value, float) and value < 1e5 else str(value).removesuffix(".0")
        written[name.upper()] = f"`{str(value).lower() if isinstance(value, bool) else text}`"
    return {**written, "DATABASE_PRIMARY_URL": "required", "OPENAI_API_KEY": "not set"}


def test_every_setting_is_documented_with_its_default() -> None:
    assert _variables("docs/settings.md") == _defaults()


def test_the_readme_names_settings_that_exist_with_their_defaults() -> None:
    named = _variables("README.md")
    assert named
    assert named == {name: default for name, default in _defaults().items() if name in named}


def test_the_pages_name_no_other_variable_of_ours() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        named = set(
            re.findall(r"\b((?:JOBS|LOG|DATABASE|OPENAI)_[A-Z_]+)\b", page.read_text(encoding="utf-8"))
        )
        assert named <= _defaults().keys(), page.name


def test_the_lease_in_words_is_the_lease_in_code() -> None:
    lease = f"{Settings.model_fields['jobs_lease'].default:g} seconds"
    for page in ("docs/glossary.md", "docs/troubleshooting.md"):
        assert lease in (ROOT / page).read_text(encoding="utf-8"), page


def test_the_readme_s_example_defines_its_task() -> None:
    block = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    # All but the last statement, which needs a database.
    definitions = ast.Module(ast.parse(block).body[:-1], type_ignores=[])
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(definitions, "README.md", "exec", dont_inherit=True), names)  # noqa: S102 - our own page
    catalog = names["catalog"]
    assert isinstance(catalog, Catalog)
    assert list(catalog.tasks) == ["my-task"]


def test_the_queries_for_operators_are_those_that_they_know() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    (queries,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert [
        line for line in queries.split("\n") if line.startswith(("SELECT", "ORDER", "WHERE", "LIMIT"))
    ] == [
        "SELECT * FROM pgboss.job",
        "ORDER BY createdon DESC",
        "LIMIT 20;",
        "SELECT * FROM pgboss.job",
        "WHERE state = 'failed'",
        "ORDER BY createdon DESC;",
        "SELECT * FROM pgboss.archive",
        "ORDER BY archivedon DESC",
        "LIMIT 100;",
    ]

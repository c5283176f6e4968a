"""The parts of README.md that are derived from the code: `python -m tests.helpers.readme` writes them anew."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from gateway.config import SECTIONS
from tests.helpers.readme_protocol import protocol_tables

HOUSE: Final = ("protocol", "actors", "gateway")
ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"


def settings_table() -> str:
    """Every setting with its default and its meaning."""
    rows = ["| setting | default | |", "|---|---|---|"]
    for section, known in SECTIONS.items():
        meanings = _meanings(ROOT / "gateway/config.py", known.__name__)
        for field in msgspec.structs.fields(known):
            default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
            shown = "on" if default is True else "off" if default is False else default or ""
            rows.append(f"| `{section}.{field.name}` | {shown} | {meanings[field.name]} |")
    return "\n".join(rows)


def house_map() -> str:
    """Every module with the first sentence of its docstring, by package."""
    return "\n\n".join(_package_map(package) for house in HOUSE for package in _packages(ROOT / house))


def _packages(package: Path) -> Iterator[Path]:
    yield package
    for inner in sorted(package.glob("*/__init__.py")):
        yield from _packages(inner.parent)


def _package_map(package: Path) -> str:
    name = package.relative_to(ROOT).as_posix()
    rooms = "".join(
        f"| [`{path.name}`]({name}/{path.name}) | {_says(path)} |\n"
        for path in sorted(package.glob("*.py"))
        if path.name != "__init__.py"
    )
    purpose = re.sub("`(.+?)`", r"<code>\1</code>", _says(package / "__init__.py"))  # no Markdown in there
    summary = f"<summary><b>{name}/</b>: {purpose}</summary>"
    return f"<details>{summary}\n\n| room | holds |\n|---|---|\n{rooms}\n</details>"


def _says(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert docstring, f"{module} has no docstring"
    return docstring.splitlines()[0]


GENERATED: Final = {"settings": settings_table, "map": house_map, "protocol": protocol_tables}


def regenerated(text: str) -> str:
    """The README with its derived parts as the code has them now."""
    for name, make in GENERATED.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}{make()}\n{end}{tail}"
    return text


def _meanings(path: Path, class_name: str) -> dict[str, str]:
    """The docstrings below a class's fields, by field."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    (found,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    return dict(_documented(found.body))


def _documented(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            assert isinstance(following, ast.Expr), f"{statement.target.id} has no docstring"
            assert isinstance(following.value, ast.Constant), f"{statement.target.id} has no docstring"
            yield statement.target.id, str(following.value.value)


if __name__ == "__main__":
    README.write_text(regenerated(README.read_text(encoding="utf-8")), encoding="utf-8")

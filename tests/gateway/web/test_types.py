"""The client as TypeScript sees it: a frontend that uses all of it compiles and runs, and the types cannot drift."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from gateway.reference.typescript import typescript
from tests.helpers.gateways import running_gateway
from tests.helpers.node import run_node
from tests.helpers.packages import package

HERE: Final = Path(__file__).parent
WEB: Final = Path(__file__).parents[3] / "gateway" / "web"
MODULES: Final = ("client.js", "hatch.js", "view.js")
TARGET: Final = ("--noEmit", "--allowJs", "--target", "es2022", "--module", "nodenext")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder as a frontend has it: the client, and its types beside it; in `real/` the client without them."""
    (tmp_path / "real").mkdir()
    for module in MODULES:
        shutil.copy(WEB / module, tmp_path)
        shutil.copy(WEB / module, tmp_path / "real")
    for source in HERE.glob("*.ts"):
        shutil.copy(source, tmp_path)
    (tmp_path / "client.d.ts").write_text(typescript(), encoding="utf-8")
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    return tmp_path


async def test_a_frontend_compiles_and_its_mistakes_do_not(project: Path) -> None:
    await _compile("--strict", "--verbatimModuleSyntax", "--erasableSyntaxOnly", project / "sample.ts")


async def test_the_same_frontend_runs(project: Path) -> None:
    async with running_gateway(project / "data", sim__tokens_per_s=4000, sim__step_s=0.01, sim__steps=2) as gateway:
        said = await run_node(project / "sample.ts", environ={"GATEWAY": gateway.url})
    assert said.split("\n") == [
        "open",
        "sim",
        "image/png",
        "done",
        "2 steps",
        "3 traits",
        "true 100 null  done",
        "true",
        "true",
        "true",
        "sample",
        "the same",
        "a shy dragon",
        "cancelled",
        "true",
        "enough",
        "closed",
        "HatcheryError",
        "closed",
        "true",
        "500",
        "",
    ]


async def test_what_is_declared_is_what_there_is(project: Path) -> None:
    await _compile("--strict", project / "conforms.ts")
    await _compile("--checkJs", "--strict", "false", project / "client.js")


@pytest.mark.parametrize(
    ("module", "is_", "was"),
    [
        ("client.js", "look(session,", "watch(session,"),
        ("client.js", "export { isFinal as isOver, HatcheryError }", "export { HatcheryError }"),
        ("hatch.js", "unwatch() {}\n  leave() {", "unwatch() {"),
        ("view.js", "portion = 0;", "percent = 0;"),
    ],
)
async def test_a_name_that_changes_is_noticed(project: Path, module: str, is_: str, was: str) -> None:
    _change(project / "real" / module, was, is_)
    with pytest.raises(AssertionError, match="does not satisfy the constraint 'never'"):
        await _compile("--strict", project / "conforms.ts")


async def test_an_option_that_changes_is_noticed(project: Path) -> None:
    _change(project / "client.js", "graceS, ...wishes", "grace, ...wishes")
    with pytest.raises(AssertionError, match="Property 'grace' does not exist on type 'HatchOptions'"):
        await _compile("--checkJs", "--strict", "false", project / "client.js")


async def _compile(*arguments: str | Path) -> None:
    """Raises AssertionError with the compiler's complaints."""
    await run_node(package("typescript") / "bin" / "tsc", *TARGET, *arguments)


def _change(path: Path, was: str, becomes: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert was in text
    path.write_text(text.replace(was, becomes, 1), encoding="utf-8")

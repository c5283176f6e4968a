"""The process is killed in mid-write: what it had announced as durable is there, and nothing is there by half."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from actors.eventlog import Claim, Existing
from actors.store.files import check_store
from actors.store.store import ARTIFACTS, DATABASE
from protocol.events import End
from tests.actors.store.stores import hatched, opened
from tests.helpers.fakes import record_of

REPOSITORY = Path(__file__).parents[3]


def kill_while_it_appends(directory: Path, first: int, lines: int) -> dict[str, int]:
    """What the child had announced before it was killed in mid-work: the last durable seq by session."""
    command = [sys.executable, "-m", "tests.actors.store.appender", str(directory), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as child:
        assert child.stdout is not None
        heard = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        heard += child.stdout.readlines()
    assert child.returncode == -9
    announced: dict[str, int] = {}
    for line in heard:
        assert line.endswith(b"\n")
        session, seq = line.decode().split()
        announced[session] = int(seq)
    return announced


def whole_portions() -> set[int]:
    """The seqs at which an append ends: those in between would be half of one."""
    ends, seq = {0}, 0
    for entries in hatched():
        seq = max([seq, *(getattr(entry, "seq", 0) for entry in entries)])
        ends.add(seq)
    return ends


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_was_announced_is_there_and_nothing_is_there_by_half(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    announced: dict[str, int] = {}
    for first in (0, 1_000_000):  # killed, recovered, and killed again
        announced |= kill_while_it_appends(tmp_path, first, random.randrange(50, 1500))
        problems = check_store(tmp_path / DATABASE, tmp_path / ARTIFACTS)
        assert "database" not in [finding.what for finding in problems]
    assert len(announced) > 2
    async with opened(tmp_path) as store:
        unfinished = {found.record.session for found in store.log.unfinished()}
        for session, seq in announced.items():
            tail = await store.log.tail(session, 0)
            assert [event.seq for event in tail] == list(range(1, len(tail) + 1))
            assert len(tail) >= seq, "what was announced is durable"
            assert len(tail) in whole_portions()
            assert (session in unfinished) is not (bool(tail) and isinstance(tail[-1], End))
            view = await store.log.view(session)
            assert (view.state == "done") is (session not in unfinished)
            again = await store.log.create(record_of("another"), Claim(f"k{session[1:]}", b"1"))
            assert isinstance(again, Existing), "nothing is hatched twice for one key"
            assert again.view.session == session
        agents = await store.agents.list("ann", limit=100_000, before=None)
        assert {agent.agent for agent in agents.items} >= {s for s in announced if s not in unfinished}
        assert unfinished.isdisjoint(agent.agent for agent in agents.items)

"""One gateway to a data directory, which begins with nothing left of the one before; with real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from actors.census import MARKER, look
from actors.sweep import LOCK_NAME, DataInUse, Swept, open_data_lock, sweep
from protocol.errors import HatcheryError, Invalid
from tests.helpers.descriptors import open_descriptors
from tests.helpers.stubborn import all_gone, doomed_gateway, pinned


def sleeper(marker: str) -> int:
    return os.posix_spawn("/bin/sleep", ["sleep", "600"], {MARKER: marker}, setpgroup=0)


async def test_the_lock_keeps_others_out_and_names_who_holds_it(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    async with doomed_gateway(data) as (gateway, _):
        with pytest.raises(DataInUse, match=f"process id {gateway.pid}; stop it") as caught, trio.fail_after(2):
            async with open_data_lock(data):  # without patience for a gateway that runs
                pytest.fail("entered")
    assert caught.value.pid == gateway.pid
    assert isinstance(caught.value, Invalid)
    assert (caught.value.code, caught.value.field) == ("invalid", "server.data")
    assert DataInUse not in HatcheryError.__subclasses__()  # no new code on the wire


async def test_the_lock_can_be_had_again_after_its_scope(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("1234567890123\n")
    before = open_descriptors()
    for _ in range(2):
        async with open_data_lock(tmp_path) as lock:
            assert not os.get_inheritable(lock.fd)
            with pytest.raises(DataInUse, match=f"process id {os.getpid()};"):
                async with open_data_lock(tmp_path):
                    pytest.fail("entered")
    assert open_descriptors() <= before


async def test_a_gateways_id_is_its_directorys_whatever_path_leads_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    seen = []
    for name in ("a", "link", "b"):
        async with open_data_lock(tmp_path / name) as lock:
            seen.append(lock.gateway)
    (tmp_path / "a").rename(tmp_path / "c")
    async with open_data_lock(tmp_path / "c") as lock:
        seen.append(lock.gateway)
    assert seen[0] == seen[1] == seen[3] != seen[2]
    assert "/" not in "".join(seen)


async def test_a_killed_gateways_guard_has_cleaned_up_before_the_next_one_begins(tmp_path: Path) -> None:
    async with doomed_gateway(tmp_path) as (gateway, brood):
        with pinned(*brood.children) as processes, pinned(gateway.pid) as killed:
            gateway.kill()
            await all_gone(killed)  # but not collected by its parent yet
            async with open_data_lock(tmp_path) as lock:
                await all_gone(processes, within_s=0.1)
                assert not (tmp_path / "jobs").exists()
                assert await sweep(lock, tmp_path / "jobs") == Swept(processes=0, directories=0)


async def test_a_guard_that_never_ends_is_not_waited_for_without_end(tmp_path: Path) -> None:
    async with doomed_gateway(tmp_path) as (gateway, brood):
        with pinned(brood.guard, *brood.children) as processes:
            os.kill(brood.guard, signal.SIGSTOP)
            gateway.kill()
            await gateway.wait()
            try:
                with pytest.raises(DataInUse, match=str(gateway.pid)), trio.fail_after(5):
                    async with open_data_lock(tmp_path, patience_s=0.3):
                        pytest.fail("entered")
            finally:
                os.kill(brood.guard, signal.SIGCONT)
            await all_gone(processes)


async def test_a_holder_that_has_not_written_its_number_yet_is_waited_for(tmp_path: Path) -> None:
    script = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    holder = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", script, tmp_path / LOCK_NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(DataInUse, match="in use by a gateway; stop it"):
            async with open_data_lock(tmp_path, patience_s=0.1):
                pytest.fail("entered")
        holder.stdin.close()
        async with open_data_lock(tmp_path):
            pass


async def test_what_was_left_without_a_guard_is_swept(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    async with doomed_gateway(tmp_path) as (gateway, brood):
        unmarked = [pid for pid in brood.children if (process := look(pid)) and not process.marker]
        marked = set(brood.children).difference(unmarked)
        with pinned(brood.guard) as guard, pinned(*marked) as processes, pinned(*unmarked) as out_of_reach:
            gateway.send_signal(signal.SIGSTOP)  # it cannot replace its guard
            os.kill(brood.guard, signal.SIGKILL)
            gateway.kill()
            await gateway.wait()
            await all_gone(guard)
            (jobs / "a file").touch()
            directories = len(os.listdir(jobs))
            async with open_data_lock(tmp_path) as lock:
                swept = await sweep(lock, jobs)
            await all_gone(processes, within_s=0.1)
            assert swept.processes >= 8  # the others were ended by the hang-up
            assert swept.directories == directories
            assert not jobs.exists()
            [pidfd] = out_of_reach  # only a guard, which knows its group, could have ended it
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)


async def test_other_gateways_processes_are_none_of_its_business(tmp_path: Path) -> None:
    async with open_data_lock(tmp_path / "data") as lock:
        markers = (f"{lock.gateway}0/job", f"0{lock.gateway}/job")
        strangers = [sleeper(marker) for marker in markers]
        mine = sleeper(f"{lock.gateway}/job")
        swept = await sweep(lock, tmp_path / "data" / "jobs")
    ended = [os.waitpid(pid, os.WNOHANG)[0] for pid in (mine, *strangers)]  # noqa: ASYNC222
    for pid in strangers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)  # noqa: ASYNC222
    assert swept == Swept(processes=1, directories=0)
    assert ended == [mine, 0, 0]

"""Why Hatchery reads a pseudo-terminal: each other way, tried on the real mflux, and what it showed when."""

import shutil

import pytest

from tests.helpers.evidence import STEPS, Finding, Reader, measure, table

pytestmark = pytest.mark.timeout(300)  # five real runs, which wait for each other: 40 s, more on a busy machine
needs_stdbuf = pytest.mark.skipif(shutil.which("stdbuf") is None, reason="stdbuf belongs to GNU coreutils")

Findings = dict[Reader, Finding]


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return measure(tmp_path_factory.mktemp("evidence"))


@pytest.mark.parametrize(
    "reader",
    [
        Reader.STDOUT_LINES,
        Reader.STDOUT_CHUNKS,
        pytest.param(Reader.STDBUF_STDOUT, marks=needs_stdbuf),
        Reader.UNBUFFERED_STDOUT,
    ],
)
def test_stdout_never_holds_a_bar(findings: Findings, reader: Reader) -> None:
    finding = findings[reader]
    assert finding.deliveries, "the reader works: stdout has other output"
    assert finding.bars == ()
    assert finding.in_time == 0


@pytest.mark.parametrize(
    "reader",
    [
        Reader.STDERR_LINES,
        pytest.param(Reader.STDBUF_STDERR, marks=needs_stdbuf),
        Reader.UNBUFFERED_STDERR,
    ],
)
def test_stderr_holds_every_bar_in_one_line_that_ends_after_the_loop(findings: Findings, reader: Reader) -> None:
    finding = findings[reader]
    (line,) = (delivery for delivery in finding.deliveries if delivery.steps)
    assert set(line.steps) == set(range(STEPS + 1)), "tqdm does not disable itself on a pipe"
    assert line.at_s >= finding.run.done_s[-1]


def test_text_lines_of_stderr_are_one_tick_late(findings: Findings) -> None:
    finding = findings[Reader.STDERR_TEXT_LINES]
    shown, done = finding.shown_s, finding.run.done_s
    assert all(shown[step] >= done[step + 1] for step in range(STEPS - 1))
    assert shown[0] < done[-1], "late by a tick, not by the whole loop"


def test_a_terminal_shows_each_step_after_it_is_done_and_before_the_next_is(findings: Findings) -> None:
    finding = findings[Reader.TERMINAL]
    assert list(finding.bars) == sorted(finding.bars)
    assert set(finding.bars) == set(range(STEPS + 1))
    assert all(shown >= done for shown, done in zip(finding.shown_s, finding.run.done_s, strict=True))
    assert finding.in_time == STEPS


def test_the_files_size_says_nothing_until_the_last_step_is_done(findings: Findings) -> None:
    finding = findings[Reader.FILE_SIZE]
    assert finding.bars[-1] == STEPS, "the whole file is seen before the child's end"
    assert finding.deliveries[0].at_s > finding.run.done_s[-1]


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_fake_ticks_err_by_far_more_than_the_terminal_even_when_the_duration_is_guessed_right(
    findings: Findings, factor: float
) -> None:
    terminal = findings[Reader.TERMINAL]
    assert terminal.error < 0.05
    assert terminal.run.error_of_guess(terminal.run.life_s * factor) > 0.1


def test_the_table_has_a_row_for_each_finding_and_each_guess(findings: Findings) -> None:
    rows = table(findings).splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows[:-3]] == [r for r in Reader if r in findings]
    assert all("fake ticks" in row for row in rows[-3:])

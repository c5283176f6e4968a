"""The agenda of a swarm: what is due, in order of time."""

from gateway.load.swarm import Agenda


def test_what_is_due_comes_in_order_of_time_and_once() -> None:
    agenda, done = Agenda(), list[str]()
    for when, name in ((3.0, "c"), (1.0, "a"), (2.0, "b"), (1.0, "a, too")):
        agenda.at(when, lambda name=name: done.append(name))  # type: ignore[misc]
    for now in (0.5, 2.0, 2.5):
        for what in agenda.due(now):
            what()
    assert done == ["a", "a, too", "b"]
    assert len(agenda.due(9.0)) == 1
    assert agenda.due(9.0) == []


def test_what_is_added_meanwhile_is_not_lost() -> None:
    agenda, done = Agenda(), list[int]()
    agenda.at(1.0, lambda: agenda.at(1.0, lambda: done.append(2)))
    for _ in range(2):
        for what in agenda.due(1.0):
            what()
    assert done == [2]

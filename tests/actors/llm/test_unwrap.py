import pytest

from actors.llm.unwrap import PromptedThinking, Unwrapper


@pytest.mark.parametrize(
    ("text", "thought", "found"),
    [
        ('{"a": 1}', "", '{"a": 1}'),
        ('Here {you} are { x: {"a": {}} }', "", '{"a": {}}'),
        ('```json\n{\n "a": [1]}\n```', "", '{\n "a": [1]}'),
        ('<think>hm {"b": 2}</think>{"a": "}"}', 'hm {"b": 2}', '{"a": "}"}'),
        ('a < b <<think>x</think> {"a": "\\"}"} {"c": 1}', "x", '{"a": "\\"}"}'),
        ("<think>never ends {", "never ends {", ""),
        ("no object at all {}", "", ""),
    ],
)
def test_whole_and_by_character(text: str, thought: str, found: str) -> None:
    for pieces in ([text], list(text)):
        unwrapper = Unwrapper()
        fed = [unwrapper.feed(piece) for piece in pieces]
        assert "".join(t for t, _ in fed) == thought
        assert "".join(o for _, o in fed) == found
        assert unwrapper.complete == bool(found)


@pytest.mark.parametrize(
    ("text", "thought", "rest"),
    [
        ("Hm, {an owl}.</think>\n{}", "Hm, {an owl}.", "\n{}"),
        ("</think>{}", "", "{}"),
        ("one</think>two</think>three", "one", "two</think>three"),
        ("a </thin b</think> c", "a </thin b", " c"),
        ("<think>a</think>b</think>c", None, "<think>a</think>b</think>c"),
        ("nothing < to / see>", None, "nothing < to / see>"),
    ],
)
def test_thinking_that_the_prompt_has_opened(text: str, thought: str | None, rest: str) -> None:
    for pieces in ([text], list(text)):
        prompted = PromptedThinking()
        fed = [prompted.feed(piece) for piece in pieces]
        ends = [at for at, (told, _) in enumerate(fed) if told is not None]
        assert [fed[at][0] for at in ends] == ([] if thought is None else [thought])
        after = fed[ends[0] :] if ends else fed
        assert "".join(piece for _, piece in after) == rest

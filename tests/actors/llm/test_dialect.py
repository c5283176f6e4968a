import pytest

from actors.llm.dialect import LlmAddress, LlmCommand, parse_llm


@pytest.mark.parametrize(
    ("engine", "dialect", "url"),
    [
        ("http://127.0.0.1:8080/v1", "openai", "http://127.0.0.1:8080/v1"),
        (" HTTPS://llm.example.com ", "openai", "HTTPS://llm.example.com"),
        ("openai:http://127.0.0.1:11434", "openai", "http://127.0.0.1:11434"),
        ("http://127.0.0.1:11434", "openai", "http://127.0.0.1:11434"),
        ("ollama:http://127.0.0.1:11434", "ollama", "http://127.0.0.1:11434"),
        ("Ollama: http://gpu:11434/", "ollama", "http://gpu:11434/"),
        ("anthropic:https://proxy.example.com/claude", "anthropic", "https://proxy.example.com/claude"),
        ("https://api.anthropic.com/v1", "anthropic", "https://api.anthropic.com/v1"),
        ("openai:https://api.anthropic.com/v1", "openai", "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com.example.com", "openai", "https://api.anthropic.com.example.com"),
        ("http://[::1", "openai", "http://[::1"),
    ],
)
def test_addresses(engine: str, dialect: str, url: str) -> None:
    address = parse_llm(engine)
    assert isinstance(address, LlmAddress)
    assert (address.dialect, address.url) == (dialect, url)
    assert parse_llm(str(address)) == address


@pytest.mark.parametrize(
    ("engine", "argv"),
    [
        ("mlx_lm.server --model some/model", ("mlx_lm.server", "--model", "some/model")),
        ("llama-server -m 'my models/a b.gguf' --port 9", ("llama-server", "-m", "my models/a b.gguf", "--port", "9")),
        ("serve --config http://x/y", ("serve", "--config", "http://x/y")),
        ("ollama serve", ("ollama", "serve")),
    ],
)
def test_commands(engine: str, argv: tuple[str, ...]) -> None:
    assert parse_llm(engine) == LlmCommand(argv)


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("", "a URL such as"),
        ("  ", "a URL such as"),
        ("ftp://me:secret@host", "a URL such as"),
        ("ollama:", "after ollama: comes a URL"),
        ("anthropic:me:secret@host", "after anthropic: comes a URL"),
        ("serve 'secret", "no closing quotation"),
    ],
)
def test_what_is_neither_is_refused_unquoted(engine: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        parse_llm(engine)
    assert "secret" not in str(refused.value)

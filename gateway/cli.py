"""The `hatchery` command line. Imports are lazy: help and usage errors cost no engine, server or event loop."""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from gateway.config import Config

app = typer.Typer(
    name="hatchery",
    help="Hatch AI agents: an LLM writes the persona, mflux draws the avatar, and you watch both happen.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Llm = Annotated[
    str | None, typer.Option("--llm", help="auto, demo, sim, tape:FILE, or an OpenAI-compatible server's URL.")
]
Image = Annotated[
    str | None, typer.Option("--image", help="auto, demo, sim, tape:FILE, or a command with mflux's flags.")
]
Data = Annotated[Path | None, typer.Option("--data", help="Where pictures and jobs are kept.")]
File = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings.")]

FAILED, USAGE, INTERRUPTED = 1, 2, 130


@app.command()
def hatch(
    prompt: Annotated[str, typer.Argument(help="Who is to hatch, in one sentence.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to save [default: a folder of the agent's name]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=2**32 - 1, help="The same seed, the same agent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every message of the hatch, one a line.")] = False,
    llm: Llm = None,
    image: Image = None,
    data: Data = None,
    config: File = None,
) -> None:
    """Hatch one agent: saves agent.json and avatar.png. Exit codes: 0 done, 1 failed, 2 usage, 130 cancelled."""
    from gateway.hatching import Order, hatch_one

    if any("\ud800" <= c <= "\udfff" for c in prompt):  # how Python keeps argument bytes that it cannot decode
        _complain("the prompt is not UTF-8", USAGE)
    private = {"server.host": "127.0.0.1", "server.port": 0, "access.tokens": []}  # nobody else is to reach it
    flags = {"llm.engine": llm, "image.engine": image, "server.data": data, **private}
    order = Order(prompt=prompt, seed=seed, out=out, as_json=as_json)
    _run(hatch_one, _load(config, flags), order, verbose=False)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option("--host", help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="The port to listen on; 0 picks a free one.")] = None,
    data: Data = None,
    llm: Llm = None,
    image: Image = None,
    config: File = None,
) -> None:
    """Run the gateway until Ctrl-C or SIGTERM."""
    from gateway.serve import serve_until_signal

    flags = {"server.host": host, "server.port": port, "server.data": data, "llm.engine": llm, "image.engine": image}
    _run(serve_until_signal, _load(config, flags), verbose=True)


@app.command()
def doctor(
    probe: Annotated[
        bool, typer.Option("--probe", help="Also draw two steps, and show when their progress is seen.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object a line.")] = False,
    host: Annotated[str | None, typer.Option("--host", help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="The port to listen on; 0 picks a free one.")] = None,
    data: Data = None,
    llm: Llm = None,
    image: Image = None,
    config: File = None,
) -> None:
    """Say what works here and how to mend what does not. Exit codes: 0 no problem, 1 a problem, 2 usage."""
    from functools import partial

    from gateway.doctor.doctor import run_doctor

    flags = {"server.host": host, "server.port": port, "server.data": data, "llm.engine": llm, "image.engine": image}
    _run(partial(run_doctor, probing=probe, as_json=as_json), _load(config, flags), verbose=False)


@app.command()
def engines(as_json: Annotated[bool, typer.Option("--json", help="Print one object a line.")] = False) -> None:
    """List the writers and painters that can be chosen here, each with the option to paste."""
    from functools import partial

    from gateway.doctor.doctor import run_engines

    _run(partial(run_engines, as_json=as_json), verbose=False)


@app.command()
def load(
    url: Annotated[
        str | None, typer.Argument(help="The gateway to test, such as http://127.0.0.1:8642 [default: one of our own]")
    ] = None,
    profile: Annotated[
        str, typer.Option("--profile", help="smoke, steady, storm, bar, or a TOML file of your own.")
    ] = "smoke",
    engines: Annotated[
        Literal["sim", "demo"], typer.Option("--engines", help="Of our own gateway: simulated, or real processes.")
    ] = "sim",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="A file that holds the token for the gateway.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report as a page with plots.")] = None,
) -> None:
    """Test a gateway with a swarm of clients. Exit codes: 0 fine, 1 an invariant broke, 2 usage."""
    from gateway.load.run import Order, run_load

    order = Order(profile=profile, url=url, engines=engines, token=_secret(token_file), json=json, html=html)
    _run(run_load, order, verbose=False)


@app.command()
def token(user: Annotated[str, typer.Argument(help="Whose token it is to be.")]) -> None:
    """Make a token: prints it, this once, and the line for access.tokens, which holds no more than its hash."""
    from gateway.access.auth import new_token

    try:
        fresh, line = new_token(user)
    except ValueError as error:
        _complain(str(error), USAGE)
    typer.echo(f"token: {fresh}")
    typer.echo(f'line:  "{line}"')
    typer.echo(
        "Give the token to its user; put the line into the file of --config: [access] tokens = [LINE, …].\n"
        f"Limits of this user's own: [access.quotas.{_toml_key(user)}] hatches = 2, queued = 10,"
        " connections, messages_per_s, messages_burst, uploads, upload_bytes, disk_bytes.",
        err=True,
    )


@app.command()
def tape(
    session: Annotated[str, typer.Argument(help="The session to record.")],
    url: Annotated[str, typer.Option("--url", help="Its gateway.")] = "http://127.0.0.1:8642",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="A file that holds the token for the gateway.")
    ] = None,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Whether to keep the picture too.")] = True,
) -> None:
    """Record a hatch, to its end, on standard output; play it with --llm tape:FILE --image tape:FILE.

    It holds the prompt, the persona and the picture. Exit codes: 0 recorded, 1 failed, 2 usage.
    """
    from gateway.tape import Order, record

    order = Order(session=session, url=url, token=_secret(token_file) or None, picture=picture)
    _run(record, order, verbose=False)


def _secret(file: Path | None) -> str:
    """What the file of --token-file holds."""
    try:
        return file.read_text(encoding="utf-8").strip() if file else ""
    except (OSError, UnicodeDecodeError) as error:
        _complain(f"--token-file: {error}", USAGE)


def _toml_key(user: str) -> str:
    return f'"{user}"' if "." in user else user


data_app = typer.Typer(help="Look after what a gateway has kept.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command()
def check(data: Data = None, config: File = None) -> None:
    """Read every page and every file, also while a gateway runs. Exit codes: 0 no problem, 1 a problem, 2 usage."""
    from gateway.upkeep import run_check

    _run(run_check, _load(config, {"server.data": data}), verbose=False)


@data_app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="A folder for the copy; an earlier one is brought up to date.")],
    data: Data = None,
    config: File = None,
) -> None:
    """Copy everything, also while a gateway runs, to a folder that --data can name."""
    from gateway.upkeep import run_backup

    _run(run_backup, _load(config, {"server.data": data}), target, verbose=False)


@data_app.command()
def prune(
    sessions: Annotated[
        int | None, typer.Option("--sessions", min=0, help="How many ended sessions to keep [default: hatch.retained]")
    ] = None,
    days: Annotated[
        float | None,
        typer.Option("--days", min=0, help="How old an ended session may be [default: hatch.session_days]"),
    ] = None,
    upload_days: Annotated[
        float | None, typer.Option("--upload-days", min=0, help="How old an upload may be [default: hatch.upload_days]")
    ] = None,
    data: Data = None,
    config: File = None,
) -> None:
    """Forget old sessions, uploads and the files that nobody refers to; agents stay.

    A gateway that serves does this by itself, every hatch.upkeep_s; here it is done at once. Stop the gateway first.
    """
    from msgspec.structs import replace

    from gateway.upkeep import retention, run_prune

    loaded = _load(config, {"server.data": data})
    asked = {"sessions": sessions, "session_days": days, "upload_days": upload_days}
    kept = replace(retention(loaded), **{name: value for name, value in asked.items() if value is not None})
    _run(run_prune, loaded, kept, verbose=False)


def _load(file: Path | None, flags: dict[str, Any]) -> "Config":
    from gateway.config import ConfigError
    from gateway.layers import load_config

    given = {key: str(value) if isinstance(value, Path) else value for key, value in flags.items()}
    try:
        return load_config(file, os.environ, given)
    except ConfigError as error:
        _complain(str(error), USAGE)


def _run(command: Callable[..., Awaitable[int]], *arguments: object, verbose: bool) -> NoReturn:
    import trio

    from gateway.config import ConfigError
    from gateway.telemetry import configure_logging

    configure_logging(verbose=verbose)
    try:
        status = trio.run(command, *arguments)
    except BaseException as raised:
        match _sole(raised):
            case ConfigError() as error:
                _complain(str(error), USAGE)
            case BrokenPipeError():  # whoever read our output has left
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(FAILED)
            case OSError() as error:
                _complain(f"{error.strerror or error}: {error.filename or 'choose another --port or --data'}", FAILED)
            case KeyboardInterrupt():
                _complain("interrupted", INTERRUPTED)
        raise
    sys.exit(status)


def _sole(error: BaseException) -> BaseException:
    """What nurseries have wrapped, if it is one error."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _complain(message: str, status: int) -> NoReturn:
    typer.echo(f"hatchery: {message}", err=True)
    sys.exit(status)


def main() -> None:
    """The entry point."""
    app()

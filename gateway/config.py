"""All settings of one gateway, each `section.name`, with their bounds, defaults and meanings: one frozen Struct."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from actors.mflux.offer import NamedLora, NamedModel, Place

USER_NAME: Final = "[A-Za-z0-9._-]{1,64}"
TOKEN_LINE: Final = f"^{USER_NAME}:sha256:[0-9a-f]{{64}}$"  # user, algorithm, hash

Positive = Annotated[float, Meta(gt=0, le=1e9)]  # 1e9 s are 32 years: no setting is infinite
Days = Annotated[float, Meta(ge=0, le=1e6)]
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
_AUTHORITY: Final = r"://(\[[0-9A-Fa-f:.]+\]|[^\s/?#@*,:\[\]]+)(:[0-9]+)?/?$"
PublicUrl = Annotated[str, Meta(pattern="^https?" + _AUTHORITY)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
TokenLine = Annotated[str, Meta(pattern=TOKEN_LINE)]
SECRET: Final = Meta(extra={"secret": True})  # of a setting that no message may quote
UserName = Annotated[str, Meta(pattern=f"^{USER_NAME}$")]
WebOrigin = Annotated[str, Meta(pattern="^[a-z][a-z0-9+.-]*" + _AUTHORITY)]


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it listens and who may call."""

    host: str = "127.0.0.1"
    """The address to listen on; one that others can reach needs `access.tokens`."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8642
    """The port to listen on; 0 picks a free one."""
    data: str = ""
    """Where pictures and jobs are kept; empty: the user's own data directory."""
    public_urls: list[PublicUrl] = []
    """How the gateway is reached from outside, such as `https://hatch.example`; their hosts are answered."""
    allowed_origins: list[WebOrigin] = []
    """Origins of pages elsewhere that may use the gateway."""
    trusted_proxies: list[str] = []
    """Networks of reverse proxies, such as `10.0.0.0/8`, whose X-Forwarded-For and -Proto are believed."""
    max_connections: Count = 10_000
    """Connections at a time; one more is refused with 503."""
    hello_s: Positive = 10.0
    """Seconds that a client may take to say `hello`."""
    heartbeat_s: Positive = 20.0
    """Seconds between pings; a client that shows no sign of life for one more interval is dropped."""
    bad_messages: Count = 20
    """Messages that cannot be read before a connection is closed."""
    drain_s: Annotated[float, Meta(ge=0, le=1e9)] = 30.0
    """Seconds that `hatchery serve`, asked to stop, lets hatches go on before it cancels them; 0 cancels at once."""
    stop_s: Positive = 10.0
    """Seconds that stopping may then take before every connection is cut off."""

    def __post_init__(self) -> None:
        """Raises ValueError for a proxy that is no network; msgspec names the setting."""
        for network in self.trusted_proxies:
            ipaddress.ip_network(network)


class UserQuota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One user's own share, `[access.quotas.USER]`; what it does not name is as `access` has it for every user."""

    connections: Count | None = None
    hatches: Count | None = None
    queued: Count | None = None
    messages_per_s: Positive | None = None
    messages_burst: Count | None = None
    uploads: Count | None = None
    upload_bytes: Count | None = None
    disk_bytes: Count | None = None


class AccessConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is known, and how much one of them may have; without tokens everybody on this machine is one user."""

    tokens: Annotated[list[TokenLine], SECRET] = []
    """Hashes of the tokens, each a line `user:sha256:…` that `hatchery token USER` prints; with any, one is needed."""
    login_s: Positive = 604_800.0
    """Seconds that a login on the page lasts."""
    link_s: Positive = 86_400.0
    """Seconds that a link for watching one session works."""
    connections_per_user: Count = 100
    """WebSockets and event streams at a time of a user with a token."""
    connections_per_address: Count = 500
    """WebSockets and event streams at a time from one address, where tokens are needed."""
    sockets_per_address: Count = 1000
    """Connections of any kind at a time from one address that is no trusted proxy, where tokens are needed."""
    hatches_per_user: Count = 100
    """Hatches that may run or wait at a time for a user with a token."""
    queued_per_user: Count = 100
    """Hatches of them that may wait for their turn."""
    uploads_per_user: Count = 1000
    """Input pictures that are kept for a user with a token."""
    upload_bytes_per_user: Count = 1024**3
    """Bytes of input pictures that are kept for a user with a token."""
    disk_bytes_per_user: Count = 10 * 1024**3
    """Bytes of pictures, drawn and sent, that are kept for a user with a token; over it nothing new is taken."""
    messages_per_s: Positive = 100.0
    """Messages a second that one connection may send for long; requests a second of a user over plain HTTP."""
    messages_burst: Count = 5000
    """Messages, or requests, at once; as many messages again are refused before their connection is closed."""
    quotas: dict[UserName, UserQuota] = {}
    """Users who may have more or less, each a table `[access.quotas.USER]`; in the file only."""
    wrong_tokens: Count = 20
    """Wrong tokens that one address may show at once; what it shows beyond them is answered with 429."""
    wrong_tokens_per_minute: Positive = 10.0
    """Wrong tokens that it may show for long."""


class LlmConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who writes."""

    engine: str = "auto"
    """`auto`, `demo`, `sim`, `tape:FILE`, `[openai:|ollama:|anthropic:]URL`, or a command such as `mlx_lm.server`."""
    model: str = ""
    """The model to ask for; empty: the first that the server offers."""
    api_key: Annotated[str, SECRET] = ""
    """The bearer token for the server."""
    max_tokens: Count = 4096
    """The longest answer to ask for, in tokens."""
    think: Literal["auto", "on", "off"] = "auto"
    """Whether a model that can reason first is to; `auto` leaves it to the server. It costs tokens and time."""
    slots: Count = 2
    """Personas that are written at a time."""
    first_byte_s: Positive = 120.0
    """Seconds to the server's first sign of life."""
    gap_s: Positive = 60.0
    """Seconds between two signs of life."""
    whole_s: Positive = 600.0
    """Seconds for all the writing of one persona."""


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who draws."""

    engine: str = "auto"
    """`auto`, `demo`, `sim`, `tape:FILE`, or a command line that takes mflux's flags."""
    slots: Count = 1
    """Pictures that are drawn at a time."""
    warm: bool = True
    """Whether a worker keeps the model loaded between pictures, where the command can be run that way."""
    idle_s: Positive = 1800.0
    """Seconds without a picture after which a worker leaves and its memory is free again."""
    jobs: Count = 1000
    """Pictures after which a worker is replaced."""
    memory_gb: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    """Memory in gigabytes above which a worker is replaced after its picture; 0: no bound."""
    prewarm: Literal["auto", "on", "off"] = "auto"
    """Whether the model is loaded while the persona is written; `auto`: if the memory is known to hold both models."""
    previews: bool = False
    """Whether pictures are shown while they are drawn; each step then costs one full decode more."""
    preview_side: Annotated[int, Meta(ge=16, le=1024)] = 256
    """The longer side of a preview, in pixels."""
    preview_bytes: Annotated[int, Meta(ge=2048, le=512 * 1024)] = 24 * 1024
    """The largest preview, in bytes."""
    stall_step_s: Positive = 120.0
    """Seconds that a step after the first may be silent, or five times the latest step, before the job is stopped."""
    stall_download_s: Positive = 300.0
    """Seconds that a download may be silent before the job is stopped."""
    stall_silent_s: Positive = 900.0
    """Seconds that the first step, loading, encoding, decoding or saving may take before the job is stopped."""
    models: dict[Name, Place | NamedModel] = {}
    """Models that a hatch may ask for by name: `name = "path"`, or `name = { path = "…", base_model = "…" }`."""
    loras: dict[Name, Place | NamedLora] = {}
    """LoRAs that a hatch may ask for by name: `name = "path"`, or `name = { path = "…", scale = 0.8 }`."""
    max_pixels: Count = 2048 * 2048
    """The largest picture, in pixels."""
    max_steps: Count = 100
    """The most steps that a hatch may ask for."""


class CancelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a cancel waits for."""

    patience_s: Positive = 20.0
    """Seconds that a cancelled step may take to end before its worker, and the loaded model, is given up."""


class HatchConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on hatches."""

    prompt_chars: Count = 2000
    """The longest prompt, in characters."""
    running: Count = 1000
    """Hatches that may run or wait at a time."""
    queued: Count = 1000
    """Hatches of them that may wait for their turn to be written or drawn."""
    whole_s: Positive = 3600.0
    """Seconds that one hatch may take, waiting included."""
    upload_bytes: Count = 16 * 1024 * 1024
    """The largest input picture, in bytes as sent."""
    upload_pixels: Count = 32_000_000
    """The largest input picture, in pixels."""
    disk_bytes: Count = 100 * 1024**3
    """Bytes of pictures that the data directory may hold; over it nothing new is drawn or uploaded."""
    restarts: Annotated[int, Meta(ge=0)] = 1
    """How often a failed actor is run again within a minute."""
    durable: bool = True
    """Whether sessions are kept on disk, and go on after a restart; else they live as long as the process."""
    resume: bool = True
    """Whether hatches that a stopped gateway left unfinished begin again, in a new epoch; else they end as failed."""
    unwritable_s: Positive = 15.0
    """Seconds that the disk may take no writes, full or read-only, before running hatches fail."""
    retained: Count = 10_000
    """Ended sessions that are remembered."""
    key_s: Positive = 86_400.0
    """Seconds that an idempotency key is remembered."""
    tombstone_s: Positive = 60.0
    """Seconds that a cancel waits for the start of its key."""
    session_days: Days = 90.0
    """Days that an ended session is remembered; its agent stays."""
    upload_days: Days = 30.0
    """Days that an input picture is kept."""
    upkeep_s: Positive = 3600.0
    """Seconds between two rounds in which what is old is forgotten."""
    artifact_url_s: Positive = 86_400.0
    """Seconds that the URL of a file works, and that the file stays when nobody refers to it any more."""


class WireConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How messages are delivered."""

    tick_ms: Positive = 30.0
    """Milliseconds that events gather before they are written."""
    message_bytes: Count = 256 * 1024
    """The longest message of a client, in bytes."""
    outbox_bytes: Count = 1024 * 1024
    """Bytes that may wait for one client."""
    frame_bytes: Count = 64 * 1024
    """Bytes of messages in one frame to a client."""
    stall_s: Positive = 20.0
    """Seconds that a client may take no byte."""
    deflate: bool = False
    """Whether batches may be compressed."""


class SimConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The script of the `sim` engines: rates, seconds, and faults as shares."""

    seed: int = 0
    """The seed of the script."""
    tokens_per_s: Positive = 40.0
    """Tokens a second."""
    tokens: Annotated[int, Meta(ge=80, le=400)] = 150
    """Tokens of a persona, about."""
    tokens_per_piece: Count = 4
    """Tokens that come together."""
    steps: Count = 8
    """Steps of a picture."""
    step_s: Annotated[float, Meta(ge=0, le=1e9)] = 0.25
    """Seconds that a step takes."""
    jitter: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    """How far durations vary, as a share."""
    unavailable: Share = 0.0
    """The share of requests that the writer refuses, as a busy server does."""
    cut_off: Share = 0.0
    """The share of answers that break off."""
    invalid: Share = 0.0
    """The share of personas that are invalid until they are repaired."""
    failures: Share = 0.0
    """The share of pictures that fail for good."""
    crashes: Share = 0.0
    """The share of attempts at a picture that crash, and are worth another."""
    stalls: Share = 0.0
    """The share of answers, and of attempts at a picture, in which nothing happens for `stall_s`."""
    stall_s: Positive = 90.0
    """Seconds that a stall lasts."""
    stamps: bool = False
    """Whether text and the last progress tell when they were made, for whoever measures their age."""


class TapeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tapes are played, as the engines `tape:FILE`."""

    speed: Positive = 1.0
    """How many times as fast as it was recorded."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one gateway."""

    server: ServerConfig = ServerConfig()
    access: AccessConfig = AccessConfig()
    llm: LlmConfig = LlmConfig()
    image: ImageConfig = ImageConfig()
    cancel: CancelConfig = CancelConfig()
    hatch: HatchConfig = HatchConfig()
    wire: WireConfig = WireConfig()
    sim: SimConfig = SimConfig()
    tape: TapeConfig = TapeConfig()

    @property
    def data(self) -> Path:
        """The data directory: `server.data`, or the user's own as the XDG base directory specification places it."""
        if self.server.data:
            return Path(self.server.data).expanduser().absolute()
        home = Path(os.environ.get("XDG_DATA_HOME", ""))
        return (home if home.is_absolute() else Path.home() / ".local/share") / "hatchery"


class ConfigError(Exception):
    """A setting that cannot be; the message names its key, where it was found, and what is allowed."""


SECTIONS: Final[dict[str, type[msgspec.Struct]]] = {field.name: field.type for field in msgspec.structs.fields(Config)}

import math
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.access.capability import Signer
from protocol.errors import Forbidden, Gone
from protocol.events import Artifact

SHA = "ab" * 32


class _Clock:
    now = 1_800_000_000.5

    def __call__(self) -> float:
        return self.now


def _artifact(sha256: str = SHA) -> Artifact:
    return Artifact(
        session="s", seq=3, kind="avatar", url="", sha256=sha256, bytes=9, mime="image/png", width=1, height=1
    )


def _parts(artifact: Artifact) -> tuple[str, str, str]:
    url = urlsplit(artifact.url)
    query = parse_qs(url.query)
    return url.path.removeprefix("/v1/artifacts/"), query["expires"][0], query["signature"][0]


def test_a_signed_url_works_until_it_expires() -> None:
    clock = _Clock()
    signer = Signer(b"secret", 60.0, clock)
    parts = _parts(signer.sign(_artifact()))
    assert parts[0] == SHA
    signer.verify(*parts)
    clock.now += 59
    signer.verify(*parts)
    clock.now += 2
    with pytest.raises(Gone, match="expired"):
        signer.verify(*parts)


def test_signing_again_renews_and_changes_nothing_but_the_url() -> None:
    clock = _Clock()
    signer = Signer(b"secret", 60.0, clock)
    old = signer.sign(_artifact())
    clock.now += 50
    new = signer.sign(old)
    clock.now += 50
    signer.verify(*_parts(new))
    assert new != old
    assert {**_fields(new), "url": ""} == {**_fields(old), "url": ""}


def _fields(artifact: Artifact) -> dict[str, object]:
    return {name: getattr(artifact, name) for name in artifact.__struct_fields__}


def test_a_url_holds_for_one_file_one_time_and_one_secret() -> None:
    clock = _Clock()
    signer = Signer(b"secret", 60.0, clock)
    sha, expires, signature = _parts(signer.sign(_artifact()))
    with pytest.raises(Forbidden):
        signer.verify("cd" * 32, expires, signature)
    with pytest.raises(Forbidden):
        signer.verify(sha, str(int(expires) + 1), signature)
    with pytest.raises(Forbidden):
        Signer(b"another", 60.0, clock).verify(sha, expires, signature)


def test_an_expired_forgery_is_a_forgery() -> None:
    clock = _Clock()
    signer = Signer(b"secret", 60.0, clock)
    with pytest.raises(Forbidden):
        signer.verify(SHA, "1", "00" * 32)


@pytest.mark.parametrize("expires", ["", "-1", "1e9", "9" * 13, "٣", "0x10", " 1", "inf"])
def test_an_expiry_that_is_no_number_is_refused(expires: str) -> None:
    with pytest.raises(Forbidden):
        Signer(b"secret", 60.0, _Clock()).verify(SHA, expires, "00" * 32)


@pytest.mark.parametrize("signature", ["", "zz", "ü", "\udcff", "00" * 5000])
def test_a_signature_that_is_none_is_refused(signature: str) -> None:
    with pytest.raises(Forbidden):
        Signer(b"secret", 60.0, _Clock()).verify(SHA, "1900000000", signature)


def test_the_longest_lifetime_that_can_be_configured_works() -> None:
    signer = Signer(b"secret", 1e9, _Clock())
    assert math.isfinite(float(_parts(signer.sign(_artifact()))[1]))
    signer.verify(*_parts(signer.sign(_artifact())))

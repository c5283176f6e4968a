"""Idempotency keys, and cancels that overtake their start."""

import pytest

from protocol.errors import KeyConflict
from protocol.keyring import Keyring


def keyring(capacity: int = 10) -> Keyring:
    return Keyring(kept_s=100.0, tombstone_s=60.0, capacity=capacity)


def test_a_repeated_start_finds_its_session() -> None:
    keys = keyring()
    assert keys.repeat("ann", "k", b"hatch", now=0) is None
    keys.claim("ann", "k", "s1", b"hatch", now=0)
    assert keys.repeat("ann", "k", b"hatch", now=99) == "s1"
    assert keys.find("ann", "k", now=99) == "s1"


def test_another_hatch_with_the_same_key_is_a_conflict() -> None:
    keys = keyring()
    keys.claim("ann", "k", "s1", b"hatch", now=0)
    with pytest.raises(KeyConflict) as conflict:
        keys.repeat("ann", "k", b"another", now=1)
    assert conflict.value.field == "key"
    assert keys.repeat("ann", "k", b"hatch", now=1) == "s1", "and the claim stands"


def test_keys_belong_to_their_owners() -> None:
    keys = keyring()
    keys.claim("ann", "k", "s1", b"hatch", now=0)
    keys.bury("ann", "c", "enough", now=0)
    assert keys.repeat("bob", "k", b"another", now=1) is None
    assert keys.exhume("bob", "c", now=1) is None
    assert keys.exhume("ann", "c", now=1) == "enough"


def test_a_claim_expires() -> None:
    keys = keyring()
    keys.claim("ann", "k", "s1", b"hatch", now=0)
    assert keys.find("ann", "k", now=100) is None
    assert keys.repeat("ann", "k", b"another", now=100) is None
    keys.claim("ann", "k", "s2", b"another", now=100)
    assert keys.find("ann", "k", now=199) == "s2"


def test_a_tombstone_is_exhumed_once() -> None:
    keys = keyring()
    keys.bury("ann", "k", "enough", now=0)
    assert keys.exhume("ann", "k", now=59) == "enough"
    assert keys.exhume("ann", "k", now=59) is None


def test_a_tombstone_expires() -> None:
    keys = keyring()
    keys.bury("ann", "k", "enough", now=0)
    assert keys.exhume("ann", "k", now=60) is None


def test_a_second_cancel_renews_the_tombstone() -> None:
    keys = keyring()
    keys.bury("ann", "k", "first", now=0)
    keys.bury("ann", "k", "second", now=50)
    assert keys.exhume("ann", "k", now=100) == "second"


def test_the_oldest_give_way() -> None:
    keys = keyring(capacity=2)
    for number in range(3):
        keys.claim("ann", f"k{number}", f"s{number}", b"", now=number)
        keys.bury("ann", f"c{number}", f"r{number}", now=number)
    assert [keys.find("ann", f"k{number}", now=3) for number in range(3)] == [None, "s1", "s2"]
    assert [keys.exhume("ann", f"c{number}", now=3) for number in range(3)] == [None, "r1", "r2"]


def test_a_renewed_claim_is_no_longer_the_oldest() -> None:
    keys = keyring(capacity=2)
    keys.claim("ann", "a", "s1", b"", now=0)
    keys.claim("ann", "b", "s2", b"", now=1)
    keys.claim("ann", "a", "s3", b"", now=2)
    keys.claim("ann", "c", "s4", b"", now=3)
    assert keys.find("ann", "a", now=4) == "s3"
    assert keys.find("ann", "b", now=4) is None

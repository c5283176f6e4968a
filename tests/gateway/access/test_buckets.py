from gateway.access.buckets import Buckets, household


def _take(buckets: Buckets, name: str, now: float = 0.0) -> float:
    return buckets.take(name, 0.5, 1, now)


def test_everybody_has_a_bucket_of_their_own() -> None:
    buckets = Buckets()
    assert [_take(buckets, name) for name in ("ada", "bob", "ada")] == [0, 0, 2.0]
    assert _take(buckets, "ada", now=2.0) == 0


def test_only_the_latest_are_remembered_and_who_goes_on_is_not_forgotten() -> None:
    buckets = Buckets(remembered=2)
    for name in ("ada", "bob", "ada", "eve"):
        _take(buckets, name)
    assert ("ada" in buckets, "bob" in buckets, len(buckets)) == (True, False, 2)
    assert _take(buckets, "ada") > 0
    assert _take(buckets, "bob") == 0


def test_a_network_of_ipv6_is_one_household() -> None:
    assert household("2001:db8::1") == household("2001:db8::2%eth0") != household("2001:db8:0:1::1")
    assert [household(name) for name in ("192.0.2.7", "nowhere")] == ["192.0.2.7", "nowhere"]

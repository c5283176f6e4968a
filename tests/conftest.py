"""What holds for all tests: Hypothesis judges what comes out, not how long a busy machine takes for it."""

from hypothesis import HealthCheck, settings

settings.register_profile("hatchery", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hatchery")

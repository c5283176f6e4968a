"""Whether a tape that is to be played can be."""

from gateway.config import ConfigError
from gateway.doctor.finding import Finding, ok, problem
from gateway.tape import load_tape


def check_tape(subject: str, engine: str) -> Finding:
    """Reads the whole tape."""
    try:
        tape = load_tape(engine, f"the {subject}")
    except ConfigError as error:
        return problem(subject, str(error), "record one anew: hatchery tape SESSION > FILE")
    return ok(subject, f"{engine}, which plays “{tape.header.prompt[:40]}”")

"""Who a server lets write: the model that it was asked for, unless it was asked for whatever it has."""

from typing import Final

from protocol.maker import Maker, model_name

MLX_DEFAULT_MODEL: Final = "default_model"
"""What mlx_lm.server calls the model it was started with; what it lists is whatever lies in the download cache."""
UNKNOWN_MODEL: Final = "default"
"""What to ask a server for that lists no model, and takes any name."""
_STAND_INS: Final = frozenset({MLX_DEFAULT_MODEL, UNKNOWN_MODEL})


def server_maker(engine: str, model: str) -> Maker:
    """The server's engine and model; the version of its program it does not tell."""
    return Maker(engine=engine, model=None if model in _STAND_INS else model_name(model))

"""How the demo renderer draws: pure Pillow, one portrait from a look, a size and a seed."""

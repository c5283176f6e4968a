"""How the demo writer composes a persona: pure, from a prompt and a seed, out of phrases written for it."""

"""Who writes the persona: one actor, and a backend for each dialect that LLM servers speak."""

"""Who is let in, from where, and how much of the gateway they may have."""

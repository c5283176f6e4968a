"""`hatchery load`: a swarm of clients that holds every message against the protocol."""

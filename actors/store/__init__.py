"""What outlasts the process: sessions, keys, agents, uploads and durations, in SQLite."""

"""Who does the work: processes, terminals, slots, files and supervision; no HTTP server, no WebSocket."""

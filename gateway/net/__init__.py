"""Bytes: sockets, HTTP/1.1 and WebSockets."""

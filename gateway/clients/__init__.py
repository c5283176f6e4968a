"""The Python clients: a core without I/O, and a shell for trio and for plain threads."""

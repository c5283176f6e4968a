"""What is said: messages, codecs and the pure logic of a session; msgspec and the standard library only."""

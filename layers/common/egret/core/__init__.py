"""The rules of mail, pure: no I/O, no clock, no randomness, no environment."""

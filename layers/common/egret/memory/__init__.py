"""Every port in memory: for tests, for the simulator, and for users of the package."""

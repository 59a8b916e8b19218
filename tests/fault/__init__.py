"""The promises of the design under faults."""

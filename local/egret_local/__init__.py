"""The whole product on one machine: an AWS emulator, the functions, the egress, a mail sink and a webhook receiver."""

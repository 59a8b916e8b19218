"""The always-on container: SMTP client engine and inbound SMTP."""

"""The operator's command line: accounts, keys, domains, webhooks, holds and the queue of an installation."""

"""A device at the end of a serial line: port, login, what is put there first, and the conversation."""

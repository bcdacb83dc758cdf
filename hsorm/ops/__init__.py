"""The rules of entities, state in and state out: no I/O, no clock."""

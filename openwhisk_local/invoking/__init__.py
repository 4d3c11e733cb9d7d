"""From an accepted invocation to its record: single actions, sequences, triggers."""

"""The process on the user's machine: its home, its streams, how it ends, and its helpers."""

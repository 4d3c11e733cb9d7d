"""What people see of a run: events as they happen, and saved reports."""

"""AWS Lambda, or what answers like it."""

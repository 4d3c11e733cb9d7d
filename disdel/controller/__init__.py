"""From a job to a report: plans, deploys, drives the rounds, and leaves nothing behind."""

"""Packages, actions, triggers and rules: what a request may say, and where they are kept."""

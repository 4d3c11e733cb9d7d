"""The networks that come with disdel."""

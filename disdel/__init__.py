"""Deep learning on serverless functions that never dies of memory or time."""

__version__ = "0.1.0"

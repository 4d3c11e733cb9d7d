"""Actions of a run: their bundles, their invocations, and what became of these."""

"""The mathematics of training: steps, averages, and the adapters to frameworks."""

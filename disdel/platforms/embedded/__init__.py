"""The embedded platform: an OpenWhisk of this machine, started for a run or by `platform up`."""

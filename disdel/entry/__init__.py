"""How platforms that are no OpenWhisk call an action; travels in the bundle, imports little."""

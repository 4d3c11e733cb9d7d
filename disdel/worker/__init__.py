"""The action side of a run: what each kind of activation does with the store and a framework."""

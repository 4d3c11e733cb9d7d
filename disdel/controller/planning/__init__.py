"""What a plan is made from: the network, the nodes, what earlier runs took."""

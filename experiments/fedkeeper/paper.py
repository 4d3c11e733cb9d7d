"""What FedKeeper (Chadha, Jindal and Gerndt, WoSC 2020) reports, beside which results stand.

Rounds are the means of its plot script, of two runs (one cell three). They were measured on an
OpenWhisk cluster of 44 cores, three Jetson Nanos and 90 Google Cloud Functions.
"""

CLIENTS = (10, 30, 50, 70, 100)
TARGETS = {"cnn2": 0.99, "mlp": 0.97}

# By network, local epochs and optimizer: rounds to the target, in the order of CLIENTS.
ROUNDS = {
    ("cnn2", 5, "adam"): (125.5, 63, 66, 67, 55),
    ("cnn2", 5, "nadam"): (135, 81.5, 63.5, 58, 49.5),
    ("cnn2", 5, "sgd"): (128, 95, 86.5, 113.5, 112.5),
    ("cnn2", 10, "adam"): (125.5, 59.5, 63, 49, 47.5),
    ("cnn2", 10, "nadam"): (116, 68, 57.5, 47, 47.5),
    ("cnn2", 10, "sgd"): (156, 103.5, 90, 101.5, 107.5),
    ("mlp", 5, "adam"): (236, 126.5, 118.5, 157, 244.5),
    ("mlp", 5, "nadam"): (247, 173, 151.5, 190, 209.5),
    ("mlp", 5, "sgd"): (258.5, 209.5, 242, 220.5, 209.5),
    ("mlp", 10, "adam"): (176.5, 97, 86, 55.5, 57.5),
    ("mlp", 10, "nadam"): (181.5, 101.5, 85, 95, 66.5),
    ("mlp", 10, "sgd"): (242.5, 172, 202.5, 172.5, 209.5),
}
# By network and local epochs, adam and 100 clients: a later round in seconds (Figure 5), and the
# round that reaches 95 % (Figure 4).
ROUND_S = {("cnn2", 5): 60.41, ("mlp", 5): 41.45, ("cnn2", 10): 61.67, ("mlp", 10): 40.28}
ROUNDS_TO_95 = {("cnn2", 5): 13, ("cnn2", 10): 13, ("mlp", 10): 31, ("mlp", 5): 91}


def rounds(network, epochs, optimizer, clients):
    return ROUNDS[network, epochs, optimizer][CLIENTS.index(clients)]

"""Sums of updates that show no single one: SecAgg+ (Bell et al., 2020, eprint.iacr.org/2020/704).

Pure parts: what clients say to each other is bytes, which whoever calls carries. Curves, key
derivation, ciphers and their streams are those of the package `cryptography`.
"""

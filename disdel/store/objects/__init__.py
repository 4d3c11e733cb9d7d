"""A store on an S3-compatible object server, for who has its keys and for who is lent some URLs."""

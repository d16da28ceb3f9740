"""A pass: one reading of the pool by one state of one model, with fixed columns, into one parquet. One file each."""

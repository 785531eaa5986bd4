"""Archives: Parquet files with a manifest, written once, read back and compared before anything leaves."""

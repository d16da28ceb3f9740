"""What `snakemake check` looks at before anything is spent: models, data, disk, hours and memory."""

"""Pictures in, batches out: sources, one decode function, the cache, augmentation."""

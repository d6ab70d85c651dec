"""Local folders and S3 buckets behind one interface; serves all rooms of the package."""

"""DynamoDB, KMS, Vast, clock: one file per port."""

"""Ports over DynamoDB, KMS, Secrets Manager and Lambda."""

"""Worker rows in DynamoDB."""

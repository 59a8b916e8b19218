"""The ports on AWS: the only place that knows boto3 and pynamodb."""

"""Corrections to moto 5.2.5, without which it does not behave like AWS where Ballast depends on it.

`tests/lab/local/test_moto_plus.py` holds one test for each correction, which fails on stock moto.
Importing this package corrects moto in the importing process, before or after `mock_aws()`.
"""

from lab.local.moto_plus import (  # noqa: F401
    apigateway,
    botocore_models,
    cloudformation,
    cloudformation_edge,
    dynamodb,
    functions,
    kms,
    quicker,
    stacks,
    templates,
)

"""Corrections to moto 5.2.5, without which it does not behave like AWS where Ballast depends on it.

`tests/lab/local/test_moto_plus.py` holds one test for each correction, which fails on stock moto.
Importing this package corrects moto in the importing process, before or after `mock_aws()`.
"""

from lab.local.moto_plus import (
    apigateway,
    botocore_models,  # noqa: F401  before what reads them
    cloudformation,
    cloudformation_edge,
    dynamodb,
    functions,
    kms,
    stacks,
    templates,
)

_is_corrected = False


def correct_moto() -> None:
    """Correct moto in this process; a second call changes nothing."""
    global _is_corrected
    if not _is_corrected:
        for service in (
            dynamodb,
            kms,
            functions,
            cloudformation,
            cloudformation_edge,
            stacks,
            apigateway,
            templates,
        ):
            service.correct()
        _is_corrected = True


correct_moto()

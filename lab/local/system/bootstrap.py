"""Makes in the local AWS what a deployment makes in a real one, and prints the admin key as JSON.

Runs as its own process, in the environment of the functions, so that the deployment's own code
makes keys and tables here too.
"""

from __future__ import annotations

import json
import sys

import boto3

from chalicelib.adapters.aws.tables import create_tables
from chalicelib.api.routes.bundle import FOLDER
from chalicelib.services.market.lanes import N_LANES
from chalicelib.settings import Settings
from infra.bootstrap import Caps, bootstrap
from lab.local.system.environment import DUMMY_VAST_KEY, STAGE
from workers.bundle import write_bundle


def main() -> None:
    """Create tables, wrapping key, secret, caps, the first admin key and the workers' bundle.

    Raises:
        RuntimeError: the database has an admin key already, which nobody can show again.
    """
    settings = Settings.from_environment()
    create_tables(boto3.client("dynamodb"), settings.table_prefix)
    kms = boto3.client("kms")
    key_id = kms.create_key(Description="Ballast, local")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=settings.kms_alias, TargetKeyId=key_id)
    boto3.client("secretsmanager").create_secret(
        Name=settings.vast_key_secret, SecretString=DUMMY_VAST_KEY
    )
    account_key = bootstrap(
        STAGE, Caps(), public_url=settings.public_url, n_lanes=N_LANES if settings.public_url else 0
    )
    if account_key is None:
        raise RuntimeError("the local database is not empty")
    write_bundle(FOLDER)
    json.dump({"account_key": account_key}, sys.stdout)


if __name__ == "__main__":
    main()

"""`python -m ballast.client.trust`: how to trust rented workers' certificates. Changes nothing.

Workers' certificates are signed by Vast (or by your deployment's own authority), which Python does
not know. The program fetches the root, shows what it is, and prints the ways to use it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import ssl
import sys
from pathlib import Path

import certifi
import requests

from ballast.bearer import nobody
from ballast.bounded import ask
from ballast.client.errors import CallError

ROOT_PATH = "/static/jvastai_root.cer"
TIMEOUT_S = 10.0


class RootUnavailableError(CallError):
    """The root certificate cannot be had."""


def fetch_root(url: str) -> str:
    """The PEM text of the root certificate at a control plane.

    Raises:
        RootUnavailableError: no answer, or no certificate.
    """
    try:
        # A public file: nothing from ~/.netrc goes out for it.
        answer = ask("GET", url.rstrip("/") + ROOT_PATH, auth=nobody, timeout=TIMEOUT_S)
        answer.raise_for_status()
        ssl.PEM_cert_to_DER_cert(answer.text.strip())
    except (requests.RequestException, ValueError) as error:
        raise RootUnavailableError(f"no root certificate at {url}{ROOT_PATH}: {error}") from error
    return answer.text.strip() + "\n"


def advice(pem: str, store: Path, saved_as: Path) -> str:
    """What the certificate is, and the ways to trust it, none of which is carried out."""
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    if pem.strip() in store.read_text():
        return f"{store} already trusts this certificate (SHA-256 {fingerprint})."
    return f"""\
Certificate SHA-256: {fingerprint}
Nothing has been changed. Save the certificate, then choose one of these:

  python -m ballast.client.trust --print-pem > {saved_as}

  1. For our clients alone, nothing else changes:
       python3 -m workers.tgi.client --worker-ca {saved_as} …
  2. For every Python program of this environment (as the quick start says; may need sudo):
       cat {saved_as} >> {store}
     This would append {len(pem)} bytes. Undo: pip install --force-reinstall certifi
  3. For one shell:
       cat {store} {saved_as} > bundle.pem && export REQUESTS_CA_BUNDLE=$PWD/bundle.pem

Not needed where the control plane names the worker's own certificate in its grant: our clients
then accept that certificate and no other."""


def main(argv: list[str] | None = None) -> int:
    """Print the advice or the certificate; 1 when it cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m ballast.client.trust", description=__doc__)
    parser.add_argument("-u", "--url", default=os.environ.get("BALLAST_URL"))
    parser.add_argument("--print-pem", action="store_true", help="print the certificate alone")
    arguments = parser.parse_args(argv)
    if not arguments.url:
        parser.error("no control plane: give -u URL or set BALLAST_URL")
    try:
        pem = fetch_root(arguments.url)
    except RootUnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    saved_as = Path("workers-root.pem")
    print(pem if arguments.print_pem else advice(pem, Path(certifi.where()), saved_as))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Load the corpus edgar through edgartools from a server that replays answers; print what came of it as JSON.

    python edgar_replayed.py CACHE COMPANIES FORMS

A process of its own, since edgartools reads the server's address when it is imported.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from adapterhub_fin.errors import AdapterHubError
from adapterhub_fin.plugin import corpus_options, load_corpus

ROWS = [  # accession number, filing date, acceptance as EDGAR's JSON writes it, form
    ("0000000001-24-000001", "2024-03-11", "2024-03-11T16:05:00.000Z", "8-K"),
    ("0000000001-24-000002", "2024-03-12", "2024-03-11T19:06:26.000Z", "8-K"),
    ("0000000001-24-000003", "2024-03-12", "2024-03-12T09:00:00.000Z", "8-K/A"),
    ("0000000001-19-000001", "2019-03-12", "2019-03-12T09:00:00.000Z", "8-K"),
    ("0000000001-24-000009", "2024-05-12", "2024-05-12T09:00:00.000Z", "10-Q"),
]
SUBMISSION = """<SEC-DOCUMENT>{accession}.txt : {filed}
<SEC-HEADER>
<ACCEPTANCE-DATETIME>{accepted}
CONFORMED SUBMISSION TYPE:\t{form}
FILED AS OF DATE:\t\t{filed}
\t\tCENTRAL INDEX KEY:\t\t\t0000000001
</SEC-HEADER>
<DOCUMENT>
<TYPE>{form}
<TEXT>
<html><body><p>Sales rose by {accession}.</p></body></html>
</TEXT>
</DOCUMENT>
"""


def submissions() -> dict[str, Any]:
    columns: dict[str, list[Any]] = {
        "accessionNumber": [row[0] for row in ROWS],
        "filingDate": [row[1] for row in ROWS],
        "acceptanceDateTime": [row[2] for row in ROWS],
        "form": [row[3] for row in ROWS],
    }
    fixed = {"reportDate": "", "act": "34", "fileNumber": "1", "filmNumber": "1", "items": "", "core_type": "8-K"}
    fixed |= {"primaryDocument": "main.htm", "primaryDocDescription": ""}
    columns |= {name: [value] * len(ROWS) for name, value in fixed.items()}
    columns |= {name: [1] * len(ROWS) for name in ("size", "isXBRL", "isInlineXBRL")}
    names = ("entityType", "sic", "sicDescription", "ein", "category", "fiscalYearEnd", "stateOfIncorporation")
    more = ("stateOfIncorporationDescription", "description", "website", "investorWebsite", "phone", "flags")
    address = dict.fromkeys(
        ("street1", "street2", "city", "stateOrCountry", "zipCode", "stateOrCountryDescription"), ""
    )
    return {
        **dict.fromkeys((*names, *more), ""),
        "cik": "0000000001",
        "name": "ACME CORP",
        "tickers": ["ACME"],
        "exchanges": ["NYSE"],
        "formerNames": [],
        "insiderTransactionForOwnerExists": 0,
        "insiderTransactionForIssuerExists": 0,
        "addresses": {"mailing": address, "business": address},
        "filings": {"recent": columns, "files": []},
    }


def answer(path: str) -> str | None:
    if "CIK0000000001" in path:
        return json.dumps(submissions())
    for accession, filed, accepted, form in ROWS:
        if path.endswith(f"{accession}.txt"):
            if form == "10-Q":
                return "<html><head><title>Request Rate Threshold Exceeded</title></head></html>"
            digits = accepted[:19].replace("-", "").replace("T", "").replace(":", "")
            return SUBMISSION.format(accession=accession, filed=filed.replace("-", ""), accepted=digits, form=form)
    return None


class Replay(BaseHTTPRequestHandler):
    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        body = (answer(self.path) or "").encode()
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


def main() -> None:
    cache, companies, forms = sys.argv[1], sys.argv[2].split(","), sys.argv[3].split(",")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Replay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    os.environ.update(EDGAR_BASE_URL=address, EDGAR_DATA_URL=address, EDGAR_LOCAL_DATA_DIR=f"{cache}/edgartools")
    os.environ["AHF_CACHE"] = cache
    Path(cache, "edgartools").mkdir(exist_ok=True)
    options = {"companies": companies, "identity": "Jo Doe jo@acme.com", "forms": forms, "since": "2024-01-01"}
    found: dict[str, Any] = {}
    try:
        table = load_corpus(*corpus_options({"name": "edgar", **options})).table
        found["rows"] = [[row["text"], row["group"], row["available_at"].isoformat()] for row in table]
    except AdapterHubError as error:
        found["error"] = str(error)
    print(json.dumps({**found, "downloads": [path for path in Replay.paths if path.endswith(".txt")]}))


if __name__ == "__main__":
    main()

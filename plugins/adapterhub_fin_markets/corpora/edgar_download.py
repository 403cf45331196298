"""Download raw submissions of companies with edgartools into the cache, where they are read as local files are."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from adapterhub_fin.plugin import BadCorpus, PluginError, caches, progress
from adapterhub_fin_markets.corpora.options import EdgarOptions
from adapterhub_fin_markets.corpora.sgml import is_submission


def download(options: EdgarOptions) -> Path:
    """Return a folder with the submissions of the companies, forms and days that the options name.

    A submission that is there already isn't downloaded again. Raises PluginError where edgartools isn't installed, and
    BadCorpus where a company isn't known, has no such filing, or can't be reached.
    """
    edgar = _edgartools()
    edgar.set_identity(options.identity)
    store = caches() / "markets" / "edgar"
    chosen = _chosen_folder(options)
    for company in options.companies:
        filings = _ask(f"the list of {company}'s filings", _filings, edgar, company, options)
        with progress(f"filings of {company}", len(filings)) as advance:
            for filing in filings:
                path = store / f"{filing.accession_no}.txt"
                if not path.exists():
                    text = _ask(f"submission {filing.accession_no}", filing.full_text_submission)
                    if not is_submission(text):
                        start = " ".join(text[:80].split())
                        raise BadCorpus(f"sec.gov answered with no submission for {path.stem} ({start!r}): try later")
                    _write(path, text)
                _link(path, chosen / path.name)
                advance(1)
    return chosen


def _edgartools() -> Any:
    try:
        import edgar
    except ImportError as error:
        raise PluginError(
            "companies are downloaded with edgartools, which isn't installed: pip install 'adapterhub-fin[edgar]', "
            "or give filings of this machine as path"
        ) from error
    return edgar


def _filings(edgar: Any, company: str, options: EdgarOptions) -> list[Any]:
    listed = edgar.Company(company).get_filings(form=list(options.forms), amendments=False)
    if options.since or options.until:
        listed = listed.filter(date=f"{options.since or ''}:{options.until or ''}") if listed else listed
    filings = sorted(listed or [], key=lambda filing: filing.accession_no)
    if not filings:
        raise BadCorpus(f"{company} has no {', '.join(options.forms)} in that time: change forms, since or until")
    return filings


def _ask(what: str, function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except BadCorpus:
        raise
    except Exception as error:  # edgartools raises its own, its HTTP client's and pyarrow's errors; the cause is kept
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadCorpus(f"corpus edgar: {what} can't be had ({reason}): check companies and the connection") from error


def _chosen_folder(options: EdgarOptions) -> Path:
    key = json.dumps([options.companies, options.forms, str(options.since), str(options.until)])
    return caches() / "markets" / "edgar" / f"chosen-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _link(path: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        try:
            os.link(path, link)
        except FileExistsError:
            return  # another process made it

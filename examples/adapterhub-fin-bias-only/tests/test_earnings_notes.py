from adapterhub_fin.testing import CorpusContract


class TestEarningsNotes(CorpusContract):
    name = "earnings-notes"

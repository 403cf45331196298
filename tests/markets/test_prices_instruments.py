"""Instruments keep their ids under changing tickers, and a universe has dated members."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adapterhub_fin_markets.prices.errors import BadPrices
from adapterhub_fin_markets.prices.instruments import Instruments, Membership, Spell, day
from adapterhub_fin_markets.prices.tables import read_prices

INSTRUMENTS = Instruments(
    [
        Spell("meta", "FB", day("2012-05-18"), day("2022-06-09")),
        Spell("meta", "META", day("2022-06-09")),
        Spell("roundhill", "META", day("2021-06-30"), day("2022-01-31")),
    ]
)


def table(*rows: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["Date", "Ticker", "Close"])


def test_a_renamed_ticker_is_one_column_and_a_reused_one_two() -> None:
    rows = table(("2022-01-28", "META", 1.0), ("2022-06-08", "FB", 2.0), ("2022-06-09", "META", 3.0))
    prices = read_prices(rows, calendar="XNYS", instruments=INSTRUMENTS)
    assert prices.tickers == ("meta", "roundhill")
    assert prices.close[-2:, 0].tolist() == [2.0, 3.0] and prices.close[0, 1] == 1.0
    assert np.isnan(prices.close[-2:, 1]).all() and prices.findings == ()
    spans = prices.spans()
    assert str(spans["roundhill"][1])[:10] == "2022-01-28"  # type: ignore[index]


def test_a_ticker_that_stands_for_nothing_on_its_day_is_named() -> None:
    with pytest.raises(BadPrices, match=r"META stands for no instrument on 2022-02-01 \(the table, row 2\)"):
        read_prices(table(("2022-01-28", "META", 1.0), ("2022-02-01", "META", 2.0)), calendar="XNYS",
                    instruments=INSTRUMENTS)  # fmt: skip
    with pytest.raises(BadPrices, match="FB stands for no instrument on 2022-06-09"):
        INSTRUMENTS.id_on("FB", day("2022-06-09"))
    with pytest.raises(BadPrices, match="FB stands for no instrument on 2022-06-09"):
        read_prices(table(("2022-06-09", "FB", 1.0)), calendar="XNYS", instruments=INSTRUMENTS)


def test_spells_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPrices, match="two spells of A overlap on 2020-01-01"):
        Instruments([Spell("a", "A", day("2019-01-01")), Spell("b", "A", day("2020-01-01"))])
    with pytest.raises(BadPrices, match="a spell of A ends on 2019-01-01"):
        Instruments([Spell("a", "A", day("2019-01-01"), day("2019-01-01"))])
    path = tmp_path / "spells.csv"
    path.write_text("id,ticker,start,end\na,A,2020-01-01,\nb,B,soon,\n")
    with pytest.raises(BadPrices, match=r"spells.csv, row 2: 'soon' is not a date"):
        Instruments.read(path)
    path.write_text("ticker,start\nA,2020-01-01\n")
    assert Membership.read(path).on(day("2020-01-01")) == ["A"]
    with pytest.raises(BadPrices, match="row 1: it needs an id and a ticker"):
        Instruments.read(path)


def test_without_membership_the_universe_was_chosen_in_hindsight() -> None:
    rows = table(("2024-03-07", "A", 1.0), ("2024-03-08", "A", 2.0), ("2024-03-11", "B", 2.0))
    prices = read_prices(rows, calendar="XNYS")
    assert prices.members is None and prices.universe == "the universe was chosen in hindsight"
    members = Membership([Spell("A", "A", day("2024-03-01"), day("2024-03-08")), Spell("B", "B", day("2024-03-08"))])
    dated = read_prices(rows, calendar="XNYS", members=members)
    assert dated.members is not None and "dated membership" in dated.universe
    np.testing.assert_array_equal(dated.members, [[True, False], [False, True], [False, True]])


def test_members_by_other_names_than_the_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "members.csv"
    path.write_text("ticker,start_date,end_date\nFB,2013-12-23,2022-06-09\nMETA,2022-06-09,\n")
    rows = table(("2022-06-08", "FB", 2.0), ("2022-06-09", "META", 3.0))
    with pytest.raises(BadPrices, match="no column of the prices, such as meta, is a member .*, such as FB: read both"):
        read_prices(rows, calendar="XNYS", instruments=INSTRUMENTS, members=Membership.read(path))
    with pytest.raises(BadPrices, match="such as none"):
        read_prices(rows, calendar="XNYS", members=Membership([]))
    named = Membership.read(path, INSTRUMENTS)
    prices = read_prices(rows, calendar="XNYS", instruments=INSTRUMENTS, members=named)
    assert prices.members is not None and prices.members.all()


def test_the_members_of_the_s_and_p_500(shared: Path) -> None:
    members = Membership.read(shared / "data" / "membership" / "sp500_ticker_start_end.csv")
    assert "AAL" in members.on(day("1996-06-03")) and "AAL" not in members.on(day("2005-06-01"))
    assert "AAL" in members.on(day("2020-06-01"))
    on = {date: set(members.on(day(date))) for date in ("2022-06-08", "2022-06-09")}
    assert ("FB" in on["2022-06-08"], "META" in on["2022-06-08"]) == (True, False)
    assert ("FB" in on["2022-06-09"], "META" in on["2022-06-09"]) == (False, True)
    assert all(450 < len(members.on(day(f"{year}-06-15"))) < 520 for year in range(1996, 2025))

"""Describe what markets brings, and specify the hooks that others extend it by."""

from __future__ import annotations

from collections.abc import Iterable

from adapterhub_fin.plugin import Corpus, Head, OwnHook, hookimpl
from adapterhub_fin_markets.features.catalogue import FEATURES
from adapterhub_fin_markets.features.description import Feature
from adapterhub_fin_markets.prices.description import PriceSource
from adapterhub_fin_markets.signals.description import AGGREGATES, Aggregate

HERE = "adapterhub_fin_markets"


@hookimpl
def ahf_price_sources() -> Iterable[PriceSource]:
    """Return the sources that prices are fetched from."""
    return [
        PriceSource(
            name="bybit",
            summary="Bars of perpetuals and spot pairs from Bybit's public v5 API.",
            target=f"{HERE}.prices.bybit:Bybit",
            options=f"{HERE}.prices.options:BybitOptions",
        ),
        PriceSource(
            name="yahoo",
            summary="Split-adjusted bars with dividends and splits from Yahoo, through yfinance.",
            target=f"{HERE}.prices.yahoo:Yahoo",
            options=f"{HERE}.prices.options:YahooOptions",
            requires=("yfinance>=1.0",),
        ),
    ]


@hookimpl
def ahf_hookspecs() -> Iterable[OwnHook]:
    """Return the hooks that other packages extend markets by."""
    return [
        OwnHook(name="ahf_price_sources", kind=PriceSource, summary="Return sources of prices."),
        OwnHook(name="ahf_features", kind=Feature, summary="Return features of prices."),
        OwnHook(name="ahf_aggregates", kind=Aggregate, summary="Return ways to make one opinion of several texts."),
    ]


@hookimpl
def ahf_corpora() -> Iterable[Corpus]:
    """Return the corpora of dated text, and of features."""
    return [
        Corpus(
            name="market-features",
            summary="Features of prices as numbers and prompts, with the return that followed.",
            target=f"{HERE}.corpora.features:MarketFeatures",
            options=f"{HERE}.corpora.features_options:MarketFeaturesOptions",
            requires=("adapterhub-fin[markets]",),
            license="NOASSERTION",
            source="prices of this machine",
        ),
        Corpus(
            name="edgar",
            summary="Filings of EDGAR (10-K, 10-Q, 8-K), whole or by item, dated by their acceptance.",
            target=f"{HERE}.corpora.edgar:Edgar",
            options=f"{HERE}.corpora.options:EdgarOptions",
            requires=("adapterhub-fin[markets]",),
            license="NOASSERTION",
            source="files of this machine, or sec.gov",
        ),
        Corpus(
            name="fomc",
            summary="Minutes and statements of the Federal Open Market Committee, dated by their release.",
            target=f"{HERE}.corpora.fomc:Fomc",
            options=f"{HERE}.corpora.options:FomcOptions",
            requires=("adapterhub-fin[markets]",),
            license="US-Government-Works",
            source="federalreserve.gov",
        ),
        Corpus(
            name="earnings-calls",
            summary="Transcripts of earnings calls, each known some hours after its call.",
            target=f"{HERE}.corpora.calls:EarningsCalls",
            options=f"{HERE}.corpora.options:CallOptions",
            requires=("adapterhub-fin[markets]",),
            license="NOASSERTION",
            source="files of this machine",
        ),
        Corpus(
            name="templates",
            summary="Instructions made of a corpus's documents, mixed by weight, answered by what they hold.",
            target=f"{HERE}.corpora.templates:Templates",
            options=f"{HERE}.corpora.options:TemplateOptions",
            license="NOASSERTION",
            source="the corpus of the documents",
        ),
        Corpus(
            name="news",
            summary="Tables of news, known at the latest of publication, change and receipt.",
            target=f"{HERE}.corpora.news:News",
            options=f"{HERE}.corpora.options:NewsOptions",
            requires=("adapterhub-fin[markets]",),
            license="NOASSERTION",
            source="files of this machine",
        ),
    ]


@hookimpl
def ahf_features() -> Iterable[Feature]:
    """Return the sixteen features of bars."""
    return FEATURES


@hookimpl
def ahf_aggregates() -> Iterable[Aggregate]:
    """Return the ways to make one opinion of a window's texts."""
    return AGGREGATES


@hookimpl
def ahf_heads() -> Iterable[Head]:
    """Return the heads that read numbers."""
    return [
        Head(
            name="fusion",
            summary="Down, flat or up, or a number, of a text and the numbers beside it.",
            target=f"{HERE}.heads.fusion:Fusion",
            options=f"{HERE}.heads.options:FusionOptions",
            inputs=("text", "messages"),
            consumes=("target",),
            optional=("features",),
            metrics=("classification", "regression"),
        )
    ]
